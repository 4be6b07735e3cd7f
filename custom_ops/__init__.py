"""Custom ops of domain `temport`: one folder per op, the same file names in each; `table` has them all.

This file imports nothing, so that `library` finds the kernels without torch.
"""
