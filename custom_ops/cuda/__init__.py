"""CUDA kernels of the ops: built by nvcc, or for the host to be tested without a GPU."""
