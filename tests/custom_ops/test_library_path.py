"""Where the native op library is looked for, and what it leaves behind."""

import ctypes
import gc

import numpy as np
import onnx
import onnxruntime
import pytest

from temport.custom_ops import library
from temport.custom_ops.library import library_path


def test_environment_overrides_the_package(tmp_path, monkeypatch):
    built = tmp_path / "libtemport_ops.so"
    built.touch()
    monkeypatch.setenv(library.ENVIRONMENT, str(built))
    assert library_path() == built


def test_a_library_that_is_named_but_absent_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.so").touch()
    for name in (str(tmp_path / "none.so"), "here.so", "./here.so"):
        monkeypatch.setenv(library.ENVIRONMENT, name)
        with pytest.raises(ValueError, match=r"^TEMPORT_OPS_LIBRARY is .*; it must name the built library"):
            library_path()


def test_inside_the_package_or_none(tmp_path, monkeypatch):
    monkeypatch.delenv(library.ENVIRONMENT, raising=False)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    assert library_path() is None
    (tmp_path / "native").mkdir()
    built = tmp_path / "native" / "libtemport_ops.so"
    built.touch()
    assert library_path() == built


class HeapInUse(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]
    # field4 are bytes in maps of their own (hblkhd), field7 those in use in arenas (uordblks)


def test_a_session_leaves_nothing_behind():
    """ONNX Runtime closes the library with every session; unloaded, it would make its ops anew for the next one."""
    built = library_path()
    assert built is not None, "the native op library was not built"
    heap = ctypes.CDLL(None).mallinfo2
    heap.restype = HeapInUse
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([node], "g", [x], [y])
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()

    def open_sessions(count):
        for _ in range(count):
            options = onnxruntime.SessionOptions()
            options.register_custom_ops_library(str(built))
            session = onnxruntime.InferenceSession(model, options)
            session.run(None, {"x": np.zeros(1, np.float32)})
            del session, options
        gc.collect()
        used = heap()
        return used.field4 + used.field7

    before = open_sessions(5)
    assert open_sessions(40) - before < 40 * 5000  # bytes; 80,000 for each where the library was unloaded
