"""Weights in fewer bits, and inputs of layers: which, how, and what that costs the model."""
