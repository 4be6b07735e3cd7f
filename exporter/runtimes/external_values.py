"""External data as ONNX Runtime takes it in memory: given every value, it opens no file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper


def external_values(model: bytes, weights: Mapping[str, bytes]) -> tuple[list[str], list[Any]]:
    """Names and values (`OrtValue`) of the main graph's initializers that lie in the files `weights`, by file name.

    ValueError where a file is too short for what lies in it.
    """
    from onnxruntime import OrtValue

    names, values = [], []
    for tensor in onnx.ModelProto.FromString(model).graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entry = {e.key: e.value for e in tensor.external_data}
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        count, offset = int(np.prod(tensor.dims)), int(entry.get("offset", 0))
        array = np.frombuffer(weights[entry["location"]], dtype, count, offset).reshape(tensor.dims)
        names.append(tensor.name)
        values.append(OrtValue.ortvalue_from_numpy_with_onnx_type(array, tensor.data_type))
    return names, values
