"""`--weights-dtype`: files whose weights take fewer bits, held to the bound of float32, and what is refused."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors import safe_open

import temport
from temport.exporter.bundle.directory import open_bundle, write_manifest
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.compress.mixture import mixture
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.graph.quantised import quantised
from temport.exporter.native import isa
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.native.isa import ISAS
from temport.exporter.parity.serial import read_json
from temport.exporter.passes.compress_weights import compress_weights
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes import onnxruntime_cpu, openvino
from temport.exporter.verify import run_verify
from tests.native_engine.engine_of_graphs import QUICK, quick_isa
from tests.native_engine.strict import strictly
from tests.traces import shared_by_exports

SMALL = ("embed_dim=32", "num_heads=2", "head_dim=32", "num_layers=2", "window_size=8", "ffn_dim=64")
WEIGHTS = {"fp16": "FLOAT16", "int8": "INT8", "int4": "INT4"}


def export(out: Path, **asked: Any) -> temport.Exported:
    with shared_by_exports():  # both dialects of the same weights
        return temport.export("sliding_window", **{"settings": SMALL, "seq": 16, "out": out} | asked)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A bundle by type and dialect, exported once."""
    root = tmp_path_factory.mktemp("compressed")

    def bundle(kind: str, ops: str = "custom") -> Path:
        out = root / f"{kind}-{ops}"
        if not out.exists():
            export(out, weights_dtype=kind, ops=ops)
        return out

    return bundle


def held(model: onnx.ModelProto) -> dict[str, int]:
    """Bytes of the initializers by element type."""
    found: dict[str, int] = {}
    for tensor in model.graph.initializer:
        name = onnx.TensorProto.DataType.Name(tensor.data_type)
        found[name] = found.get(name, 0) + len(tensor.raw_data)
    return found


@pytest.mark.parametrize(("kind", "ops"), [("int8", "custom"), ("int4", "standard"), ("fp16", "custom")])
def test_every_runtime_computes_the_stored_weights(made: Any, kind: str, ops: str) -> None:
    bundle = made(kind, ops)
    report = read_json(bundle / "report.json")
    ran = {row.name: row.verdict for row in report.runtimes if row.verdict != "not run"}
    assert report.verdict == "pass" and set(ran.values()) == {"pass"}
    assert {"onnxruntime_cpu", "openvino", "onnx_reference"} <= ran.keys()
    bytes_of = held(onnx.load(bundle / "model.onnx"))
    assert bytes_of[WEIGHTS[kind]] * {"fp16": 2, "int8": 4, "int4": 8}[kind] > 0.8 * 4 * 30_000
    assert bytes_of["FLOAT"] < 0.25 * 4 * 30_000  # biases, norms, scales of outputs, and what was turned
    assert kind != "int4" or bytes_of["INT4"] / 16 <= bytes_of["FLOAT16"] <= bytes_of["INT4"] / 4


@pytest.mark.parametrize(("size", "dtype"), [(1.0, np.float16), (1e-6, np.float32)])
def test_scales_of_blocks_are_float16_where_it_holds_them(size: float, dtype: type) -> None:
    given = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32) * np.float32(size)
    weight = quantised(given, 0, "int4")
    source = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3, 64])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [3, 32])],
            [numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
    )
    model = ir.from_proto(source)
    assert compress_weights(model, "int4")
    stored = ir.to_proto(model)
    (scale,) = (t for t in stored.graph.initializer if "scale" in t.name)
    assert numpy_helper.to_array(scale).dtype == dtype
    x = np.eye(3, 64, dtype=np.float32)
    (found,) = ReferenceEvaluator(stored).run(None, {"x": x})
    assert np.array_equal(found, weight[:3])


@pytest.mark.parametrize(
    ("kind", "element", "size", "share"),
    [
        pytest.param("int8", "int8", 1, 2.5, marks=pytest.mark.thorough),
        ("int4", "int4", 9 / 16, 4.0),
        pytest.param("fp16", "float16", 2, 1.8, marks=pytest.mark.thorough),
        pytest.param("fp8", "float32", 4, 0.5, marks=pytest.mark.thorough),
    ],
)
def test_a_native_engine_holds_them_as_they_are(
    tmp_path: Path, kind: str, element: str, size: float, share: float
) -> None:
    """Of a recurrent layer and of dense ones; int4 with its scales, and fp8 as float32. The engine is judged."""
    compiler = strictly(tmp_path, *QUICK.split())
    done = temport.export(
        "hybrid",
        settings=("embed_dim=64", "lstm_hidden=64", "num_heads=1", "head_dim=64"),
        seq=8,
        weights_dtype=kind,
        target="native",
        compile=CompileOptions(cc=compiler, engine_isa=quick_isa()),
        out=tmp_path / kind,
        runtimes=("native_engine", "onnxruntime_native"),
    )
    assert done.passed and "pass" in {
        row.verdict for row in done.report.runtimes if row.name == "native_engine"
    }
    (engine,) = json.loads((done.path / "engine.json").read_text())["engines"]
    assert done.report.compression is not None
    numbers = sum(w.shape[0] * w.shape[1] for w in done.report.compression.weights)
    assert engine["weights"][element] > 0.9 * numbers * size  # one is turned, and its scales too
    assert engine["memory"]["weights"] * share < numbers * 4


