"""Compilers, one file per artifact kind; `compile` builds an engine from an exported model."""
