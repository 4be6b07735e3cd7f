"""The model as a file."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from temport.exporter.errors import UserError
from temport.exporter.graph.body_domains import spread

LARGEST_PROTOBUF = 2**31 - 1


class InvalidModelError(Exception):
    """`onnx.checker` refuses the model: a pass left something behind that is no ONNX. A defect of ours."""


def write_model(model: ir.Model, path: Path, external_data: bool) -> None:
    """Write one file; weights go beside it only where the caller asked for external data.

    UserError where the model is too large for one file, `InvalidModelError` where the checker refuses it.
    """
    if external_data:
        ir.save(model, path, external_data=f"{path.name}.data")
        proto = onnx.load(path, load_external_data=False)
        spread(proto)
        path.write_bytes(proto.SerializeToString(deterministic=True))
        return
    proto = ir.to_proto(model)
    spread(proto)
    if proto.ByteSize() > LARGEST_PROTOBUF:
        raise UserError(
            f"the model is {proto.ByteSize() / 2**30:.1f} GiB, over protobuf's 2 GiB for one file; "
            "pass --external-data to write its weights beside it"
        )
    check(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def check(proto: onnx.ModelProto) -> None:
    """`onnx.checker` with shape inference; raises `InvalidModelError` with its first line."""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidModelError(str(error).strip().splitlines()[0]) from error
