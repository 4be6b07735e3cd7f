"""The page of deploy/js in a headless browser: what a person opens, sees and starts there."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from javascript import install
from webdriver import Browser, browser

from temport.exporter.runtimes import node


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


def test_the_page_changes_the_provider(page: Browser, served: str) -> None:
    page.open(served)
    page.wait("document.documentElement.dataset.state == 'ready'")
    choose = (
        "(() => { const menu = document.getElementById('provider'); menu.value = '%s'; menu.onchange(); })()"
    )
    page.evaluate(choose % "webgpu")
    page.wait("document.documentElement.dataset.state == 'refused'")
    assert text(page, "problem") == "this browser has no WebGPU adapter; choose WebAssembly"
    page.evaluate(choose % "wasm")
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


@pytest.mark.parametrize("header", [{"Host": "elsewhere.example"}, {"Origin": "http://elsewhere.example"}])
def test_the_server_answers_no_other_site(served: str, header: dict[str, str]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(served.split("?")[0], headers=header))
