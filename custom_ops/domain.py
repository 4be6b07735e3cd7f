"""The ONNX domain of our ops and its version."""

DOMAIN = "temport"
VERSION = 1
