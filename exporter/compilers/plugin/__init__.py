"""What only our own TensorRT kernels need."""