@pytest.mark.parametrize(
    ("kind", "ops", "processor", "taken"),
    [
        ("int8", "custom", "avx512vnni", "avx512vnni"),
        ("int8", "custom", "avx512", "avx512"),
        ("int8", "custom", "avx2vnni", "avx2vnni"),
        ("int4", "standard", "avx512vnni", "avx512"),  # whose weights an engine widens
        ("fp16", "custom", "avx512vnni", "avx512"),
    ],
)
def test_an_engine_is_for_the_set_that_its_model_gains_by(
    made: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    ops: str,
    processor: str,
    taken: str,
) -> None:
    """Where none is named; the entry and the last lines say why it is another one than usual."""
    monkeypatch.setattr(isa, "_cpu_flags", lambda: set(ISAS[processor].needs))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    shutil.copy(made(kind, ops) / "model.onnx", tmp_path)
    declaration = open_bundle(made(kind, ops)).declaration
    report = build_native(tmp_path, "m", declaration, NativeOptions(source_only=True))
    assert report.isa == taken and bool(report.to_json()["isa_reason"]) == (taken != "avx512")
    assert f"for {taken}{f' ({report.isa_reason})' if report.isa_reason else ''}: " in report.summary()


def test_a_bundle_is_made_anew_from_its_own_weights(made: Any) -> None:
    with safe_open(made("int8") / "weights.safetensors", "np") as weights:
        assert weights.metadata() == {"weights_dtype": "int8"}
    assert run_verify(made("int8"))
    assert run_parity_of_bundle(made("int8"), ("onnxruntime_cpu",))


def test_loss_is_against_the_trained_model(made: Any, tmp_path: Path) -> None:
    """The same numbers as from two exports, compared here."""
    plain = export(tmp_path / "plain", runtimes=("onnxruntime_cpu",))
    trained, stored = (np.load(path / "vectors.npz") for path in (plain.path, made("int8")))
    compression = read_json(made("int8") / "report.json").compression
    assert compression is not None
    names = [name for name in trained.files if trained[name].dtype == np.float64 and trained[name].ndim > 1]
    for loss in compression.losses:
        name = next(name for name in names if loss.case in name)
        error = np.abs(stored[name] - trained[name]).max() / np.abs(trained[name]).max()
        assert loss.largest == pytest.approx(error, rel=1e-6)
        assert loss.flipped is not None and loss.agreement is not None


def spoil(bundle: Path, change: Callable[[onnx.ModelProto], None], to: Path) -> Path:
    """A copy whose model was changed, with everything that vouches for it."""
    shutil.copytree(bundle, to)
    model = onnx.load(to / "model.onnx")
    change(model)
    onnx.save(model, to / "model.onnx")
    old = json.loads((to / "manifest.json").read_text())
    (to / "manifest.json").unlink()
    (to / "manifest.sha256").unlink()
    write_manifest(to, Declaration.from_json(old["declaration"]), old["masks"], {"verdict": "pass"})
    return to


def tensors(model: onnx.ModelProto, kind: str) -> Iterator[onnx.TensorProto]:
    return (t for t in model.graph.initializer if onnx.TensorProto.DataType.Name(t.data_type) == kind)


def swap_nibbles(model: onnx.ModelProto) -> None:
    tensor = max(tensors(model, "INT4"), key=lambda t: len(t.raw_data))
    data = bytearray(tensor.raw_data)
    at = next(i for i, byte in enumerate(data) if byte >> 4 != byte & 15)
    data[at] = data[at] >> 4 | (data[at] & 15) << 4
    tensor.raw_data = bytes(data)


def flip_scale(model: onnx.ModelProto) -> None:
    tensor = next(t for t in tensors(model, "FLOAT") if "/scale/" in t.name)
    scale = np.frombuffer(tensor.raw_data, np.float32).copy()
    scale[0] = -scale[0]
    tensor.raw_data = scale.tobytes()


@pytest.mark.parametrize(
    ("kind", "ops", "change"), [("int4", "standard", swap_nibbles), ("int8", "custom", flip_scale)]
)
def test_one_wrong_number_is_seen(
    made: Any, tmp_path: Path, kind: str, ops: str, change: Callable[[onnx.ModelProto], None]
) -> None:
    assert not run_parity_of_bundle(spoil(made(kind, ops), change, tmp_path / "b"), ("onnxruntime_cpu",))


