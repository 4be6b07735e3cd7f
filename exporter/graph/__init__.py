"""What is known of an ONNX graph; nothing here rewrites a model."""
