"""The command line: one verb a file, each a few lines over the Python API."""
