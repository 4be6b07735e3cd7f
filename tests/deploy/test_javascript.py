"""Bundles in node and in a headless browser: they agree with the oracle, and refuse what is damaged."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from small_bundles import rehash
from toolchain import call, exclusive, need
from webdriver import Browser, browser

from exporter.bundle import open_bundle
from exporter.parity.gate import gate
from exporter.parity.run import run_runtime
from exporter.parity.vectors import read_vectors
from exporter.report.serial import runtime_row
from exporter.runtimes import load, node
from exporter.subject import Subject

Exported = Callable[[str], Path]
PROGRAMS = {"node": "node/temport-run.mjs", "web": "web/temport-run.mjs"}


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """`npm install` as deploy/js documents it, where it was not done yet."""
    need("node")
    with exclusive():
        if not (node.JS / "node_modules").is_dir():
            call("npm", "install", "--no-audit", "--no-fund", cwd=node.JS)


def run(where: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["node", str(node.JS / PROGRAMS[where]), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refusal(where: str, *words: str | Path) -> str:
    done = run(where, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()


def test_readers() -> None:
    call("node", "--test", node.JS / "test")


@pytest.mark.parametrize("arch", ["mega", "dms"])
@pytest.mark.parametrize("where", PROGRAMS)
def test_replay_agrees_with_the_oracle(exported: Exported, where: str, arch: str) -> None:
    done = run(where, exported(arch), "--replay")
    assert done.returncode == 0, done.stderr
    row = runtime_row(json.loads(done.stdout)["runtimes"][0])
    assert gate([row]) == ("pass", ()) and row.path == "function body"
    recorded = read_vectors(exported(arch) / "vectors.npz")
    assert {result.case for result in row.results} == {truth.case.name for truth in recorded}


def test_as_a_parity_runtime(exported: Exported) -> None:
    """Inputs and outputs as files; the measures are those that the runner prints itself."""
    bundle = open_bundle(exported("mega"))
    theirs = run_runtime(
        Subject(bundle.declaration, bundle.model_path),
        load("node"),
        read_vectors(bundle.path / "vectors.npz"),
    )
    ours = runtime_row(json.loads(run("node", bundle.path, "--replay").stdout)["runtimes"][0])
    assert theirs.verdict == "pass"
    by_case = {result.case: result for result in ours.results}
    for expected in theirs.results:
        for name, row in expected.outputs.items():
            other = by_case[expected.case].outputs[name]
            assert other.max_abs == row.max_abs
            for measure in ("max_rel", "rms_ratio", "cosine"):
                assert getattr(other, measure) == pytest.approx(getattr(row, measure), rel=1e-9)
            assert other.quantiles == pytest.approx(row.quantiles, rel=1e-9)


def test_one_inference_in_the_browser(exported: Exported, tmp_path: Path) -> None:
    import onnxruntime

    frames = np.random.default_rng(0).standard_normal((3, 12, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", frames)
    bundle, y = exported("mega"), tmp_path / "y.npy"
    done = run("web", bundle, "--input", f"state_sequence={tmp_path / 'x.npy'}", "--output", f"output={y}")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    (expected,) = session.run(None, {"state_sequence": frames})
    np.testing.assert_allclose(np.load(y), expected, rtol=0, atol=16 * 2.0**-23)


def test_damage_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    rehash(bundle, format=2)
    assert "bundle format 2; this page reads format 1" in refusal("node", bundle)
    renamed = json.loads(json.dumps(manifest["signature"]).replace("state_sequence", "frames"))
    rehash(bundle, format=1, signature=renamed)
    assert "signature is not the manifest's" in refusal("node", bundle)
    rehash(bundle, signature=manifest["signature"], files={"../x": manifest["files"]["model.onnx"]})
    assert "../x, which is not a plain file name" in refusal("node", bundle)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    content = bytearray((bundle / "vectors.npz").read_bytes())
    content[500] ^= 1
    (bundle / "vectors.npz").write_bytes(content)
    assert "vectors.npz differs from its manifest" in refusal("node", bundle, "--replay")
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    assert "model.onnx has" in refusal("node", bundle)
    assert "model.onnx has" in refusal("web", bundle)


def test_options_get_a_sentence(exported: Exported, tmp_path: Path) -> None:
    bundle = exported("mega")
    np.save(tmp_path / "x.npy", np.zeros((6, 12, 8), np.float32))
    files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert "axis batch is 6; the model takes 1 to 5" in refusal("node", bundle, *files)
    assert "cannot be read" in refusal("node", tmp_path)
    assert "no option --fast" in refusal("node", bundle, "--fast")
    assert "go together" in refusal("node", bundle, "--input", "x.npy")


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def served(bundle: Path) -> Iterator[str]:
    """The page's address with a bundle of one's own."""
    command = ["node", str(node.JS / "web" / "serve.mjs"), str(bundle)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PORT": "0"})
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_the_page_replays_measures_and_streams(page: Browser, served: str) -> None:
    page.open(served)
    assert page.wait("document.documentElement.dataset.state") == "ready"
    assert page.evaluate("document.getElementById('verdict').textContent") == "pass"
    verdicts = page.evaluate(
        "[...document.querySelectorAll('#cases tbody td:last-child')].map(c => c.textContent)"
    )
    assert verdicts == ["pass"] * 5
    assert page.evaluate("document.querySelectorAll('#latency-plot rect').length") > 10
    page.evaluate("document.getElementById('stream-toggle').click()")
    page.wait("document.querySelectorAll('#stream-output polyline').length == 16")
    assert "largest output" in page.evaluate("document.getElementById('stream-status').textContent")


def test_the_page_streams_a_csv_file(page: Browser, served: str, tmp_path: Path) -> None:
    page.open(served)
    page.wait("document.documentElement.dataset.state == 'ready'")
    (tmp_path / "bad.csv").write_text("1,2,3\n")
    page.choose_files("#csv", tmp_path / "bad.csv")
    page.evaluate("document.getElementById('stream-toggle').click()")
    page.wait(
        "document.getElementById('stream-status').textContent == 'row 1 of the CSV is not 8 finite numbers'"
    )
    np.savetxt(tmp_path / "good.csv", np.ones((4, 8)), delimiter=",")
    page.choose_files("#csv", tmp_path / "good.csv")
    page.evaluate("document.getElementById('stream-toggle').click()")
    page.wait(
        "document.querySelector('#stream-input text:last-child')?.textContent.includes('last 4 frames')"
    )


def test_the_page_refuses_with_a_sentence(page: Browser, served: str, bundle: Path) -> None:
    with (bundle / "model.onnx").open("ab") as file:
        file.write(b"\0")
    page.open(served)
    assert page.wait("document.documentElement.dataset.state") == "refused"
    assert "model.onnx has" in page.evaluate("document.getElementById('problem').textContent")
    assert page.evaluate("document.getElementById('results').hidden")


def test_the_server_serves_nothing_else(served: str) -> None:
    import urllib.error
    import urllib.request

    base = served.split("/web/")[0]
    for path in ("/../cpp/README.md", "/%2e%2e/cpp/README.md", "/bundle/..%2f..%2fetc/passwd", "/bundle/x"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(base + path)
