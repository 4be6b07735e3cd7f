"""An engine in WebAssembly: one file that needs nothing, and gives the model's numbers in node."""

from __future__ import annotations

import json
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.errors import UserError
from temport.exporter.native.engine import NativeOptions, NativeReport, build_native
from temport.exporter.native.wasm import WasmToolchain
from tests.deploy.small_bundles import write_step_bundle
from tests.deploy.toolchain import need
from tests.deploy.webdriver import browser
from tests.native_engine.targets import call

REPLAY = Path(__file__).with_name("replay_engine.mjs")
LIBRARY = Path(__file__).parents[2] / "deploy" / "js" / "lib"
SOME_FRAMES = """
import { Engine } from './engine.mjs';
export async function outputBits(code) {
  const instance = (await Engine.load(code)).instance();
  return Array.from({ length: 20 }, (_, t) => {
    const frame = Float32Array.from({ length: 8 }, (_, i) => ((t * 31 + i * 7) % 23 - 11) / 4);
    return [...new Uint32Array(instance.run({ frame }).output.buffer)];
  });
}
"""
Made = tuple[Path, NativeReport]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_step_bundle(tmp_path_factory.mktemp("wasm") / "bundle", "hybrid", batch="1")


@pytest.fixture(scope="module")
def made(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A folder with an engine, and what is said of it; the bundle's manifest lists no engine."""
    need("wasm-ld")
    folder = tmp_path_factory.mktemp("made")
    (folder / "model.onnx").symlink_to(bundle / "model.onnx")
    options = NativeOptions(engine_isa="wasm")
    return folder, build_native(folder, "small", open_bundle(bundle).declaration, options)


def test_one_module_that_needs_nothing(made: Made) -> None:
    folder, report = made
    written = {path.name for path in (folder / "engine").iterdir()}
    assert written == {"kernels.h", "model.cc", "small.wasm", "temport_engine.h", "weights.S", "weights.bin"}
    assert report.file == "engine/small.wasm" and report.undefined == () and not report.fuses
    beside_weights = (folder / report.file).stat().st_size - (folder / "engine/weights.bin").stat().st_size
    assert report.code_bytes < beside_weights < 64 << 10


def test_what_an_object_lacks_is_seen(tmp_path: Path) -> None:
    (tmp_path / "lacking.cc").write_text(
        'extern "C" float expf(float);\n'
        '__attribute__((export_name("f"))) float f(float x) { return expf(x) + 1; }\n'
    )
    tools = WasmToolchain.found("clang++")
    lacking = tools.compile(tmp_path, "lacking.cc", ["-O1"])
    assert tools.undefined(tmp_path / lacking) == ["expf"]
    with pytest.raises(UserError, match="undefined symbol"):
        tools.libraries(tmp_path, [lacking], "lacking")


def test_streams_in_node(bundle: Path, made: Made) -> None:
    engine = made[0] / made[1].file
    verdicts = json.loads(call(need("node"), str(REPLAY), str(bundle), str(engine)))
    assert len(verdicts) > 3 and set(verdicts.values()) == {"pass"}


def test_a_browser_gives_the_bits_of_node(made: Made, tmp_path: Path) -> None:
    """From a plain folder, as any server has it."""
    for source in (LIBRARY / "engine.mjs", LIBRARY / "sizes.mjs", made[0] / made[1].file):
        shutil.copy(source, tmp_path)
    (tmp_path / "some_frames.mjs").write_text(SOME_FRAMES)
    script = "import { outputBits } from './some_frames.mjs'; const give = %s; give(await outputBits(%s));"
    page = script % (
        "(x) => { document.title = JSON.stringify(x); }",
        "await (await fetch('small.wasm')).arrayBuffer()",
    )
    (tmp_path / "page.html").write_text(f"<script type=module>{page}</script>")
    alone = script % (
        "(x) => console.log(JSON.stringify(x))",
        "(await import('node:fs')).readFileSync('small.wasm')",
    )
    (tmp_path / "alone.mjs").write_text(alone)
    in_node = json.loads(call(need("node"), "alone.mjs", cwd=tmp_path))
    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, browser() as opened:
        Thread(target=server.serve_forever, daemon=True).start()
        opened.open(f"http://127.0.0.1:{server.server_port}/page.html")
        in_browser = json.loads(opened.wait("document.title"))
        server.shutdown()
    assert in_browser == in_node and len(in_node) == 20


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: pytest shows what a test writes."""
