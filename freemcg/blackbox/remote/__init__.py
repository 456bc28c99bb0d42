"""Classifiers behind an address: how they are asked, and how their answers are read."""
