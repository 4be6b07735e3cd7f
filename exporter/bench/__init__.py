"""Measurements side by side, interleaved: whole models, single ops, devices."""
