"""Pictures, tensors and texts in files, each written whole or not at all."""
