"""What to do about the failures of a trace that are met most: a way out, in words."""

from __future__ import annotations

import re

_NO_FORM = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'")
_OTHER_WAYS = {
    "complex": "compute with real and imaginary parts as two tensors",
    "linalg": "decompose it once, in the constructor, and keep the result as a buffer",
}


def advice(error: BaseException) -> str:
    """The end of a sentence about what `torch.onnx.export` raised; empty where nothing better is known."""
    chain = list(_chain(error))
    texts = "\n".join(f"{type(e).__name__}: {e}" for e in chain)
    if "complex-valued input" in texts:
        return f"; complex numbers have no ONNX form here: {_OTHER_WAYS['complex']}, as a rotation by cos and sin"
    if found := _NO_FORM.search(texts):
        op = found[1]
        way = next((way for part, way in _OTHER_WAYS.items() if part in op), "write it with other operators")
        return f"; {op} has no ONNX form: {way}"
    if "data-dependent" in texts or "GuardOnDataDependentSymNode" in texts:
        return (
            "; it branches on values of its inputs, and a graph takes both ways: use torch.where, or torch.cond "
            "for two functions of the same shapes"
        )
    if "Constraints violated" in texts or "specialized" in texts:
        return "; it takes fewer sizes than were declared: give a fixed size, or ranges that it takes whole"
    return ""


def _chain(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
