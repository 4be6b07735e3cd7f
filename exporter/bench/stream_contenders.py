"""The ways to follow a stream that `temport bench streams` compares: each takes one frame and gives its output."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from temport.exporter.bench.contest import Call
from temport.exporter.bench.openvino_peer import openvino_call
from temport.exporter.bench.stream_models import FRAMES, KERNEL, WINDOW, Recurrent, Tcn
from temport.exporter.bench.stream_steps import Array, Exported, Push, in_engine, in_onnxruntime
from temport.exporter.errors import UserError
from temport.exporter.quiet import quiet
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.bound import onnxruntime_call
from temport.exporter.trace.torch_translations import translations_read_once

OURS = ("temport, native engine", "temport, ONNX Runtime with kernels", "temport, ONNX Runtime")
WHOLE = ("whole window, ONNX Runtime", "whole window, OpenVINO")
"""What a model is asked for every frame without a stream: its last `WINDOW` frames. It forgets all before them."""


@dataclass(frozen=True)
class Subjected:
    """One model: its step model, and what peers are made of."""

    step: Exported
    features: int

    @cached_property
    def window_file(self) -> Path:
        """A plain export of `WINDOW` frames.

        The other one is made before: a length that torch has once traced as fixed is fixed in all that follows.
        """
        with contextlib.suppress(Exception):  # whoever needs that file is told
            _ = self.open_file
        return self._plain("window.onnx", WINDOW)

    @cached_property
    def open_file(self) -> Path:
        """A plain export with its number of frames open, without the sizes that torch noted of its example."""
        path = self._plain("open.onnx", 7, dynamic_shapes=({1: "seq"},))
        model = onnx.load(path)
        del model.graph.value_info[:]
        model.graph.output[0].type.tensor_type.shape.dim[1].Clear()
        onnx.save(model, path)
        return path

    def _plain(self, name: str, frames: int, **options: Any) -> Path:
        path = self.step.folder.parent / name
        example = (torch.randn(1, frames, self.features),)
        with quiet(), translations_read_once():
            torch.onnx.export(
                self.step.module,
                example,
                path,
                input_names=[FRAMES],
                external_data=False,
                verbose=False,
                **options,
            )
        return path


Prepared = tuple[Push, int | None]
"""The way, and bytes of its state; None where it does not say."""


def _whole(call: Call, window: Array) -> Prepared:
    def push(new: Array) -> Array:
        window[:, :-1] = window[:, 1:]
        window[:, -1:] = new
        return call()[:, -1]

    return push, window.nbytes


def _window_in_onnxruntime(subject: Subjected) -> Prepared:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(subject.window_file, options, providers=["CPUExecutionProvider"])
    window = np.zeros((1, WINDOW, subject.features), np.float32)
    return _whole(onnxruntime_call(session, {FRAMES: window}), window)


def _window_in_openvino(subject: Subjected) -> Prepared:
    window = np.zeros((1, WINDOW, subject.features), np.float32)
    return _whole(openvino_call(subject.window_file, {FRAMES: window}, 1), window)


def _tract(subject: Subjected) -> Prepared:
    """`pulse`: tract's own transformation of a network of sequences, one frame at a time."""
    import tract

    model = tract.onnx().load(str(subject.open_file))
    model.set_input_fact(0, f"1,seq,{subject.features},f32")
    model.set_output_fact(0, None)
    model.analyse()
    typed = model.into_model()
    typed.transform(tract.Pulse("1", symbol="seq"))
    delay = int(typed.property("pulse.delay").to_numpy().reshape(-1)[0])
    if delay:
        raise UserError(f"its outputs come {delay} frames late")
    state = typed.into_runnable().spawn_state()

    def push(new: Array) -> Array:
        found: Array = state.run([np.ascontiguousarray(new)])[0].to_numpy()
        return found[:, 0]

    return push, None


def _continual(subject: Subjected) -> Prepared:
    """continual-inference: the model written anew in its layers, with the same weights."""
    import continual as co

    def same(layer: nn.Module, own: nn.Module) -> nn.Module:
        layer.load_state_dict(own.state_dict())
        return layer

    def linear(own: Any) -> nn.Module:
        return same(co.Linear(own.in_features, own.out_features, channel_dim=1), own)

    own: Any = subject.step.module
    if isinstance(own, Recurrent):
        kind = {nn.LSTM: co.LSTM, nn.GRU: co.GRU}[type(own.cells)]
        cells = same(kind(own.cells.input_size, own.cells.hidden_size), own.cells)
        layers = [linear(own.embed), nn.ReLU(), cells, linear(own.head), nn.Tanh()]
    elif isinstance(own, Tcn) and set(own.dilations) == {1}:
        layers = [linear(own.embed)]
        for conv in own.convs:
            made = same(co.Conv1d(conv.in_channels, conv.out_channels, KERNEL), conv)
            layers.append(co.Residual(co.Sequential(made, nn.ReLU()), residual_shrink="leading"))
        layers.append(linear(own.head))
    else:
        raise UserError("its layers do not express this model")
    network = co.Sequential(*layers).eval()

    def push(new: Array) -> Array:
        with torch.inference_mode():
            found = network.forward_step(torch.from_numpy(np.ascontiguousarray(new[:, 0])))
        return found.numpy() if isinstance(found, torch.Tensor) else np.zeros(1, np.float32)

    return push, None


CONTENDERS: dict[str, Callable[[Subjected], Prepared]] = {
    OURS[0]: lambda subject: in_engine(subject.step),
    OURS[1]: lambda subject: in_onnxruntime(subject.step),
    OURS[2]: lambda subject: in_onnxruntime(subject.step, native=False),
    WHOLE[0]: _window_in_onnxruntime,
    WHOLE[1]: _window_in_openvino,
    "tract, pulse": _tract,
    "continual-inference": _continual,
}
_PACKAGES = {"tract, pulse": "tract", "continual-inference": "continual"}


def absent(name: str) -> str | None:
    """Why a contender cannot run on this machine, or None."""
    if name in _PACKAGES and importlib.util.find_spec(_PACKAGES[name]) is None:
        return f"the package {_PACKAGES[name].replace('continual', 'continual-inference')} is not installed"
    runtimes = {OURS[1]: "onnxruntime_native", WHOLE[1]: "openvino"}
    return runtime_named(runtimes[name]).unavailable() if name in runtimes else None
