"""Bundles for servers."""
