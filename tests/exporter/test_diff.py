"""`temport diff` and `temport report`: what differs between two bundles, and a report in the words of CI systems."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner

from temport.exporter.bundle.directory import file_entries, open_bundle, seal
from temport.exporter.cli import app
from temport.exporter.difference import Side, differences, run_diff
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.parity.gate import merge
from temport.exporter.parity.result import FAIL, NOT_RUN, ParityReport
from temport.exporter.parity.serial import read_json, to_json, write_json
from temport.exporter.report.aspects import Difference
from temport.exporter.report.junit import junit
from temport.exporter.report.markdown import markdown
from temport.exporter.request import ExportRequest
from tests.traces import shared_by_exports

SMALL = ("embed_dim=6", "hidden_size=8", "num_layers=1")
QUIET = Console(quiet=True)


def exported(out: Path, **asked: object) -> Path:
    request = ExportRequest("mega", settings=SMALL, runtimes=("onnxruntime_cpu",), out=out, **asked)  # type: ignore[arg-type]
    run_export(request, QUIET)
    return out


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("diff")
    with shared_by_exports():
        return {
            "first": exported(root / "first", seq="9"),
            "again": exported(root / "again", seq="9"),
            "seeded": exported(root / "seeded", seq="9", seed=1, without=("prune",)),
            "longer": exported(root / "longer", seq="12"),
        }


@pytest.fixture
def report(bundles: dict[str, Path]) -> ParityReport:
    return read_json(bundles["first"] / "report.json")


def spoiled(report: ParityReport, factor: float) -> ParityReport:
    """The errors of its runtime, `factor` times as large, judged anew."""
    rows = to_json(report)["runtimes"]
    for result in rows[0]["results"]:
        for output in result["outputs"].values():
            output["max_abs"] *= factor
            output["quantiles"] = [q * factor for q in output["quantiles"]]
    return merge(report, rows)


def told(before: ParityReport, after: ParityReport) -> list[Difference]:
    return list(differences(Side(before, None), Side(after, None), 0.1))


def test_the_same_again_has_no_difference(
    bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_diff(bundles["first"], bundles["again"], ["signature", "weights", "graph", "passes", "size"])
    assert capsys.readouterr().out == "no difference\n"


def test_weights_graph_and_passes_are_told(bundles: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "diff.json"
    assert run_diff(bundles["first"], bundles["seeded"], out=out, console=QUIET), (
        "nobody asked for these to stay"
    )
    found = json.loads(out.read_text())
    by_aspect = {
        aspect: [d["told"] for d in found if d["aspect"] == aspect]
        for aspect in ("weights", "graph", "passes")
    }
    assert (
        len(by_aspect["weights"]) == 1
        and "tensors have other numbers, most of all" in by_aspect["weights"][0]
    )
    assert "prune changed the graph before, was not run now" in by_aspect["passes"]
    assert any("floating-point operations" in text for text in by_aspect["graph"])
    for aspect in ("weights", "graph", "passes"):
        assert not run_diff(bundles["first"], bundles["seeded"], [aspect], console=QUIET)


def test_another_signature_fails(bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert not run_diff(bundles["first"], bundles["longer"])
    said = capsys.readouterr().out
    assert "signature: input state_sequence: float32 [1, 9, 6] before, float32 [1, 12, 6] now" in said


def test_weights_of_infinity_are_compared(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A mask may hold -inf in both; what moved beside it is told."""
    sides = []
    for name, value in (("one", 1.0), ("other", 1.5)):
        made = Path(shutil.copytree(bundles["first"], tmp_path / name))
        save_file({"mask": torch.tensor([-torch.inf, value])}, made / "weights.safetensors")
        found = open_bundle(bundles["first"])
        seal(made, found.manifest | {"files": file_entries(made)})
        sides.append(Side(read_json(made / "report.json"), open_bundle(made)))
    (moved,) = differences(*sides, 0.1)
    assert moved.told == "1 of 1 tensors have other numbers, most of all mask: by 0.5"


