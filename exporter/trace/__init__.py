"""torch -> ONNX."""
