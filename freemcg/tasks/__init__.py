"""The two tasks, both written on the same estimator."""
