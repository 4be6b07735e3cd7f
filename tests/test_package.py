"""What is installed: one package `temport`, whatever lies beside the program that imports it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from rich.console import Console

import temport
from temport.exporter.bundle.directory import open_bundle, write_manifest
from temport.exporter.errors import UserError
from temport.exporter.export import run_export
from temport.exporter.request import ExportRequest
from temport.exporter.runtimes.onnxruntime_cpu import OrtSession

ROOT = Path(__file__).parents[1]
WEIGHTS = "model.onnx.data"
SMALL = ("embed_dim=6", "hidden_size=8", "num_layers=1")
USERS_OWN = ("graphs", "exporter", "custom_ops", "session", "errors", "trace", "report", "build")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "mega"
    run_export(
        ExportRequest(
            "mega", settings=SMALL, seq="1:9:20", batch="dynamic", runtimes=("onnxruntime_cpu",), out=out
        ),
        Console(quiet=True),
    )
    return out


def run_python(code: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_face() -> None:
    assert temport.__version__.count(".") == 2
    assert Path(temport.get_library_path()).is_file()
    assert {"__version__", "export", "get_library_path", "load"} <= set(dir(temport))
    with pytest.raises(AttributeError, match="module 'temport' has no attribute 'expert'"):
        temport.expert  # noqa: B018  the attribute is what is tested


def test_loading_imports_no_torch(bundle: Path, tmp_path: Path) -> None:
    code = (
        "import sys, temport\n"
        "temport.get_library_path()\n"
        f"temport.load({str(bundle)!r})\n"
        "print([name for name in ('torch', 'onnxscript') if name in sys.modules])\n"
    )
    assert run_python(code, tmp_path) == "[]\n"


def test_the_face_alone_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, temport; print([n for n in ('torch', 'onnx', 'numpy') if n in sys.modules])"
    assert run_python(code, tmp_path) == "[]\n"


def test_a_loaded_model_gives_the_recorded_numbers(bundle: Path) -> None:
    session = temport.load(bundle)
    vectors = np.load(bundle / "vectors.npz")
    cases = {name.split("/")[0] for name in vectors.files}
    for case in cases:
        outputs = session({"state_sequence": vectors[f"{case}/input/state_sequence"]})
        errors = np.abs(outputs["output"] - vectors[f"{case}/output/output"])
        assert errors.max() <= vectors[f"{case}/bound/output"][0]
    assert session.inputs == {"state_sequence": (np.dtype("float32"), ((1, 64), (1, 20), 6))}


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"x": np.zeros((1, 9, 6), np.float32)}, "the model takes state_sequence; given were x"),
        ({}, "the model takes state_sequence; given were none"),
        (
            {"state_sequence": np.zeros((1, 9, 6))},
            r"is float64 \[1, 9, 6\]; the model takes float32 \[1..64, 1..20, 6\]",
        ),
        ({"state_sequence": np.zeros((1, 21, 6), np.float32)}, r"is float32 \[1, 21, 6\]; the model takes"),
        ({"state_sequence": np.zeros((9, 6), np.float32)}, r"is float32 \[9, 6\]; the model takes"),
    ],
)
def test_wrong_input_is_one_sentence(inputs: dict[str, np.ndarray], told: str, bundle: Path) -> None:
    with pytest.raises(UserError, match=told):
        temport.load(bundle)(inputs)


def test_loading_checks_the_files(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a bundle"):
        temport.load(tmp_path)
    with pytest.raises(UserError, match="the path is empty"):
        temport.load("")
    assert temport.load(bundle, digest=temport.load(bundle).digest, strict=True)
    with pytest.raises(UserError, match="is another bundle"):
        temport.load(bundle, digest="0" * 64)


@pytest.fixture(scope="module")
def beside(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with its weights in a file beside the model."""
    made = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("beside") / "mega"))
    model = onnx.load(made / "model.onnx")
    onnx.save(model, made / "model.onnx", save_as_external_data=True, location=WEIGHTS, size_threshold=100)
    write_manifest(made, open_bundle(bundle).declaration, [], {})
    return made


