"""Models by name or path: what ships with the package, a file of the user's, a folder, a hub."""
