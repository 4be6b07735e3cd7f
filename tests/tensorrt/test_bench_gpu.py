"""`temport bench gpu` without a GPU: its plan, its arithmetic, and all of it in miniature on emulated kernels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from temport.custom_ops.block_linear_attention.reference import reference as block_linear_reference
from temport.custom_ops.mask import BlockRule, MaskRule
from temport.exporter import cli
from temport.exporter.bench import gpu, gpu_aot, gpu_checks
from temport.exporter.bench.gpu_cases import GpuCase, plan, targets
from temport.exporter.bench.gpu_checks import Check
from temport.exporter.bench.gpu_contenders import chunked_block_linear, tensors
from temport.exporter.bench.gpu_table import table
from temport.exporter.errors import UserError


@pytest.mark.parametrize("length", [1, 5, 64, 100])
@pytest.mark.parametrize("span", [1, 7, 64, 200])
def test_pairs_are_those_of_the_rules(length: int, span: int) -> None:
    counted = {
        "causal": MaskRule(causal=True).array(length, length),
        "window": MaskRule(window=span).array(length, length),
        "block_linear": BlockRule(span, earlier_blocks=False).array(length, length),
    }
    for family, allowed in counted.items():
        assert GpuCase(family, length, span).pairs == allowed.sum()


def test_plan_covers_what_is_claimed() -> None:
    cases = plan()
    lengths = {case.length for case in cases}
    assert (min(lengths), max(lengths)) == (512, 65536)
    assert {case.span for case in cases if case.family == "window"} == {60, 256, 1024}
    assert {case.element_type for case in cases} == {"float32", "float16", "bfloat16"}
    assert len({str(case) for case in cases}) == len(cases)


def test_targets() -> None:
    window = GpuCase("window", 16384, 256)
    linear = GpuCase("block_linear", 65536, 64)
    causal = GpuCase("causal", 4096, head_dim=128)
    seconds = {
        window: {"ours": 1.0, "sdpa flash": 6.0, "sdpa cudnn": 7.0},
        linear: {"ours": 2 * linear.bytes / 3e12},
        causal: {"ours": 1.0, "sdpa flash": 0.9, "sdpa cudnn": 0.6},
    }
    found = targets(seconds, 1e18, 3e12)
    assert [round(t.figure or 0, 3) for t in found] == [0.6, 6.0, 0.5]
    assert [t.met for t in found] == [False, True, False]
    assert [t.met for t in targets({}, 1.0, 1.0)] == [None, None, None]


def test_definition_in_torch_is_the_reference() -> None:
    """The float64 truth of the checks against the frozen one."""
    q, k, v = (torch.randn(2, 19, 24, dtype=torch.float64) for _ in range(3))
    ours = gpu_checks.block_linear(q, k, v, 2, 4).numpy()
    attributes = {
        "num_heads": 2,
        "block_size": 4,
        "feature_map": "elu1",
        "normalizer": "key_sum",
        "eps": 1e-8,
    }
    truth = block_linear_reference([x.numpy() for x in (q, k, v)], attributes)
    assert np.abs(ours - truth).max() < 1e-12


def test_chunked_contender_computes_the_same() -> None:
    """A peer that computed something else would make the comparison worthless."""
    case = GpuCase("block_linear", 64, 16, heads=2, head_dim=8, element_type="float32", batch=2)
    q, k, v = tensors(case, "cpu")
    exact = gpu_checks.block_linear(q.double(), k.double(), v.double(), 2, 16)
    assert (chunked_block_linear(q, k, v, case) - exact).abs().max() < 64 * gpu_checks.EPS * exact.abs().max()


def test_bound_decides() -> None:
    assert Check("x", 0.5, 1.0).passed and not Check("x", 1.5, 1.0).passed


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_gpu_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both as a module of a plain checkout and as a command."""
    out = ["--out", str(tmp_path / "bench.json")]
    for main, name in ((gpu.main, ["gpu"]), (cli.main, ["temport", "bench", "gpu"])):
        monkeypatch.setattr(sys, "argv", [*name, *out])
        with pytest.raises(SystemExit) as stop:
            sys.exit(main())
        printed = capsys.readouterr()
        assert stop.value.code == 2 and "no CUDA device here" in printed.err
        assert len(printed.err.splitlines()) == 1 and not printed.out
    assert not list(tmp_path.iterdir())


MINIATURE = [
    GpuCase("causal", 64, heads=1, head_dim=32, element_type="float32"),
    GpuCase("window", 64, 16, heads=1, head_dim=32, element_type="float16"),
    GpuCase("block_linear", 64, 16, heads=1, head_dim=32),
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, emulated_library: Path) -> None:
    """Fewer rounds and shapes, kernels compiled once; every rule is tested with the kernels themselves."""
    monkeypatch.setattr(gpu, "build", lambda out, capability: emulated_library)
    monkeypatch.setattr(gpu, "ROUNDS", 3)
    monkeypatch.setattr(gpu_checks, "SHAPES", gpu_checks.SHAPES[5:8])
    monkeypatch.setattr(gpu_checks, "BLOCKS", gpu_checks.BLOCKS[-1:])
    monkeypatch.setattr(gpu_checks, "LONG", 130)