def test_a_signature_is_shown_whole(report: ParityReport) -> None:
    """Whatever differs in an input can be read in the sentence."""
    axis = {"name": "seq", "min": 1, "opt": 8, "max": 9}
    spec = {"name": "x", "dtype": "int64", "shape": [axis], "values": None}

    def said(**other: object) -> list[str]:
        sides = [
            replace(report, declaration=report.declaration | {"inputs": [s]}) for s in (spec, spec | other)
        ]
        return [d.told for d in told(*sides)]

    assert said(shape=[axis | {"opt": 9}]) == ["input x: int64 [seq=1:8:9] before, int64 [seq=1:9:9] now"]
    (line,) = said(values={"low": 0})
    assert line == "input x: int64 [seq=1:8:9] before, int64 [seq=1:8:9], {'low': 0} now"
    assert said() == []


def test_verdicts_that_get_worse(report: ParityReport) -> None:
    failed = spoiled(report, 1e6)
    assert failed.verdict == FAIL
    worse = {d.told: d.worse for d in told(report, failed) if d.aspect == "verdicts"}
    assert worse["parity: pass before, fail now"] and worse["onnxruntime_cpu: pass before, fail now"]
    better = [d for d in told(failed, report) if d.aspect == "verdicts"]
    assert better and not any(d.worse for d in better)
    (moved,) = told(report, spoiled(report, 2))
    assert moved.worse and moved.told.startswith("onnxruntime_cpu, worst share of a bound: ")
    (exact,) = (d for d in told(spoiled(report, 0), report) if d.aspect == "verdicts")
    assert exact.worse and "worst share of a bound: 0% before" in exact.told
    (row,) = report.runtimes
    absent = merge(
        report, [to_json(report)["runtimes"][0] | {"verdict": NOT_RUN, "reason": "gone", "results": []}]
    )
    assert any("pass before, not run now (gone)" in d.told and d.worse for d in told(report, absent))
    assert told(report, replace(report, runtimes=(row, replace(row, name="more")))) == [
        Difference("verdicts", "more is new: pass", False)
    ]


def test_weights_are_gone_by_where_both_sides_have_them(bundles: dict[str, Path]) -> None:
    first = bundles["first"]
    for pair in ((first, first / "report.json"), (first / "report.json", first)):
        with pytest.raises(UserError, match="--fail-on weights has nothing to go by; give two bundles"):
            run_diff(*pair, ["weights"], console=QUIET)


def test_speed_is_measured_where_it_is_asked_for(bundles: dict[str, Path]) -> None:
    first, again = bundles["first"], bundles["again"]
    assert not run_diff(first, again, ["speed"], times=lambda a, b: (1e-3, 1.2e-3), console=QUIET)
    assert run_diff(first, again, ["speed"], times=lambda a, b: (1.2e-3, 1e-3), console=QUIET)
    assert run_diff(first, again, ["speed"], 0.3, lambda a, b: (1e-3, 1.2e-3), console=QUIET)
    with pytest.raises(UserError, match="add --speed"):
        run_diff(first, again, ["speed"], console=QUIET)
    with pytest.raises(UserError, match="a report alone cannot be run"):
        run_diff(first, again / "report.json", ["speed"], times=lambda a, b: (1, 1), console=QUIET)
    from temport.exporter.bench import two_bundles

    two_bundles_seconds, two_bundles.SECONDS = two_bundles.SECONDS, 0.02
    try:
        assert all(0 < seconds < 1 for seconds in two_bundles.fastest(first, again))
    finally:
        two_bundles.SECONDS = two_bundles_seconds


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-on", "verdict"], "did you mean verdicts"),
        (["--tolerance", "-1"], "--tolerance -1 is less than 0"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], said: str, bundles: dict[str, Path]) -> None:
    done = CliRunner().invoke(app, ["diff", str(bundles["first"]), str(bundles["again"]), *words])
    assert done.exit_code == 2 and said in done.output


def test_junit_has_a_test_per_case(report: ParityReport) -> None:
    rows = to_json(report)["runtimes"]
    absent = {**rows[0], "name": "o\x00ther", "verdict": NOT_RUN, "reason": "a \x1b sign", "results": []}
    for found, failures in ((report, 0), (spoiled(report, 1e6), len(report.cases))):
        document = xml.fromstring(junit(merge(found, [absent])).encode())
        suites = {suite.get("name"): suite for suite in document}
        assert list(suites) == ["onnxruntime_cpu", "o\\x00ther", "gate"]
        own = suites["onnxruntime_cpu"]
        assert [case.get("name") for case in own] == [case.name for case in report.cases]
        assert own.get("failures") == str(failures) == str(len(own.findall("*/failure")))
        assert suites["o\\x00ther"].get("skipped") == own.get("tests")
        assert suites["o\\x00ther"].find("*/skipped").get("message") == "a \\x1b sign"  # type: ignore[union-attr]
        assert suites["gate"].get("failures") == ("1" if failures else "0")


