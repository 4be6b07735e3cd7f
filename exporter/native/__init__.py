"""A bundle's model as C++ source that needs no runtime: a plan of its memory, and a call of a kernel for every node."""
