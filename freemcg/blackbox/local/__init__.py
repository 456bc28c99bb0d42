"""Classifiers in this process: ONNX files, Hugging Face models, torch modules."""
