"""`temport export` and `temport parity` as a user calls them."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from temport.exporter import cli
from temport.exporter.bundle.directory import open_bundle, seal
from temport.exporter.graph.masks import boolean_constants

Command = Callable[..., tuple[int, str, str]]
MEGA = ["--arch", "mega", "--set", "embed_dim=6", "--set", "hidden_size=16", "--set", "num_layers=2"]
FAST = ["--runtime", "onnxruntime_cpu"]


@pytest.fixture
def temport(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run the command in an empty directory; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["temport", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_bundle_and_repeated_parity(temport: Command, tmp_path: Path) -> None:
    code, out, _ = temport("export", *MEGA, "--seq", "20", "--batch", "dynamic", "--out", "b")
    assert code == 0, out
    bundle = open_bundle(tmp_path / "b")
    expected = {"model.onnx", "weights.safetensors", "vectors.npz", "report.json", "report.html"}
    assert expected <= set(bundle.manifest["files"])
    model = onnx.load(bundle.model_path)
    assert [i.name for i in model.graph.input] == ["state_sequence"]
    assert [o.name for o in model.graph.output] == ["output"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["temport.architecture"] == "mega"
    assert json.loads(properties["temport.signature"])["inputs"][0]["name"] == "state_sequence"
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    ran = {row["name"]: row["verdict"] for row in report["runtimes"]}
    assert (
        ran["torch_float32"] == ran["onnx_reference"] == ran["onnxruntime_cpu"] == ran["openvino"] == "pass"
    )
    code, out, _ = temport("parity", "b", *FAST, "--out", "again")
    assert code == 0, out
    assert (tmp_path / "again" / "report.html").is_file()


@pytest.fixture(scope="module")
def mega(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mega") / "one"
    command = ["export", *MEGA, "--seq", "9", "--out", str(out), *FAST]
    assert CliRunner().invoke(cli.app, command).exit_code == 0
    return out


def test_two_exports_are_byte_identical(temport: Command, mega: Path, tmp_path: Path) -> None:
    """But for the times of the passes in the report."""
    assert temport("export", *MEGA, "--seq", "9", "--out", "two", *FAST)[0] == 0
    one, two = mega, tmp_path / "two"
    for name in ("model.onnx", "weights.safetensors", "vectors.npz"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    reports = [json.loads((out / "report.json").read_text()) for out in (one, two)]
    manifests = [json.loads((out / "manifest.json").read_text()) for out in (one, two)]
    for report, manifest in zip(reports, manifests, strict=True):
        for step in report["passes"]:
            del step["ms"]
        for name in ("report.json", "report.html"):
            del manifest["files"][name]
    assert reports[0] == reports[1] and manifests[0] == manifests[1]


def test_standard_dialect_shares_its_masks(temport: Command, tmp_path: Path) -> None:
    import onnx_ir as ir

    options = ("embed_dim=6", "head_dim=4", "window_size=7")
    arguments = ("--arch", "sliding_window", "--seq", "20", "--ops", "standard", *FAST)
    arguments += tuple(word for option in options for word in ("--set", option))
    assert temport("export", *arguments, "--out", "b", "--no-prune")[0] == 0
    model = onnx.load(tmp_path / "b" / "model.onnx")
    assert {node.domain for node in model.graph.node} == {""} and not model.functions
    masks = [array for _, array in boolean_constants(ir.from_proto(model)) if array.size > 1]
    assert len(masks) == 1  # two layers, one constant
    assert temport("export", *arguments, "--opset", "23", "--out", "c")[0] == 0
    assert "Attention" in {node.op_type for node in onnx.load(tmp_path / "c" / "model.onnx").graph.node}


def test_flipped_weight_fails_the_gate(temport: Command, mega: Path, tmp_path: Path) -> None:
    """The model file is damaged and its hash made to match: only the numbers can tell."""
    import hashlib

    shutil.copytree(mega, tmp_path / "b")
    path = tmp_path / "b" / "model.onnx"
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = -array.flat[0] - 1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    path.write_bytes(model.SerializeToString())
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
    }
    seal(tmp_path / "b", manifest)
    code, out, _ = temport("parity", "b", *FAST)
    assert code == 1 and "fail" in out


FACTORY = """
import torch
from temport.graphs import self_attention

class Filter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = self_attention(hidden_size=12, num_heads=3, dropout=0.0)

    def forward(self, signal):
        return self.attend(signal).mean(dim=1)

def make():
    return Filter()

class Causal(torch.nn.Module):
    def forward(self, signal):
        x = signal.unsqueeze(1)
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)[:, 0, -1]

def with_a_mask_of_its_own():
    return Causal()

class OneLength(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(10, 10).tril().bool())

    def forward(self, signal):
        x = signal.unsqueeze(1)
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=self.mask)[:, 0, -1]

def for_one_length():
    return OneLength()
