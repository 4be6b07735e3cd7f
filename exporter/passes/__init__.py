"""Graph rewrites, one file each: ONNX in, ONNX out, nothing else."""
