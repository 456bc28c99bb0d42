"""What is known of a torch network: who it is, its mode, and the small ones that this package trains."""