@pytest.mark.parametrize("name", ["model.onnx", WEIGHTS])
@pytest.mark.parametrize("when", ["after it was checked", "after it was read"])
def test_what_is_loaded_is_what_was_hashed(
    name: str, when: str, beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is exchanged for one that ONNX Runtime would take as well, between its hash and its use."""
    taken = Path(shutil.copytree(beside, tmp_path / "taken"))

    def exchange() -> None:
        content = bytearray((taken / name).read_bytes())
        if name == WEIGHTS:
            content = bytearray(len(content))
        else:
            model = onnx.ModelProto.FromString(bytes(content))
            model.graph.node.append(onnx.helper.make_node("Neg", ["output"], ["negative"]))
            model.graph.output[0].name = "negative"
            content = bytearray(model.SerializeToString())
        (taken / name).write_bytes(content)

    if when == "after it was checked":
        monkeypatch.setattr(
            "temport.session.open_bundle", lambda *a, **k: (open_bundle(*a, **k), exchange())[0]
        )
        with pytest.raises(UserError, match=f"{name} differs from its manifest"):
            temport.load(taken)
        return
    inputs = {"state_sequence": np.ones((1, 9, 6), np.float32)}
    expected = temport.load(beside)(inputs)["output"]
    monkeypatch.setattr("temport.session.OrtSession", lambda *a, **k: (exchange(), OrtSession(*a, **k))[1])
    assert np.array_equal(temport.load(taken)(inputs)["output"], expected)


def test_export_is_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "temport")
    exported = temport.export(
        "mega", settings=SMALL, seq=9, runtimes=("onnxruntime_cpu",), out=tmp_path / "b"
    )
    assert exported.passed and exported.path == tmp_path / "b" and exported.report.verdict == "pass"
    said = [(record.levelname, record.message) for record in caplog.records if record.name == "temport"]
    assert any(level == "INFO" and "tracing" in text for level, text in said)
    assert any(level == "DEBUG" and text.startswith("pass prune: changed") for level, text in said)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(UserError, match=r"export has arch, module, .* 'sequence'"):
        temport.export("mega", sequence=9)


def test_bundles_of_before_are_read(bundle: Path, tmp_path: Path) -> None:
    """Their declarations say `prune` and know nothing of passes that are left out."""
    import shutil

    old = Path(shutil.copytree(bundle, tmp_path / "old"))
    manifest = json.loads((old / "manifest.json").read_text())
    del manifest["declaration"]["without"]
    manifest["declaration"]["prune"] = False
    (old / "manifest.json").write_text(json.dumps(manifest))
    (old / "manifest.sha256").unlink()  # they have no digest beside them
    from temport.exporter.bundle.directory import open_bundle

    assert open_bundle(old).declaration.without == ("prune",)
    temport.load(old)


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = PROJECT["tool"]["scikit-build"]["wheel"]["exclude"]
"""What the distribution temport-runtime holds of the package."""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of temport-runtime, as they are installed."""
    out = tmp_path_factory.mktemp("light")
    for name in RUNTIME:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "deploy" / "python" / name, out / name)
    return out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the distribution temport, built from this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = out.iterdir()
    return found


def isolated(code: str, *folders: Path, cwd: Path | None = None) -> str:
    """Of a program that finds `temport` in `folders` alone: -S keeps an editable install out of the way."""
    before = f"import sys; sys.path[:0] = {list(map(str, folders))!r}\n"
    site = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", before + code],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": site},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_light_half_stands_alone(light: Path, bundle: Path) -> None:
    """It loads a bundle with none of the other files there, and has none that it does not need."""
    code = (
        "import temport\n"
        f"loaded = temport.load({str(bundle)!r})\n"
        "temport.Stream, temport.get_library_path\n"
        "try:\n    temport.export\n"
        "except ImportError as error:\n    print(error)\n"
        "print([name for name in ('torch', 'onnxscript', 'onnx_ir', 'rich', 'typer') if name in sys.modules])\n"
        "print(*sorted({m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'temport'}), sep='\\n')\n"
    )
    said, heavy, *files = isolated(code, light).splitlines()
    assert said == "temport.export is not in temport-runtime; install the distribution temport"
    assert heavy == "[]"
    data = {"temport/py.typed", "temport/exporter/bundle/manifest.schema.json"}
    assert {Path(file).relative_to(light).as_posix() for file in files} | data == set(RUNTIME)


@pytest.fixture(scope="module")
def installed(wheel: Path, light: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both distributions in one folder."""
    out = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out)
    shutil.copytree(light, out, dirs_exist_ok=True)
    return out


def test_two_distributions_are_one_package(wheel: Path) -> None:
    assert wheel.name.startswith("temport-") and wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"temport"}
    assert not set(names) & set(RUNTIME)
    for needed in ("temport/exporter/cli.py", "temport/graphs/mega.py", "temport/custom_ops/table.py"):
        assert needed in names


@pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_it_is_whole_and_a_users_own_names_change_nothing(
    bundle: Path, installed: Path, tmp_path: Path, first: int
) -> None:
    """In a directory with modules and packages by turns that are called as our rooms are."""
    for i, name in enumerate(USERS_OWN, first):
        file = tmp_path / name / "__init__.py" if i % 2 else tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("MINE = 1\n")
    code = (
        f"import {', '.join(USERS_OWN)}\n"
        "import temport, numpy\n"
        "import temport.exporter.cli, temport.exporter.export, temport.exporter.parity.trial, temport.graphs\n"
        f"assert temport.__file__.startswith({str(installed)!r}), temport.__file__\n"
        f"loaded = temport.load({str(bundle)!r})\n"
        "print(loaded({'state_sequence': numpy.zeros((1, 9, 6), numpy.float32)})['output'].shape)\n"
        f"print(all(module.MINE for module in ({', '.join(USERS_OWN)})))\n"
    )
    assert isolated(code, installed, cwd=tmp_path).splitlines() == ["(1, 8)", "True"]


def test_both_distributions_have_one_version() -> None:
    assert f"temport-runtime=={PROJECT['project']['version']}" in PROJECT["project"]["dependencies"]
    runtime = tomllib.loads((ROOT / "deploy" / "runtime" / "pyproject.toml").read_text())
    assert runtime["project"]["dynamic"] == ["version"]


def test_the_version_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "temport", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == f"temport {temport.__version__}\n", done.stderr


def test_types_are_told() -> None:
    assert (Path(temport.__file__).parent / "py.typed").is_file()
