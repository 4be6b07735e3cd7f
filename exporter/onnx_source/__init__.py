"""An ONNX file that anybody made, as the source of an export."""
