"""What is common to the forms that are made of the torch module."""

from __future__ import annotations

from dataclasses import replace

from temport.exporter.runtimes.own_form import OF_FILE

OF_MODULE = replace(OF_FILE, opsets=(1, 10**6), intermediates=False)
"""They read no ONNX file: its opset is nothing to them, and none of its tensors can be seen in them."""
