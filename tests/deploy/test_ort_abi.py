"""Our view of ONNX Runtime's C ABI against its own header, which the compiler reads."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from toolchain import CPP, call, exclusive, need

ABI = CPP.parents[1] / "custom_ops" / "native" / "ort_abi"
PACKAGE, VERSION = "com.github.asus4.onnxruntime", "0.4.9"
"""On npm, with the frameworks that ONNX Runtime 1.29 is published as for iOS: no wheel and no package of ONNX Runtime
that a registry has brings its headers."""
HEADERS = "package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers"


@cache
def headers() -> Path:
    """The folder with onnxruntime_c_api.h, fetched once."""
    folder = CPP.parents[1] / "build" / f"onnxruntime-headers-{VERSION}"
    with exclusive("headers"):
        if not folder.is_dir():
            need("npm")
            folder.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as unpacked:
                packed = call("npm", "pack", "--silent", f"{PACKAGE}@{VERSION}", cwd=Path(unpacked)).strip()
                call("tar", "-xzf", packed, HEADERS, cwd=Path(unpacked))
                shutil.move(Path(unpacked) / HEADERS, folder)
    return folder


def compiled(folder: Path) -> str:
    """What the compiler says against the check of the view in `folder`."""
    done = subprocess.run(
        ["g++", "-std=c++17", "-fsyntax-only", "-isystem", headers(), f"-I{folder}", folder / "check.cc"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (done.stderr == ""), done.stderr
    return done.stderr


def test_every_line_agrees_with_the_header() -> None:
    assert compiled(ABI) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("SLOT(9, Run,", "SLOT(11, Run,", "the slot of Run"),
        ("SLOT(274, KernelContext_P", "SLOT(273, KernelContext_P", "the slot of KernelContext_ParallelFor"),
        (
            "Status*(SessionOptions*, int)",
            "Status*(SessionOptions*, int64_t)",
            "the signature of SetIntraOpNumThr",
        ),
        ("size_t, Allocator*, char**", "size_t, char**", "the signature of SessionGetInputName"),
        (
            "Status*(const Value*, TensorInfo**)",
            "Status*(const Value*, TypeInfo**)",
            "signature of GetTensorTypeAnd",
        ),
        ("void(MemoryInfo*)", "Status*(MemoryInfo*)", "the signature of ReleaseMemoryInfo"),
        ("kNotImplemented = 9", "kNotImplemented = 8", "ORT_NOT_IMPLEMENTED"),
        ("kBfloat16 = 16", "kBfloat16 = 15", "BFLOAT16"),
        ("GetInputTypeCount, size_t(", "GetInputTypeCount, int(", "the signature of GetInputTypeCount"),
        ("CALLBACK(KernelDestroy, void(void*)) \\\n", "", "the place of GetInputCharacteristic"),
        (
            "const Api* (*GetApi)(uint32_t version)",
            "const Api* (*GetApi)(int version)",
            "the signature of GetApi",
        ),
    ],
)
def test_a_wrong_line_is_found(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    shutil.copy(ABI / "check.cc", tmp_path)
    view = (ABI / "ort_abi.h").read_text()
    assert right in view
    (tmp_path / "ort_abi.h").write_text(view.replace(right, wrong, 1))
    assert said in compiled(tmp_path)
