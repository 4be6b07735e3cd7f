"""Small modules after public reports: each exports and is right in ONNX Runtime, or is refused by the right sentence.

A trial says in its first lines whom it comes from and what is right; `example` draws its inputs.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors.torch import load_file

import temport
from temport.exporter.errors import UserError
from temport.exporter.export import export

HERE = Path(__file__).parent / "trials"
SIZES = ((1, 1), (2, 7), (5, 33))
OPEN = "1:60:130"
"""Lengths of most trials; one has those of `dynamic`."""


@dataclass(frozen=True)
class Trial:
    """How a module is exported and what comes of it.

    refused  a part of the sentence, where that is what is right
    """

    file: str
    shapes: tuple[str, ...]
    seq: str = OPEN
    batch: str = "dynamic"
    factory: str = "make"
    streaming: bool = False
    precision: str | None = None
    refused: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.factory}{'-streaming' if self.streaming else ''}-{self.seq}"


FRAMES, HIDDEN = "frames=batch,seq,", ("h=1,batch,64", "c=1,batch,64")
TRIALS = (
    Trial("action_ids", (FRAMES + "20",)),
    Trial("alibi_linear", (FRAMES + "64",)),
    Trial("asserts_length", (FRAMES + "12",), seq="60"),
    Trial("asserts_length", (FRAMES + "12",), "50", factory="make_polite", refused="expected 60 frames and got 50"),
    Trial("bilstm_tokens", ("tokens:int64[0:200]=batch,seq",)),
    Trial("data_dependent", ("frames=batch,seq,8", "valid:bool=batch,seq"), refused="if not valid.all"),
    Trial("dataclass", (FRAMES + "12",)),
    Trial(
        "decision_transformer",
        ("states=batch,seq,17", "actions=batch,seq,6", "returns=batch,seq,1", "timesteps:int64[0:200]=batch,seq",
         "valid:bool[prefix]=batch,seq"),
        "1:20:64",
    ),
    Trial("dict_input", ("state=batch,7", "left=batch,seq,16", "right=batch,seq,16")),
    Trial("encoder_padding", ("clip=batch,seq,16", "padding:bool[prefix,ignore]=batch,seq")),
    Trial("fft_convolution", (FRAMES + "16",), "60", refused="aten.fft_rfft .*conv1d"),
    Trial("gru_attention_last", (FRAMES + "20",)),
    Trial("gru_stateful_layer", (FRAMES + "10",), "60", streaming=True),
    Trial("half_module", ("frames:float16=batch,seq,16",)),
    Trial("informer", ("series=batch,seq,32",), "60"),
    Trial("mlp_policy", ("obs=batch,12",)),
    Trial("own_layers_inside", (FRAMES + "20",)),
    Trial("packed_lengths", ("clips=batch,seq,10", "lengths:int64[1:seq+1]=batch"), refused="torch.gather"),
    Trial("patchtst", ("series=batch,seq,7",), "64"),
    Trial("project/model", (FRAMES + "12",)),
    Trial("recurrent_policy", ("obs=batch,31", *HIDDEN, "episode_start:bool=batch")),
    Trial("rotary_lazy", (FRAMES + "64",)),
    Trial("sampling_policy", ("obs=batch,seq,12",), refused="random: .* aten.randn_like .* the mean"),
    Trial("selective_scan", (FRAMES + "16",), "7"),
    Trial("selective_scan", (FRAMES + "16",), "1:6:40", refused="a Python loop over frames"),
    Trial("tcn_stream", (FRAMES + "12",), "dynamic"),
)  # fmt: skip
AGAIN = (
    Trial("band_sdpa", (FRAMES + "64",)),
    Trial("encoder_causal", ("obs=batch,seq,24",)),
    Trial("mha_weights", (FRAMES + "40",)),
    Trial("encoder_causal", ("obs=batch,seq,24",), "60"),
    Trial("sdpa_is_causal", (FRAMES + "64",), "60"),
    Trial("dict_input", ("right=batch,seq,16", "state=batch,7", "left=batch,seq,16"), factory="make_flat"),
    Trial("bilstm_floats", (FRAMES + "12",)),
    Trial("sdpa_is_causal", (FRAMES + "64",)),
    Trial("sdpa_without_heads", (FRAMES + "16",)),
    Trial("gru_only", (FRAMES + "20",)),
    Trial("lstm_attention", (FRAMES + "16",)),
)
"""At one length too, or with tensors as arguments; of layers that others above have, in spellings that
`test_recognise_attention` has in both dialects."""


def load(trial: Trial) -> ModuleType:
    path = HERE / f"{trial.file}.py"
    spec = importlib.util.spec_from_file_location(f"trial_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "trial", [*TRIALS, *(pytest.param(trial, marks=pytest.mark.thorough) for trial in AGAIN)], ids=str
)
def test_a_trial(trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a file's neighbours are found from anywhere
    asked = {
        "module": f"{HERE / trial.file}.py:{trial.factory}",
        "shapes": trial.shapes,
        "seq": trial.seq,
        "batch": "1" if trial.streaming else trial.batch,
        "streaming": trial.streaming,
        "runtimes": ("onnxruntime_cpu", "onnxruntime_native"),
        "out": tmp_path / "bundle",
    }
    if trial.refused:
        with pytest.raises(UserError, match=trial.refused):
            export(**asked)
        assert not list(tmp_path.iterdir())
        return
    bundle = export(**asked)
    assert bundle.passed, bundle.report.reasons
    if not trial.streaming:
        agrees_with_torch(trial, bundle.path)


def agrees_with_torch(trial: Trial, path: Path) -> None:
    """The file in plain ONNX Runtime against the module in float64, apart from the parity code."""
    source = load(trial)
    torch.manual_seed(0)
    module = getattr(source, trial.factory)().eval()
    module.load_state_dict(load_file(path / "weights.safetensors"))
    module.double()
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(part, name, buffer.double())
    plain = ort.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    names = [spec.partition("=")[0].partition(":")[0].partition("[")[0] for spec in trial.shapes]
    for batch, seq in SIZES:
        seq = int(trial.seq) if trial.seq.isdigit() else seq
        torch.manual_seed(batch + seq)
        args = source.example(batch, seq)
        feeds = dict(zip(parameters(trial, names), (a.numpy() for a in args), strict=True))
        with torch.no_grad():
            truth = module(*(a.double() if a.is_floating_point() else a for a in wrapped(trial, args)))
        got = plain.run(None, feeds)
        wanted = (
            truth.values() if isinstance(truth, dict) else truth if isinstance(truth, tuple) else (truth,)
        )
        for value, right in zip(got, wanted, strict=True):
            assert value.shape == tuple(right.shape)
            scale = max(float(right.double().abs().max()), 1e-30)
            eps = 2e-2 if value.dtype == np.float16 else 2e-5
            assert np.abs(value.astype(np.float64) - right.double().numpy()).max() <= eps * scale, (
                batch,
                seq,
            )
    assert temport.load(path).outputs.keys() == {output.name for output in plain.get_outputs()}


def parameters(trial: Trial, names: list[str]) -> list[str]:
    """The inputs in the order of the example, which is that of forward."""
    order = {"dict_input": ["state", "left", "right"]}
    return order.get(trial.file, names)


def wrapped(trial: Trial, args: tuple[torch.Tensor, ...]) -> list:
    """The example as forward takes it."""
    if trial.file == "dict_input" and trial.factory == "make":
        return [_Entries(zip(("state", "left", "right"), (a.double() for a in args), strict=True))]
    return list(args)


class _Entries(dict):
    """Observations as one argument, which is no tensor."""

    def is_floating_point(self) -> bool:
        return False
