"""Bundles whose weights are stored in fewer bits, in node and in a browser: as the file says, or it is seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from javascript import install, run

import temport
from temport.exporter.parity.gate import gate
from temport.exporter.parity.serial import runtime_row
from temport.exporter.runtimes import node

SETTINGS = ("embed_dim=32", "hidden_size=32", "num_layers=1", "ema_dim=4")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By what they hold: int8 in ops of ours, which run their bodies, and int4 in standard operators."""
    folder = tmp_path_factory.mktemp("compressed")
    asked = {"int8": "custom", "int4": "standard"}
    for kind, ops in asked.items():
        temport.export(
            "mega",
            settings=SETTINGS,
            seq=8,
            weights_dtype=kind,
            ops=ops,
            out=folder / kind,
            runtimes=("onnxruntime_cpu",),
        )
    return {kind: folder / kind for kind in asked}


def verdict(where: str, bundle: Path, package: Path = node.JS) -> str:
    done = run(where, bundle, "--replay", package=package)
    return gate([runtime_row(json.loads(done.stdout)["runtimes"][0])])[0]


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("node", "int8"),
        ("node", "int4"),
        ("web", "int8"),
        pytest.param("web", "int4", marks=pytest.mark.thorough),
    ],
)
def test_they_replay(bundles: dict[str, Path], where: str, kind: str) -> None:
    assert verdict(where, bundles[kind]) == "pass"


def test_rounded_activations_are_seen(bundles: dict[str, Path], tmp_path: Path) -> None:
    """ONNX Runtime's own default, in a copy of the package that does not tell it otherwise."""
    install()
    package = tmp_path / "js"
    shutil.copytree(node.JS, package, ignore=shutil.ignore_patterns("node_modules"))
    (package / "node_modules").symlink_to(node.JS / "node_modules")
    session = package / "lib" / "session.mjs"
    told = session.read_text()
    assert "qdq_matmulnbits_accuracy_level: '1'" in told
    session.write_text(told.replace("qdq_matmulnbits_accuracy_level: '1'", ""))
    assert verdict("node", bundles["int4"], package) == "fail"
