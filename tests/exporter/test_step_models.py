"""Step models: equal to the whole sequence at every position in every runtime, and a gate that sees when not."""

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from streams import EVALUATORS, FAST, RUNTIMES, Exported, export, replay
from typer.testing import CliRunner

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.bundle.metadata import signature
from temport.exporter.cli import app
from temport.exporter.declare.declaration import Axis
from temport.exporter.declare.options import as_settings
from temport.exporter.declare.streams import sequence_declaration
from temport.exporter.graph.in_place import in_place_states
from temport.exporter.graph.masks import computed_masks
from temport.exporter.parity.cases import DISTRIBUTIONS
from temport.exporter.parity.stream import initial_state
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.runner import Found, RunnerRuntime
from temport.exporter.streaming.declare import declare_stream
from temport.graphs.registry import ARCHITECTURES
from tests.small_models import SMALL, STREAMING, thorough_but
from tests.traces import build

OPEN = "1:2:5"
"""The batch of most models here, which share their traces so; `test_a_window_of_one_frame` and others have one row."""


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export("sliding_window", tmp_path_factory.mktemp("sliding"), batch=OPEN)


@pytest.fixture(scope="module", params=thorough_but(STREAMING))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Small models that stream."""
    return export(request.param, tmp_path_factory.mktemp("step"), batch=OPEN)


def test_every_runtime_at_every_position(exported: Exported) -> None:
    """More than four windows of frames, in each distribution."""
    report = exported.parity(RUNTIMES)
    assert report.passed, report.reasons
    assert {row.name for row in report.runtimes if row.verdict == "pass"} >= set(FAST)
    assert {case.kind for case in report.cases} == set(DISTRIBUTIONS)
    for case in report.cases:
        assert case.shapes["frame"][1] > 4 * 7


@pytest.mark.parametrize("cases", [2, pytest.param(None, id="all", marks=pytest.mark.thorough)])
def test_evaluators_at_every_position(exported: Exported, cases: int | None) -> None:
    """They are written in Python and take long: two distributions, and all of them in the tier `thorough`."""
    report = exported.parity(EVALUATORS, exported.truths()[:cases])
    assert report.passed, report.reasons
    assert {row.name for row in report.runtimes if row.verdict == "pass"} >= set(EVALUATORS)


def test_a_window_of_one_frame(tmp_path: Path) -> None:
    report = export("sliding_window", tmp_path, "window_size=1").parity()
    assert report.passed, report.reasons


@pytest.mark.parametrize("arch", thorough_but(["hybrid", "lightning-elu1"], ["lightning-elu1"]))
def test_standard_dialect(arch: str, tmp_path: Path) -> None:
    exported = export(arch, tmp_path, batch=OPEN, ops="standard")
    assert not [n for n in onnx.load(exported.path).graph.node if n.domain not in ("", "ai.onnx")]
    report = exported.parity()
    assert report.passed, report.reasons


@pytest.mark.parametrize("arch", ["mega-softmax", "lightning-elu1"])
def test_layers_share_what_says_where_a_frame_stands(arch: str, tmp_path: Path) -> None:
    """Inlined, every layer would compute the row of the frame and the filled rows by itself."""
    path = export(arch, tmp_path, batch=OPEN, ops="standard").path
    counts = Counter(n.op_type for n in onnx.load(path).graph.node)
    assert counts["Softmax"] == 2
    assert (counts["Mod"], counts["Gather"], counts["Squeeze"]) == (1, 1, 1)


def test_a_program_that_takes_no_stream_is_not_run_and_says_why(sliding: Exported) -> None:
    capabilities = replace(runtime_named("cpp").capabilities, whole_streams=False)
    program = RunnerRuntime("program", capabilities, Found)
    truths = sliding.truths()
    cases = tuple(truth.case for truth in truths)
    (row,) = sliding.trial().run(cases, [program], truths, lambda *_: None).runtimes
    assert row.verdict == "not run"
    assert "starts anew for every call" in row.reason


def test_signature_pairs_the_states(sliding: Exported) -> None:
    given = signature(sliding.declaration)
    inputs = {spec["name"]: spec for spec in given["inputs"]}
    outputs = {spec["name"]: spec for spec in given["outputs"]}
    assert next(iter(inputs)) == "frame"
    assert len(given["states"]) == len(inputs) - 1 == len(outputs) - 1
    for pair in given["states"]:
        before, after = inputs[pair["input"]], outputs[pair["output"]]
        assert (before["shape"], before["dtype"]) == (after["shape"], after["dtype"])
    dtypes = {spec["dtype"] for spec in given["inputs"]}
    assert dtypes == {"float32", "int64"}
    model = onnx.load(sliding.path)
    assert [value.name for value in model.graph.input] == list(inputs)
    assert [value.name for value in model.graph.output] == list(outputs)
    assert {p.key: p.value for p in model.metadata_props}["temport.horizon"] == "0"


def in_place(exported: Exported) -> set[str]:
    (text,) = (p.value for p in onnx.load(exported.path).metadata_props if p.key == "temport.signature")
    pairs = json.loads(text)["states"]
    assert all(pair.get("in_place", True) is True for pair in pairs)
    return {pair["input"] for pair in pairs if "in_place" in pair}


def test_caches_alone_are_in_place(exported: Exported) -> None:
    """Of the nodes that step ring caches; the plain operators of laplace need two buffers."""
    caches = {spec.name for spec in exported.declaration.inputs if spec.name.endswith(("keys", "values"))}
    cached = any(node.op_type.startswith("Cached") for node in onnx.load(exported.path).graph.node)
    assert in_place(exported) == (caches if cached else set())
    assert caches or not cached


def test_nothing_is_in_place_without_a_cached_node(tmp_path: Path) -> None:
    """The function bodies of the standard dialect and the plain operators of laplace need two buffers."""
    assert not in_place(export("hybrid", tmp_path, batch=OPEN, ops="standard"))


@pytest.mark.parametrize("reader", ["a second node", "the graph itself", "the values' output"])
def test_a_cache_that_is_read_elsewhere_is_not_in_place(sliding: Exported, reader: str) -> None:
    model, state = ir.load(sliding.path), "state.layers.0.attention.keys"
    assert state in in_place_states(model, sliding.declaration)
    graph = model.graph
    (value,) = (v for v in graph.inputs if v.name == state)
    ((node, _),) = value.uses()
    if reader == "a second node":
        graph.append(ir.node("Identity", [value]))
    elif reader == "the graph itself":
        graph.outputs.append(value)
    else:  # what is paired with the keys is where the node writes the values
        keys, values = node.outputs[1:]
        keys.name, values.name = values.name, keys.name
    assert state not in in_place_states(model, sliding.declaration)


def test_no_mask_is_computed(exported: Exported) -> None:
    model = ir.load(exported.path)
    assert computed_masks(model) == []
    assert not {node.op_type for node in model.graph} & {"Range", "Less", "LessOrEqual", "Trilu", "CumSum"}


def test_list_says_what_a_stream_says(exported: Exported) -> None:
    """The phrase that an architecture has in `temport list` is that of its export."""
    (note,) = (n for n in exported.declaration.notes if n.startswith("streaming is "))
    said = note.removeprefix("streaming is ").replace("9 frames", "--seq frames")
    assert ARCHITECTURES[exported.declaration.arch].stream.startswith(said)


def test_state_survives_being_saved(exported: Exported) -> None:
    frames = np.random.default_rng(0).standard_normal((3, 30, 6)).astype(np.float32)
    whole, _ = replay(exported, frames)
    _, state = replay(exported, frames[:, :11])
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    again, _ = replay(exported, frames[:, 11:], dict(np.load(file)))
    assert np.array_equal(again, whole[:, 11:])


def test_independent_streams_and_the_reset_of_one(exported: Exported) -> None:
    """A batch entry restarted by zeroing its state is a stream of its own; the others never notice."""
    frames = np.random.default_rng(1).standard_normal((3, 30, 6)).astype(np.float32)
    alone = np.concatenate([replay(exported, row[None])[0] for row in frames])
    together, state = replay(exported, frames[:, :13])
    for tensor in state.values():
        tensor[1] = 0
    after, _ = replay(exported, frames[:, 13:], state)
    eps = 16 * np.finfo(np.float32).eps * np.abs(alone).max()
    assert np.abs(together - alone[:, :13]).max() <= eps
    assert np.abs(after[[0, 2]] - alone[[0, 2], 13:]).max() <= eps
    restarted, _ = replay(exported, frames[1:2, 13:])
    assert np.abs(after[1] - restarted[0]).max() <= eps


@pytest.mark.parametrize("frames_before", [2, 8, 10**12])
def test_a_wrong_counter_is_seen(exported: Exported, frames_before: int) -> None:
    """Claims frames that never were, or forgets those that were: other rows are filled, another one is written."""
    frames = np.random.default_rng(2).standard_normal((1, 8, 6)).astype(np.float32)
    whole, _ = replay(exported, frames)
    _, state = replay(exported, frames[:, :5])
    state["state.frames"][:] = frames_before
    outputs, _ = replay(exported, frames[:, 5:], state)
    by_age = exported.declaration.arch == "mega" and not in_place(exported)  # laplace: rows lie by age
    seen = np.abs(outputs - whole[:, 5:]).max() > 1e-4
    assert seen or (by_age and frames_before >= 8)


def test_a_counter_of_any_size_keeps_the_stream(exported: Exported) -> None:
    """The same stream with its counter moved on by whole rings: no row and no block changes its place, positions do."""
    rings = [s.shape[1] for s in exported.declaration.inputs if s.name.endswith("keys")]
    frames = np.random.default_rng(3).standard_normal((1, 40, 6)).astype(np.float32)
    _, state = replay(exported, frames[:, :21])
    moved = {**state, "state.frames": state["state.frames"] + np.int64(10**12) * int(rings[0])}
    same = np.array_equal(
        replay(exported, frames[:, 21:], moved)[0], replay(exported, frames[:, 21:], state)[0]
    )
    counts_positions = any("positions count" in note for note in exported.declaration.notes)
    assert same != counts_positions


@pytest.mark.parametrize("start", [100_000, 2_000_000])
def test_far_into_a_stream(sliding: Exported, start: int) -> None:
    """After a million frames the encoding is as exact as at the first: compared with the same model in float64.

    The caches that the counter speaks of are empty here, so only what sees none of them is compared: the frames
    behind both layers' windows of 7.
    """
    frames = np.random.default_rng(2).standard_normal((1, 30, 6)).astype(np.float32)
    state = initial_state(sliding.declaration, 1)
    state["state.frames"][:] = start
    outputs, _ = replay(sliding, frames, state)
    model = sliding.module.double()
    try:
        x = model.input_proj(torch.from_numpy(frames).double())
        d = torch.arange(x.shape[-1], dtype=torch.float64)
        x = x + torch.sin((start + torch.arange(30, dtype=torch.float64)[:, None]) / (1 + 0.01 * d))
        with torch.no_grad():
            for layer in model.layers:
                x = layer(x)
    finally:
        model.float()
    error = np.abs(outputs - x.detach().numpy())
    eps = 32 * np.finfo(np.float32).eps * x.abs().max()
    assert error[:, 12:].max() <= eps < error[:, :12].max()


def _rename_output(model: onnx.ModelProto, one: str, other: str) -> None:
    """Swap the meaning of two outputs."""
    swap = {one: other, other: one}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = swap.get(name, name)


def test_swapped_states_are_seen(sliding: Exported, tmp_path: Path) -> None:
    """Keys returned as values and values as keys: the first frame is right, the second is not."""
    names = ("next_state.layers.0.attention.keys", "next_state.layers.0.attention.values")
    report = sliding.changed(tmp_path / "swapped.onnx", lambda m: _rename_output(m, *names)).parity()
    (row,) = (row for row in report.runtimes if row.name == "onnxruntime_cpu")
    assert not report.passed
    assert row.divergence is not None
    assert row.divergence.explanation.startswith("frame 1 of 37 is the first that is wrong")


def test_a_stale_counter_is_seen(sliding: Exported, tmp_path: Path) -> None:
    """The counter of frames returned as it came: every frame sees itself alone."""

    def stale(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["fresh" if name == "next_state.frames" else name for name in node.output]
        model.graph.node.append(onnx.helper.make_node("Identity", ["state.frames"], ["next_state.frames"]))

    report = sliding.changed(tmp_path / "stale.onnx", stale).parity()
    (row,) = (row for row in report.runtimes if row.name == "onnxruntime_cpu")
    assert (report.passed, row.verdict) == (False, "fail")
    assert row.divergence is not None and row.divergence.explanation.startswith("frame 1 of 37")


@pytest.mark.parametrize(
    "reader, slot, change, first",
    [("Gather", 0, lambda filled: np.roll(filled, 1, axis=1), 0), ("Mod", 1, lambda rows: rows - 1, 6)],
    ids=["filled", "slot"],
)
def test_a_body_with_the_wrong_rows_is_seen(
    sliding: Exported,
    tmp_path: Path,
    reader: str,
    slot: int,
    change: Callable[[np.ndarray], np.ndarray],
    first: int,
) -> None:
    """A row that holds no frame yet is read; the seventh frame takes the place of the first, which is still seen."""

    def wrong(model: onnx.ModelProto) -> None:
        (function,) = (f for f in model.functions if f.name == "CachedAttention")
        (name,) = (node.input[slot] for node in function.node if node.op_type == reader)
        (tensor,) = (node.attribute[0].t for node in function.node if name in node.output)
        tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor))))

    report = sliding.changed(tmp_path / "wrong.onnx", wrong).parity()
    (row,) = (row for row in report.runtimes if row.name == "onnxruntime_cpu")
    assert (report.passed, row.verdict) == (False, "fail")
    assert row.divergence is not None and row.divergence.explanation.startswith(f"frame {first} of 37")


def test_a_longer_cache_than_the_window_is_seen(tmp_path: Path) -> None:
    """A step model of window 8 against the sequence form of window 7: wrong from the eighth frame on."""
    right = export("sliding_window", tmp_path, batch=OPEN)
    wider = tmp_path / "wider"
    wider.mkdir()
    wrong = export("sliding_window", wider, "window_size=8", batch=OPEN)
    for tensor, other in zip(wrong.module.parameters(), right.module.parameters(), strict=True):
        assert torch.equal(tensor, other)
    trial, truths = wrong.trial(), right.truths()
    report = trial.run([t.case for t in truths], [runtime_named("onnxruntime_cpu")], truths, lambda *_: None)
    assert not report.passed
    assert report.runtimes[0].divergence.explanation.startswith("frame 7 of ")


@pytest.mark.parametrize("options, told", [((), False), (("feature_map=identity",), True)], ids=str)
def test_an_ill_conditioned_linear_branch_is_told(options: tuple[str, ...], told: bool) -> None:
    declaration, module = SMALL["lightning-elu1"].declare("num_layers=1", *options, seq="9")
    stream = declare_stream(declaration, module)
    for declared in (stream, replace(stream, arch="module", options={})):  # also inside a module of one's own
        warnings = build(module, declared).warnings
        assert any("divides by a sum that can pass through 0" in warning for warning in warnings) == told


def test_horizon_is_declared_only_where_it_bounds(sliding: Exported) -> None:
    stream, _ = SMALL["mega-softmax"].declare_stream(batch=OPEN, seq="9")
    assert stream.horizon == 9
    assert {s.shape[1] for s in stream.inputs if s.name.endswith("keys")} == {9}
    assert any("from then on with a window" in note for note in stream.notes)
    assert sliding.declaration.horizon == 0
    (frames,) = (a for a in sequence_declaration(stream).axes.values() if a.name == "frames")
    assert frames == Axis("frames", 41, 41, 41)


def test_bundle_replays_and_repeats(tmp_path: Path) -> None:
    """The command end to end; the recorded stream replays with nothing but the file and numpy."""
    out = tmp_path / "bundle"
    own = tmp_path / "own.npy"
    np.save(own, np.random.default_rng(3).standard_normal((1, 17, 6)).astype(np.float32))
    arguments = ["export", "--arch", "lightning", "--streaming", "--seq", "9", "--out", str(out)]
    small = as_settings(SMALL["lightning-elu1"].options)
    arguments += [part for setting in small for part in ("--set", setting)]
    arguments += ["--runtime", "onnxruntime_cpu", "--input", str(own)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    bundle = open_bundle(out)
    exported = Exported(bundle.declaration, torch.nn.Identity(), bundle.model_path)
    truths = read_vectors(out / "vectors.npz")
    assert truths[-1].outputs["output"].shape == (1, 17, 8)
    for truth in truths:
        outputs, _ = replay(exported, truth.case.inputs["frame"])
        assert np.abs(outputs - truth.outputs["output"]).max() <= truth.bounds["output"].allowed
    assert run_parity_of_bundle(out, ("onnxruntime_cpu",))
