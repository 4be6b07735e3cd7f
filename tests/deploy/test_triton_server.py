"""The generated repository in Triton's own server: its core accepts every model, and refuses one that was damaged.

The server comes from the wheel nvidia-pytriton, which is too large (55 MB) and too picky about numpy to be among the
test packages: `pip install --no-deps nvidia-pytriton` where this is to run. It brings no ONNX Runtime backend, so a
stand-in that answers nothing takes its place; configurations are checked by the core around it.
"""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from small_bundles import write_step_bundle
from toolchain import call

from temport.exporter.bundle.directory import open_bundle
from temport.exporter.serve.triton import write_repository

FOUND = importlib.util.find_spec("pytriton")
STAND_IN = "void* TRITONBACKEND_ModelInstanceExecute(void* i, void** r, unsigned n) { return 0; }\n"
SECONDS = 60

pytestmark = pytest.mark.skipif(
    FOUND is None, reason="nvidia-pytriton, which carries the server, is not installed"
)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("backends")
    (directory / "onnxruntime").mkdir()
    (directory / "stand_in.c").write_text(STAND_IN)
    library = directory / "onnxruntime" / "libtriton_onnxruntime.so"
    call("gcc", "-shared", "-fPIC", directory / "stand_in.c", "-o", library)
    return directory


def served(repository: Path, backends: Path) -> dict[str, str]:
    """What the server says of each model: `READY`, or why it is not."""
    assert FOUND is not None and FOUND.origin is not None
    program = Path(FOUND.origin).parent / "tritonserver" / "bin" / "tritonserver"
    program.chmod(0o755)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    options = [f"--model-repository={repository}", f"--backend-directory={backends}", f"--http-port={port}"]
    options += ["--allow-grpc=false", "--allow-metrics=false", "--exit-on-error=true"]
    server = subprocess.Popen(
        [program, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    patience = threading.Timer(SECONDS, server.kill)
    patience.start()
    models = {path.name: "" for path in repository.iterdir()}
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if row := re.match(r"\| (\S+) +\| 1 +\| (.*?) +\|$", line):
                models[row[1]] = row[2]
            if all(models.values()):
                break
        return models
    finally:
        patience.cancel()
        server.kill()
        server.communicate()


def test_the_server_accepts_every_model(
    exported: Callable[[str], Path], stepped: Callable[[str], Path], tmp_path: Path, backends: Path
) -> None:
    for arch in ("mega", "dms"):
        write_repository(open_bundle(exported(arch)), tmp_path / "models", arch)
    for arch in ("lightning", "sliding_window", "hybrid"):
        write_repository(open_bundle(stepped(arch)), tmp_path / "models", f"{arch}-step")
    alone = open_bundle(write_step_bundle(tmp_path / "bundle", "mega", batch="1"))
    write_repository(alone, tmp_path / "models", "alone")
    assert set(served(tmp_path / "models", backends).values()) == {"READY"}


def test_the_server_refuses_a_damaged_state(
    stepped: Callable[[str], Path], tmp_path: Path, backends: Path
) -> None:
    target = write_repository(open_bundle(stepped("mega")), tmp_path / "models", "m")
    text = (target / "config.pbtxt").read_text()
    (target / "config.pbtxt").write_text(text.replace("zero_data: true", "", 1))
    assert "expects state'state.frames' to have state_data set" in served(tmp_path / "models", backends)["m"]