def test_a_runtime_that_rounds_activations_is_seen(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's own default, unless its optimizations are the basic ones, as Triton is told."""
    monkeypatch.setattr(onnxruntime_cpu, "CONFIG", {})
    assert not run_parity_of_bundle(made("int4", "standard"), ("onnxruntime_cpu",))

    usual = onnxruntime_cpu.session_options

    def basic(*given: Any) -> Any:
        options = usual(*given)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        return options

    monkeypatch.setattr(onnxruntime_cpu, "session_options", basic)
    assert run_parity_of_bundle(made("int4", "standard"), ("onnxruntime_cpu",))


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_openvino_runs_the_weights_as_they_are_stored(
    made: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Its compiled graph holds them so, and rounds activations unless it is told not to, which is seen."""
    model = onnx.load(made(kind, "standard") / "model.onnx")
    stored = sum(int(np.prod(tensor.dims)) for tensor in tensors(model, WEIGHTS[kind]))
    compiled = openvino.OpenVinoSession(model, "", 1).request.get_compiled_model().get_runtime_model()
    constants = [op for op in compiled.get_ops() if str(op.get_rt_info()["layerType"].astype(str)) == "Const"]
    narrow = [op for op in constants if op.get_rt_info()["outputPrecisions"].astype(str) == f"i{kind[3:]}"]
    assert sum(int(np.prod(op.get_output_shape(0))) for op in narrow) == stored
    monkeypatch.delitem(openvino.SETTINGS, "DYNAMIC_QUANTIZATION_GROUP_SIZE")
    assert not run_parity_of_bundle(made(kind, "standard"), ("openvino",))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"weights_dtype": "int7"}, "'int7' is unknown; give fp16, int8, int4"),
        ({"weights_dtype": "int8", "precision": "fp16"}, "computes in float16"),
        ({"weights_dtype": "int8", "opset": 20}, "needs opset 21"),
        ({"weights_dtype": "int8", "max_loss": -1.0}, "--max-loss -1 is no share"),
        ({"max_loss": 0.1}, "no --weights-dtype was given"),
        (
            {"weights_dtype": "int8", "settings": ("embed_dim=4", "num_heads=1", "head_dim=4", "ffn_dim=4")},
            "no weight",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        export(tmp_path / "b", runtimes=("onnxruntime_cpu",), **asked)


def test_the_most_harmful_weights_get_more_bits() -> None:
    harm = {"a": 1.0, "b": 0.1, "c": 0.01}
    share = {"int4": 1.0, "int8": 0.1, "fp16": 1e-3}

    def measure(kinds: Any) -> float:
        return sum(harm[name] * share[kind] for name, kind in kinds.items())

    types = dict.fromkeys(harm, ("int4", "int8", "fp16", "float32"))
    kinds, alone = mixture(types, 0.15, measure)
    assert kinds == {"a": "int8", "b": "int8", "c": "int4"} and alone == harm
    assert mixture(types, 2.0, measure) == (dict.fromkeys(harm, "int4"), {})
    with pytest.raises(
        UserError, match="no mixture reaches --max-loss 1e-09; the best one loses 1e-05: 1 weight"
    ):
        mixture(types, 1e-9, measure)
    types["a"] = ("int8", "float32")  # its inputs are no whole blocks, and float16 does not reach it
    assert mixture(types, 0.15, measure)[0] == {"a": "int8", "b": "int8", "c": "int4"}
    assert mixture(types, 0.05, measure)[0] == {"a": "float32", "b": "int8", "c": "int4"}


def test_a_limit_holds_for_the_users_inputs(tmp_path: Path) -> None:
    given = tmp_path / "own.npy"
    np.save(given, np.random.default_rng(1).standard_normal((1, 16, 32)).astype(np.float32))
    request = ExportRequest(
        "sliding_window",
        settings=SMALL,
        seq="16",
        inputs=(given,),
        runtimes=("onnxruntime_cpu",),
        weights_dtype="int4",
    )
    free, held_to = (
        run_export(replace(request, max_loss=limit, out=tmp_path / str(limit))).report.compression
        for limit in (None, 0.02)
    )
    assert free is not None and held_to is not None
    own = {loss.case: loss.largest for loss in (*free.losses, *held_to.losses) if loss.case in held_to.judged}
    before = {loss.case: loss.largest for loss in free.losses}
    assert len(own) == 1 and all(loss <= 0.02 < before[case] for case, loss in own.items())
    assert {"int4"} < {weight.dtype for weight in held_to.weights}


@pytest.mark.thorough
def test_weights_of_an_onnx_file(tmp_path: Path) -> None:
    """One with an attention; in each run `test_rounded_onnx_files.py` has a smaller one."""
    plain = export(tmp_path / "plain", ops="standard", runtimes=("onnxruntime_cpu",))
    done = temport.export(
        onnx=plain.path / "model.onnx",
        weights_dtype="int8",
        out=tmp_path / "b",
        runtimes=("onnxruntime_cpu",),
    )
    assert done.passed
    sizes = [(path / "model.onnx").stat().st_size for path in (plain.path, done.path)]
    assert sizes[0] > 2.5 * sizes[1]
