"""The model as a file."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
from onnx.external_data_helper import load_external_data_for_tensor

from temport.exporter.bundle.external_data import external_tensors
from temport.exporter.errors import UserError
from temport.exporter.graph.body_domains import spread

LARGEST_PROTOBUF = 2**31 - 1


class InvalidModelError(Exception):
    """`onnx.checker` refuses the model: a pass left something behind that is no ONNX. A defect of ours."""


def write_model(model: ir.Model, path: Path, external_data: bool) -> None:
    """Write one file; weights of the main graph go beside it only where the caller asked for external data.

    UserError where the model is too large for one file, `InvalidModelError` where the checker refuses it.
    """
    if external_data:
        ir.save(model, path, external_data=f"{path.name}.data")
        proto = onnx.load(path, load_external_data=False)
        for tensor in external_tensors(
            proto, inside=True
        ):  # a runtime would look for them where it happens to run
            load_external_data_for_tensor(tensor, str(path.parent))
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
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
