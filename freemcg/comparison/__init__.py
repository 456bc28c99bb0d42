"""Methods, images and measures side by side."""
