"""The two tasks. Both use the same estimator."""
