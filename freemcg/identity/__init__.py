"""What tells one model from another: its weights, its code, and the mode that it is in."""
