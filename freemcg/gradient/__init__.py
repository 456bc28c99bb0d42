"""The one estimator behind both tasks: image to particles to query points to gradient."""
