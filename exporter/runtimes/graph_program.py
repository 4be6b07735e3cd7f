"""An ONNX file as a program of torch's own operators, by onnx2fx: for what is made of such a program where there is no
torch module that can be traced.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from temport.exporter.runtimes.plain_onnx import widened


def save_graph_program(source: Path, path: Path) -> None:
    """Write what `aten_program.save_program` writes of a module, of the ONNX file `source`: operators of ai.onnx, every
    shape known. In a process that has entered `environments.ONNX2FX`.
    """
    import onnx2fx

    model = widened(onnx.load(source))  # onnx2fx knows no axis of scales
    inputs = tuple(map(_zeros, model.graph.input))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # shapes are tensors of the file: make_fx reads the numbers in them, which torch.export would leave open
        flat = make_fx(onnx2fx.convert(model).eval())(*inputs)
        torch.export.save(torch.export.export(flat, inputs), path)


def _zeros(value: onnx.ValueInfoProto) -> torch.Tensor:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return torch.from_numpy(np.zeros([dim.dim_value for dim in kind.shape.dim], dtype))
