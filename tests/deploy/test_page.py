"""The page of deploy/js in a headless browser: what a person opens, sees and starts there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import javascript
import numpy as np
import pytest
from javascript import install
from small_bundles import add_native_engine
from webdriver import Browser, browser

import temport
from temport.exporter.runtimes import node

CHOOSE = "(() => { const menu = document.getElementById('provider'); menu.value = '%s'; menu.onchange(); })()"


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    install()
    with browser() as opened:
        yield opened


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """The page's address with a bundle."""
    command = ["node", str(node.JS / "web" / "serve.mjs"), str(bundle)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PORT": "0"})
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.fixture
def served(bundle: Path) -> Iterator[str]:
    """The page's address with a bundle of one's own."""
    with serving(bundle) as url:
        yield url


def text(page: Browser, element: str) -> str:
    return str(page.evaluate(f"document.getElementById('{element}').textContent"))


def test_the_page_replays_measures_and_streams(page: Browser, served: str) -> None:
    page.open(served)
    assert page.wait("document.documentElement.dataset.state") == "ready"
    assert page.evaluate("document.getElementById('verdict').textContent") == "pass"
    verdicts = page.evaluate(
        "[...document.querySelectorAll('#cases tbody td:last-child')].map(c => c.textContent)"
    )
    assert verdicts and set(verdicts) == {"pass"}
    assert page.evaluate("document.querySelectorAll('#latency-plot rect').length") > 10
    page.evaluate("document.getElementById('stream-toggle').click()")
    page.wait("document.querySelectorAll('#stream-output polyline').length == 16")
    assert "largest output" in page.evaluate("document.getElementById('stream-status').textContent")


def test_the_page_runs_a_step_model_frame_by_frame(page: Browser, stepped: Callable[[str], Path]) -> None:
    with serving(stepped("mega")) as url:
        page.open(url)
        assert page.wait("document.documentElement.dataset.state") == "ready", text(page, "problem")
        assert text(page, "verdict") == "pass" and "step model" in text(page, "model")
        page.evaluate("document.getElementById('measure').click()")
        page.wait("document.getElementById('latency').textContent.includes('over 1,000 frames')")
        page.evaluate("document.getElementById('stream-toggle').click()")
        page.wait("/frame (1[5-9]|[2-9].)/.test(document.getElementById('stream-status').textContent)")
        assert text(page, "stream-way") == "step model, its state kept between frames"
        assert page.evaluate("document.querySelectorAll('#stream-output polyline').length") == 16
        page.evaluate("document.getElementById('measure').click()")
        page.wait("document.getElementById('stream-toggle').textContent == 'Start'")


def test_the_page_runs_the_bundles_engine(
    page: Browser, stepped: Callable[[str], Path], tmp_path: Path
) -> None:
    """And fetches no other runtime, before one is chosen."""
    bundle = Path(shutil.copytree(stepped("mega"), tmp_path / "engine"))
    add_native_engine(bundle, engine_isa="wasm")
    with serving(bundle) as url:
        page.open(url)
        assert page.wait("document.documentElement.dataset.state") == "ready", text(page, "problem")
        assert text(page, "verdict") == "pass"
        assert text(page, "path").endswith(f"native engine {temport.__version__}, wasm")
        page.evaluate("document.getElementById('stream-toggle').click()")
        page.wait("/frame [2-9]/.test(document.getElementById('stream-status').textContent)")
        fetched = "performance.getEntriesByType('resource').some((one) => one.name.includes('onnxruntime'))"
        assert not page.evaluate(fetched)
        page.evaluate(CHOOSE % "wasm")
        page.wait("document.getElementById('path').textContent.endsWith('function bodies')")
        page.wait("document.documentElement.dataset.state == 'ready'")
        assert page.evaluate(fetched) and text(page, "verdict") == "pass"
    for runner in ("node", "web"):
        done = javascript.run(runner, bundle, "--replay", "--runtime", "native")
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout)
        assert printed["path"].endswith(", wasm") and printed["runtimes"][0]["verdict"] == "pass"


def test_the_page_changes_the_provider(page: Browser, served: str) -> None:
    page.open(served)
    page.wait("document.documentElement.dataset.state == 'ready'")
    page.evaluate(CHOOSE % "webgpu")
    page.wait("document.documentElement.dataset.state == 'refused'")
    assert text(page, "problem") == "this browser has no WebGPU adapter; choose WebAssembly"
    page.evaluate(CHOOSE % "wasm")
    page.wait("document.documentElement.dataset.state == 'ready'")
    assert page.evaluate("document.getElementById('problem').hidden")


def test_a_measurement_ends_where_a_stream_starts(page: Browser, stepped: Callable[[str], Path]) -> None:
    with serving(stepped("mega")) as url:
        page.open(url)
        page.wait("document.documentElement.dataset.state == 'ready'")
        page.evaluate("document.getElementById('frames').value = '100000'")
        page.evaluate("document.getElementById('measure').click()")
        page.evaluate("document.getElementById('stream-toggle').click()")
        page.wait("document.getElementById('latency').textContent == 'stopped'")
        page.wait("document.getElementById('stream-status').textContent.includes('largest output')")
        assert page.evaluate("document.getElementById('problem').hidden")


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
    base = served.split("/web/")[0]
    for path in ("/../cpp/README.md", "/%2e%2e/cpp/README.md", "/bundle/..%2f..%2fetc/passwd", "/bundle/x"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(base + path)


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_follows_no_link_and_wants_its_token(tmp_path: Path) -> None:
    package = Path(shutil.copytree(node.JS, tmp_path / "js", ignore=shutil.ignore_patterns("node_modules")))
    for directory in (package / "web", tmp_path / "bundle"):
        directory.mkdir(exist_ok=True)
        (directory / "there").symlink_to("/etc")
        (directory / "passwd").symlink_to("/etc/passwd")
    (package / "web" / "inside.css").symlink_to("style.css")
    script = (
        f"import {{ serve }} from '{package}/web/serve.mjs';"
        f"console.log((await serve('{tmp_path / 'bundle'}', {{ token: 'secret' }})).url);"
    )
    command = ["node", "--input-type=module", "-e", script]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        assert url.endswith("/secret")
        assert [status(url + path) for path in ("/web/index.html", "/web/inside.css")] == [200, 200]
        for path in ("/web/there/passwd", "/web/passwd", "/bundle/there/passwd", "/bundle/passwd"):
            assert status(url + path) in (403, 404)
        for prefix in ("", "/other", "/secretly", "/x/../secret/.."):
            assert status(url.removesuffix("/secret") + prefix + "/web/index.html") == 404
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("header", [{"Host": "elsewhere.example"}, {"Origin": "http://elsewhere.example"}])
def test_the_server_answers_no_other_site(served: str, header: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(served.split("?")[0], headers=header))
