"""SkinnyGemm as one `Gemm`."""

from __future__ import annotations

from onnx import helper

from custom_ops.op import Body, Specialisation
from custom_ops.plain_body import plain_body
from custom_ops.skinny_gemm.schema import SCHEMA


def body(at: Specialisation) -> Body:
    # always with a bias: OpenVINO does not compile every Gemm that leaves it out
    return plain_body(SCHEMA, at, [helper.make_node("Gemm", ["X", "W", "B"], ["Y"], transB=1)])
