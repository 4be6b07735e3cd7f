"""The npm package: packed, installed into an empty project, and used there by its own name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from javascript import install
from toolchain import call, exclusive, need

import temport
from temport.exporter.runtimes import node

PROGRAM = """
import ort from 'onnxruntime-node';
import { RefusedFrame, Stream, createSession, openBundle } from 'temport';
import { fromDirectory, namesIn } from 'temport/node';
const [, , directory] = process.argv;
const bundle = await openBundle(fromDirectory(directory), { names: await namesIn(directory) });
const stream = new Stream(ort, await createSession(ort, bundle, 'cpu'), bundle);
const width = bundle.signature.inputs[0].shape.at(-1);
const frame = Float32Array.from({ length: width }, (_, i) => i / width);
const outputs = [[...(await stream.push(frame)).data], [...(await stream.push(frame)).data]];
const refused = await stream.push(frame.map(() => NaN)).catch((error) => error instanceof RefusedFrame);
console.log(JSON.stringify({ outputs, refused }));
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the package, and ONNX Runtime as deploy/js has it."""
    need("npm")
    install()
    root = tmp_path_factory.mktemp("npm")
    with exclusive("npm"):
        packed = call(
            "npm", "pack", "--json", "--ignore-scripts=false", "--pack-destination", root, cwd=node.JS
        )
    (archive,) = json.loads(packed[packed.index("[") :])
    (root / "package.json").write_text('{"name": "empty", "version": "1.0.0", "private": true}')
    offline = ("--offline", "--no-audit", "--no-fund", "--omit=optional", "--omit=peer")
    call("npm", "install", *offline, root / archive["filename"], cwd=root)
    (root / "node_modules" / "onnxruntime-node").symlink_to(node.JS / "node_modules" / "onnxruntime-node")
    return root


def test_an_empty_project_runs_a_stream(project: Path, stepped: Callable[[str], Path]) -> None:
    bundle = stepped("mega")
    (project / "main.mjs").write_text(PROGRAM)
    found = json.loads(call("node", "main.mjs", bundle, cwd=project))
    stream = temport.load(bundle, runtime="onnxruntime").stream(1)
    frame = np.arange(stream.shape[-1], dtype=np.float32) / stream.shape[-1]
    for output in found["outputs"]:
        np.testing.assert_allclose(output, stream(frame).ravel(), rtol=1e-4, atol=1e-5)
    assert found["refused"] is True


def test_what_is_not_exported_is_not_reached(project: Path) -> None:
    code = "import('temport/lib/npy.mjs').catch(({ code }) => console.log(code))"
    assert call("node", "-e", code, cwd=project) == "ERR_PACKAGE_PATH_NOT_EXPORTED\n"
    installed = project / "node_modules" / "temport"
    assert {path.name for path in installed.iterdir()} == {
        "LICENSE",
        "lib",
        "node",
        "package.json",
        "types",
        "web",
    }
    assert shutil.which("temport-run", path=str(project / "node_modules" / ".bin")) is not None


@pytest.mark.parametrize("entry", [".", "./node", "./web"])
def test_types_name_what_the_modules_export(entry: str) -> None:
    exports = json.loads((node.JS / "package.json").read_text())["exports"][entry]
    typed = set(
        re.findall(
            r"^export (?:function|class) (\w+)", (node.JS / exports["types"]).read_text(), re.MULTILINE
        )
    )
    code = (
        f"import({json.dumps(exports['default'])}).then((m) => console.log(JSON.stringify(Object.keys(m))))"
    )
    assert typed == set(json.loads(call("node", "-e", code, cwd=node.JS)))


def test_the_version_is_the_packages() -> None:
    assert json.loads((node.JS / "package.json").read_text())["version"] == temport.__version__
