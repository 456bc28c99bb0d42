"""Classifiers behind an address: how to query them, and how to read their answers."""
