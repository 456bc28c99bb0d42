"""Torch networks: their identity, their mode, and the small ones that this package trains."""