@pytest.mark.usefixtures("small")
def test_whole_command_in_miniature(tmp_path: Path) -> None:
    report = gpu.run(tmp_path / "bench.json", "cpu", MINIATURE, say=lambda text: None)
    assert json.loads((tmp_path / "bench.json").read_text()) == json.loads(json.dumps(report))
    assert all(check["passed"] for check in report["checks"])
    assert [set(row["contenders"]) for row in report["times"]] == [
        {"ours", "sdpa math"},
        {"ours", "sdpa math", "sdpa efficient, window mask"},
        {"ours", "torch chunked"},
    ]
    rtx, enterprise = (report["engines"][target] for target in ("tensorrt-rtx", "tensorrt"))
    assert rtx["verdict"] == enterprise["verdict"] == "not run" and "1 fused" in rtx["built"]
    assert report["failures"] == []
    assert table(report).count("| causal-") == 1 and "; not run: no GPU" in table(report)


@pytest.mark.usefixtures("small")
def test_a_failure_of_ours_ends_the_run_and_one_of_a_peer_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "outcomes", dict)
    monkeypatch.setattr(gpu, "checks", lambda *a: iter(()))
    peers = gpu.contenders

    def failing(name: str) -> Callable[..., Iterator[tuple[str, Callable[[], object]]]]:
        def contenders(*arguments: Any) -> Iterator[tuple[str, Callable[[], object]]]:
            for other, call in peers(*arguments):
                yield other, (lambda: {}["its compiler broke"]) if other == name else call

        return contenders

    monkeypatch.setattr(gpu, "contenders", failing("sdpa math"))
    report = gpu.run(tmp_path / "bench.json", "cpu", MINIATURE[:1], say=lambda text: None)
    assert report["times"][0]["not_run"] == {"sdpa math": "'its compiler broke'"}
    monkeypatch.setattr(gpu, "contenders", failing("ours"))
    with pytest.raises(KeyError):
        gpu.run(tmp_path / "bench.json", "cpu", MINIATURE[:1], say=lambda text: None)
    assert json.loads((tmp_path / "bench.json").read_text())["times"] == []


@pytest.mark.usefixtures("small")
def test_cases_left_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "outcomes", dict)
    monkeypatch.setattr(gpu, "checks", lambda *a: iter(()))
    monkeypatch.setattr(gpu, "SLOWEST_TOTAL", 0.0)
    report = gpu.run(tmp_path / "bench.json", "cpu", MINIATURE, say=lambda text: None)
    assert f"- not timed, for lack of time: {', '.join(map(str, MINIATURE))}" in table(report)


def test_out_is_tried_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "build", lambda *a: pytest.fail("the work began"))
    with pytest.raises(UserError, match=r"cannot write /proc/bench\.json: .*; choose another --out"):
        gpu.run(Path("/proc/bench.json"), "cpu")


def test_missing_compiler_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "has_compiler", lambda: False)
    with pytest.raises(UserError, match="no nvcc here; install the CUDA toolkit"):
        gpu.run(tmp_path / "bench.json")
    assert not list(tmp_path.iterdir())


def test_a_plain_checkout_needs_torch_and_nothing_of_ours() -> None:
    """The machine with the GPU may have nvcc, torch, triton, numpy and onnx only."""
    script = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {'onnx_ir', 'onnxscript', 'onnxruntime', 'typer', 'rich', 'safetensors', 'jinja2'}:
            raise ModuleNotFoundError(f'no module {name}')
sys.meta_path.insert(0, Absent())
from temport.exporter.bench import gpu, gpu_aot, gpu_engines
print(gpu_engines.attempt('tensorrt-rtx').reason)
from temport.custom_ops.cuda import aot_kernels, aot_plugin
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no module onnx_ir")


def test_nan_is_no_pass() -> None:
    assert not Check("x", float("nan"), 1.0).passed
    assert Check("x", float("nan"), 1.0).to_json()["error"] is None


@pytest.mark.usefixtures("small")
def test_wrong_kernel_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = gpu.TorchKernels.attention
    monkeypatch.setattr(gpu.TorchKernels, "attention", lambda *a, **k: wrong(*a, **k) * 1.1)
    monkeypatch.setattr(gpu, "outcomes", dict)
    report = gpu.run(tmp_path / "bench.json", "cpu", MINIATURE, say=lambda text: None)
    (failure,) = report["failures"]
    assert "comparisons fail, first attention-" in failure and "nothing was timed" in failure
    assert f"- FAILED: {failure}" in table(report)
    assert json.loads((tmp_path / "bench.json").read_text()) == report and report["times"] == []


def test_kernels_in_engines_that_hang_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_aot, "LONGEST", 0.01)
    with pytest.raises(RuntimeError, match=r"travel in engines: not finished after 0\.01 seconds"):
        gpu_aot.proofs()


def test_a_command_that_hangs_ends_and_says_where(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from temport.exporter.bench import gpu
gpu.LONGEST = 0.5
gpu.build = lambda out, capability: out
gpu.TorchKernels = lambda path: None
gpu.checks = lambda *a: time.sleep(60)
gpu.run(Path({str(tmp_path / "bench.json")!r}), "cpu")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    sentence = "not finished after 0.5 seconds, while comparing with float64"
    assert done.returncode == 1 and f"FAILED: {sentence}" in done.stdout, done.stderr
    assert json.loads((tmp_path / "bench.json").read_text())["failures"] == [sentence]
