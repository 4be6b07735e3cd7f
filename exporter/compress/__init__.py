"""Weights in fewer bits: which, how, and what that costs the model."""
