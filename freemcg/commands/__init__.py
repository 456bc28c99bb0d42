"""The command line. Each verb has its own file, a few lines that call the Python API."""