def test_markdown_is_a_table(report: ParityReport) -> None:
    rows = to_json(report)["runtimes"]
    absent = {**rows[0], "name": "a|b", "verdict": NOT_RUN, "reason": "<b>\nnot", "results": []}
    page = markdown(merge(report, [absent]))
    assert page.startswith("### Parity of mega, float32: **pass**\n")
    assert "| a\\|b | not run |  | \\<b\\> not |\n" in page
    assert page.count("| onnxruntime\\_cpu | pass | ") == 1


def test_the_report_command_writes_both(
    bundles: dict[str, Path], report: ParityReport, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        app,
        [
            "report",
            str(bundles["first"]),
            "--junit",
            str(tmp_path / "j.xml"),
            "--markdown",
            str(tmp_path / "s.md"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "j.xml").read_text() == junit(report) and (tmp_path / "s.md").read_text() == markdown(
        report
    )
    write_json(spoiled(report, 1e6), tmp_path / "report.json")
    assert CliRunner().invoke(app, ["report", str(tmp_path / "report.json")]).exit_code == 1


def test_a_bundle_gets_an_engine_without_its_sources(bundles: dict[str, Path], tmp_path: Path) -> None:
    from temport.exporter.compile_bundle import run_compile
    from temport.exporter.compilers.contract import CompileOptions

    bundle = Path(shutil.copytree(bundles["first"], tmp_path / "bundle"))
    before = open_bundle(bundle)
    assert run_compile(bundle, "native", CompileOptions(source_only=True), QUIET, digest=before.digest)
    after = open_bundle(bundle, strict=True)
    assert after.digest != before.digest
    assert {"engine.json", "engine/model.cc"} <= after.manifest["files"].keys() - before.manifest[
        "files"
    ].keys()
    kept = {name for name in before.manifest["files"] if not name.startswith("report.")}
    assert all(after.manifest["files"][name] == before.manifest["files"][name] for name in kept)
    rows = {row.name: row.verdict for row in read_json(bundle / "report.json").runtimes}
    assert rows == {"onnxruntime_cpu": "pass", "native_engine": "not run"}
    with pytest.raises(UserError, match="unknown"):
        run_compile(bundle, "tensorflow", CompileOptions(), QUIET)
    assert open_bundle(bundle).digest == after.digest


def test_a_bundle_gets_the_form_of_another_runtime(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row joins the report; a second form takes the place of the first, and a wrong one is seen."""
    from temport.exporter.compile_bundle import run_compile
    from temport.exporter.compilers.contract import CompileOptions
    from temport.exporter.runtimes import tract
    from temport.exporter.runtimes.converted import Converted
    from tests.parity.forms import Evaluated

    bundle = Path(shutil.copytree(bundles["first"], tmp_path / "bundle"))
    for how, verdict in (("right", "pass"), ("wrong", "fail")):
        monkeypatch.setattr(tract, "RUNTIME", Converted(Evaluated(how, "tract")))
        assert run_compile(bundle, "tract", CompileOptions(), QUIET) == (verdict == "pass")
        files = open_bundle(bundle, strict=True).manifest["files"]
        assert {"engine.json", "tract.model.onnx", "tract.signature.json"} <= files.keys()
        (entry,) = json.loads((bundle / "engine.json").read_text())["engines"]
        assert entry["files"]["tract.model.onnx"] == files["tract.model.onnx"]["sha256"]
        rows = {row.name: (row.verdict, row.path) for row in read_json(bundle / "report.json").runtimes}
        assert rows["tract"] == (verdict, "the bundle's form")
    with pytest.raises(UserError, match="tract has no --cc; it takes"):
        run_compile(bundle, "tract", CompileOptions(cc="gcc"), QUIET)
