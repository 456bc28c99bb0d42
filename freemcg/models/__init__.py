"""Models by name or path: those in the package, a user's file, a folder, a hub; and the small networks trained here."""