"""


def test_own_module(temport: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    arguments = (
        "--module",
        "mine.py:make",
        "--shape",
        "signal=batch,seq,12",
        "--batch",
        "1:2:4",
        "--seq",
        "10",
    )
    code, out, err = temport("export", *arguments, "--out", "b", *FAST)
    assert code == 0, out + err
    assert open_bundle(tmp_path / "b").declaration.outputs[0].onnx_shape() == ["batch", 12]
    assert temport("parity", "b", *FAST)[0] == 0
    (tmp_path / "mine.py").unlink()
    code, out, _ = temport("parity", "b", *FAST)
    assert code == 0, out  # without the source the recorded vectors are the truth


@pytest.mark.parametrize(
    ("made", "seq", "opset"), [("with_a_mask_of_its_own", "2:10:40", "20"), ("for_one_length", "10", "23")]
)
def test_a_module_with_attention_in_plain_torch(
    temport: Command, tmp_path: Path, made: str, seq: str, opset: str
) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    arguments = ("--module", f"mine.py:{made}", "--shape", "signal=batch,seq,12", "--opset", opset)
    code, out, err = temport("export", *arguments, "--seq", seq, "--batch", "1:2:4", "--out", "b", *FAST)
    assert code == 0, out + err
    model = onnx.load(tmp_path / "b" / "model.onnx")
    assert [node.op_type for node in model.graph.node].count("OnlineSoftmaxAttention") == 1
    assert open_bundle(tmp_path / "b").declaration.outputs[0].onnx_shape() == ["batch", 12]


def test_list(temport: Command) -> None:
    assert "lightning" in temport("list")[1]
    assert "feature_map" in temport("list", "lightning")[1]


BAD = {
    "unknown-arch": (["--arch", "meag"], "did you mean mega"),
    "no-arch": ([], "--arch"),
    "unknown-option": ([*MEGA, "--set", "hiden_size=8"], "did you mean hidden_size"),
    "option-type": ([*MEGA, "--set", "num_layers=two"], "num_layers"),
    "not-key-value": ([*MEGA, "--set", "num_layers"], "key=value"),
    "heads": (["--arch", "lightning", "--set", "hidden_size=30", "--set", "num_heads=4"], "30"),
    "attention-heads": (["--arch", "attention", "--set", "hidden_size=30"], "30"),
    "window-0": (["--arch", "sliding_window", "--set", "window_size=0"], "window_size"),
    "seq-0": ([*MEGA, "--seq", "0"], "seq"),
    "seq-text": ([*MEGA, "--seq", "many"], "--seq"),
    "batch-order": ([*MEGA, "--batch", "8:4:16"], "min <= opt <= max"),
    "opset-low": ([*MEGA, "--opset", "16"], "18"),
    "ops": ([*MEGA, "--ops", "native"], "standard"),
    "runtime": ([*MEGA, "--runtime", "onnxruntim_cpu"], "onnxruntime_cpu"),
    "weights-missing": ([*MEGA, "--weights", "nowhere.safetensors"], "does not exist"),
    "layout": ([*MEGA, "--weights-layout", "keras"], "edifice"),
    "layout-alone": ([*MEGA, "--weights-layout", "edifice"], "--weights"),
    "input-missing": ([*MEGA, "--input", "nowhere.npy"], "does not exist"),
    "input-nan": ([*MEGA, "--input", "nan.npy"], "nan"),
    "input-shape": ([*MEGA, "--input", "shape.npy"], "shape.npy"),
    "input-pickle": ([*MEGA, "--input", "pickle.npy"], "pickle"),
    "out-taken": ([*MEGA, "--out", "nan.npy"], "not a bundle"),
    "out-below-file": ([*MEGA, "--out", "nan.npy/b"], "choose another --out"),
    "module-file": (["--module", "nowhere.py:make", "--shape", "x=batch,seq,2"], "existing file"),
    "module-text": (["--module", "notes.md:make", "--shape", "x=batch,seq,2"], "not a Python file"),
    "module-syntax": (["--module", "broken.py:make", "--shape", "x=batch,seq,2"], "not valid Python"),
    "module-shape": (["--module", "mine.py:make", "--shape", "x=batch;seq"], "--shape"),
    "module-length": (
        ["--module", "mine.py:for_one_length", "--shape", "signal=batch,seq,12", "--seq", "9"],
        "does not run with batch 1, seq 9: RuntimeError: The size",
    ),
    "kernel-conflict": (
        [*MEGA, "--set", "laplace_attention=true", "--set", "attention_kernel=l1"],
        "one of them",
    ),
    "seq-twice": ([*MEGA, "--set", "seq_len=10"], "--seq"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_leaves_nothing(
    temport: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    np.save(tmp_path / "nan.npy", np.full((1, 60, 6), np.nan, np.float32))
    np.save(tmp_path / "shape.npy", np.zeros((1, 59, 6), np.float32))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "notes.md").write_text("# Notes")
    (tmp_path / "broken.py").write_text("def make(:")
    before = {path.name for path in tmp_path.iterdir()}
    code, _, err = temport("export", *arguments)
    assert code == 2, err
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err, err
    assert {path.name for path in tmp_path.iterdir()} - {"bundles", "__pycache__"} == before
    assert not any((tmp_path / "bundles").glob("*")) if (tmp_path / "bundles").exists() else True


def test_interrupt_leaves_nothing(temport: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("temport.exporter.parity.trial.run_parity", interrupted)
    code, _, err = temport("export", *MEGA, "--seq", "5", "--out", "b")
    assert code == 130 and "nothing was written" in err
    assert list(tmp_path.iterdir()) == []


def test_help_is_light() -> None:
    """`--help` needs neither torch nor numpy: the CLI module imports nothing heavy."""
    import subprocess

    heavy = ("torch", "onnx", "openvino", "numpy")
    code = f"import sys, temport.exporter.cli; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
