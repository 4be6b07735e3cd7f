"""report.json keeps its schema, report.html stands alone, foreign rows are judged again."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.console import Console

from temport.custom_ops.mask import MaskRule
from temport.exporter.bundle.directory import write_vectors
from temport.exporter.errors import UserError
from temport.exporter.parity.gate import merge
from temport.exporter.parity.result import (
    FAIL,
    ILL,
    NOT_RUN,
    PASS,
    Bound,
    Divergence,
    MaskPicture,
    RuntimeRow,
)
from temport.exporter.parity.run import run_parity
from temport.exporter.parity.serial import read_json, to_json, write_json
from temport.exporter.parity.vectors import read_vectors, to_vectors
from temport.exporter.report.chart import Strip, distribution
from temport.exporter.report.html import figure, render, write_html
from temport.exporter.report.table import table
from temport.exporter.runtimes import runtime_named


@pytest.fixture(scope="module")
def report(subject, cases, truths):
    runtimes = [runtime_named("torch_float32"), runtime_named("onnxruntime_cpu")]
    found = run_parity(subject, cases, runtimes, truths=truths)
    rule = MaskRule(window=5)
    failed = RuntimeRow(
        "elsewhere",
        "1.0",
        "engine",
        FAIL,
        "",
        (),
        Divergence(cases[0].name, "runtime", "gelu", "Gelu", "node_gelu", 1.0, 1e-6, "computed wrongly"),
    )
    absent = RuntimeRow("tensorrt", "", "", NOT_RUN, "compiled, not run: no GPU")
    return replace(
        found,
        runtimes=(*found.runtimes, failed, absent),
        verdict=FAIL,
        reasons=("elsewhere: broken",),
        op_counts={"traced": {"Gemm": 4, "Split": 2}, "exported": {"Gemm": 4}},
        flops={"traced": {"MatMul": 5e6}, "exported": {"MatMul": 2.5e6}},
        masks=(
            MaskPicture("mask_window", str(rule), 21, 21, rule.svg(21, 21)),
            MaskPicture("big", "all", 9, 9, ""),
        ),
        warnings=("handle with care",),
        versions={"torch": "2.13"},
    )


def foreign(report, **changes):
    """The ONNX Runtime row as another program would write it."""
    row = json.loads(json.dumps(asdict(report.runtimes[1])))
    return {**row, "name": "temport-run", **changes}


def test_json_round_trip(report, tmp_path):
    write_json(report, tmp_path / "report.json")
    assert read_json(tmp_path / "report.json") == report


def test_equal_runs_give_equal_reports(subject, cases, truths):
    once, again = (
        run_parity(subject, cases[:2], [runtime_named("onnxruntime_cpu")], truths=truths[:2])
        for _ in range(2)
    )
    assert to_json(once) == to_json(again)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("verdict"),
        lambda d: d.update(verdict="perhaps"),
        lambda d: d.update(extra=1),
        lambda d: d["runtimes"][0].pop("results"),
        lambda d: d["runtimes"][0]["results"][0]["outputs"]["output"].update(max_abs=-1),
        lambda d: d["cases"][0]["bounds"]["output"].update(allowed="small"),
        lambda d: d.update(cases=[]),
        lambda d: d["model"].update(sha256="abc"),
        lambda d: d.update(format=2),
    ],
)
def test_schema_refuses(report, tmp_path, spoil):
    data = to_json(report)
    spoil(data)
    (tmp_path / "report.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="not a parity report"):
        read_json(tmp_path / "report.json")


def test_schema_refuses_what_is_not_json(tmp_path):
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "report.json")


def test_nan_never_enters_json(report):
    with pytest.raises(ValueError, match="JSON"):
        to_json(replace(report, eps=float("nan")))


def test_html_fetches_nothing(report, tmp_path):
    write_html(report, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert not re.findall(r"https?:|<script|<link|<iframe|url\(|@import|srcset", text)
    assert all(
        source.startswith("data:image/svg+xml;base64,") for source in re.findall(r'src="([^"]*)"', text)
    )
    assert "default-src 'none'" in text


def test_html_says_what_the_report_says(report):
    text = render(report)
    for words in (
        *(row.name for row in report.runtimes),
        *(case.name for case in report.cases),
        "no GPU",
        "handle with care",
        "elsewhere: broken",
        "<code>gelu</code>",
        "function body",
        report.model["sha256"],
        "torch 2.13",
        "Split",
        "5 MFLOP traced, 2.5 MFLOP exported",
    ):
        assert words in text, words
    assert text.count('<svg class="chart"') == len(report.cases)
    assert text.count("data:image/svg+xml") == 1  # the large mask is described, not drawn


def test_html_escapes_foreign_strings(report):
    attack = "<script>alert(1)</script>"
    row = RuntimeRow(attack, attack, attack, NOT_RUN, attack)
    rows = (replace(report.runtimes[1], name=attack, path=attack), row)
    text = render(replace(report, runtimes=rows, warnings=(attack,), reasons=(attack,)))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_chart_draws_the_bound_right_of_what_passes():
    inside, outside = Strip("in", PASS, (1e-9, 1e-8, 2e-8, 3e-8, 4e-8, 9e-7)), Strip("out", FAIL, (1e-6,) * 6)
    svg = distribution([inside, outside], 9.5e-7, None)
    bound = float(re.search(r'class="bound" x1="([\d.]+)"', svg)[1])
    inner, outer = (float(x) for x in re.findall(r'<circle class="max" cx="([\d.]+)"', svg))
    assert inner < bound < outer


@pytest.mark.parametrize("quantiles", [(0.0,) * 6, (0.0, 0.0, 1e-300, 1e-9, 1.0, 1e30)])
def test_chart_takes_any_finite_error(quantiles):
    svg = distribution([Strip("r", PASS, quantiles)], 0.0, 0.0)
    places = [float(x) for x in re.findall(r'(?:x1|x2|cx|x)="(-?[\d.]+)"', svg)]
    assert all(0 <= x <= 640 for x in places)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.0, "1"),
        (0.0123456, "0.0123"),
        (1234.4, "1234"),
        (1.2345e-7, "1.23e-7"),
        (3e38, "3.00e38"),
    ],
)
def test_figures(value, text):
    assert figure(value) == text


def test_table_shows_every_row_and_reason(report):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(report))
    text = console.export_text()
    for words in (
        "torch_float32",
        "function body",
        "compiled, not run: no GPU",
        "diverges",
        "gelu",
        "parity fail",
        "5 MFLOP traced, 2.5 MFLOP exported",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("op", "node", "place"),
    [
        ("Gelu", "n7", "output (Gelu n7)"),
        ("step model", "", "output (step model)"),
        ("", "", "output"),
    ],
)
def test_a_divergence_names_what_wrote_its_tensor(report, op, node, place):
    """A stream diverges in a frame, which no node wrote; a run that passes the second time has not even a model."""
    at = Divergence("normal-batch1-seq60", "unlocated", "output", op, node, 1.0, 1e-7, "frame 3 is wrong")
    report = replace(report, runtimes=(replace(report.runtimes[-1], divergence=at),))
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(report))
    assert f" at {place}: frame 3 is wrong" in console.export_text()
    page = " ".join(re.sub(r"<[^>]*>", "", render(report)).split())
    writer = f", written by {op} {node}".rstrip() if op else ""
    assert f"tensor is output{writer} (error" in page


def test_merged_rows_are_judged_by_our_bounds(report):
    base = replace(report, runtimes=report.runtimes[:2])
    good = merge(base, [foreign(base, verdict=ILL)])
    assert (good.passed, good.runtimes[-1].verdict) == (True, PASS)
    row = foreign(base)
    row["results"][0]["outputs"]["output"]["max_abs"] = 1.0
    bad = merge(base, [row])
    assert (bad.passed, bad.runtimes[-1].verdict) == (False, FAIL)
    assert "temport-run" in bad.reasons[0]
    assert len(merge(bad, [foreign(base)]).runtimes) == 3  # the same name replaces its row


def test_merged_row_that_leaves_cases_out_fails(report):
    base = replace(report, runtimes=report.runtimes[:2])
    row = foreign(base)
    row["results"] = row["results"][1:]
    merged = merge(base, [row])
    assert not merged.passed
    assert "1 cases were not run" in merged.reasons[0]


def test_merged_row_of_another_report_is_refused(report):
    row = foreign(report)
    row["results"][0]["case"] = "unknown"
    with pytest.raises(UserError, match="'unknown'"):
        merge(report, [row])
    row = foreign(report)
    row["results"][0]["outputs"]["other"] = row["results"][0]["outputs"].pop("output")
    with pytest.raises(UserError, match=r"\['other'\]"):
        merge(report, [row])
    with pytest.raises(UserError, match="not a parity report"):
        merge(report, [{"name": "temport-run"}])


def test_recorded_vectors_replay_without_torch(subject, cases, truths, tmp_path):
    write_vectors(tmp_path / "vectors.npz", to_vectors(truths))
    recorded = read_vectors(tmp_path / "vectors.npz")
    assert [t.case.name for t in recorded] == [t.case.name for t in truths]
    assert [t.bounds for t in recorded] == [t.bounds for t in truths]
    orphan = replace(subject, module=None)
    replayed = run_parity(
        orphan, cases, [runtime_named("onnxruntime_cpu"), runtime_named("torch_float32")], truths=recorded
    )
    assert replayed.passed
    assert [row.verdict for row in replayed.runtimes] == [PASS, NOT_RUN]


def test_recorded_bounds_keep_what_cannot_be_judged(truths, tmp_path):
    amber = replace(truths[0], bounds={"output": Bound(2.0, None, None, None, judgeable=False)})
    write_vectors(tmp_path / "vectors.npz", to_vectors([amber]))
    assert read_vectors(tmp_path / "vectors.npz")[0].bounds == amber.bounds


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense"])
def test_damaged_vectors_are_named(tmp_path, content):
    (tmp_path / "vectors.npz").write_bytes(content)
    with pytest.raises(UserError, match="no recorded vectors"):
        read_vectors(tmp_path / "vectors.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"c/input/x": np.zeros(2)},
        {"c/output/y": np.zeros(2)},
        {"c/output/y": np.zeros(2), "c/bound/z": np.zeros(4)},
        {"c/output/y": np.zeros(2), "c/bound/y": np.zeros(3)},
    ],
)
def test_vectors_that_judge_nothing_are_named(tmp_path, arrays):
    np.savez(tmp_path / "vectors.npz", **arrays)
    with pytest.raises(UserError, match="no recorded vectors"):
        read_vectors(tmp_path / "vectors.npz")


def test_vectors_of_another_layout_are_named(tmp_path):
    with (tmp_path / "vectors.npz").open("wb") as file:
        np.save(file, np.zeros(2))
    with pytest.raises(UserError, match="no recorded vectors"):
        read_vectors(tmp_path / "vectors.npz")
    np.savez(tmp_path / "vectors.npz", x=np.zeros(2))
    with pytest.raises(UserError, match="no recorded vectors"):
        read_vectors(tmp_path / "vectors.npz")
