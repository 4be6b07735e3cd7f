"""What NVIDIA's `tensorrt.plugin` package (pure Python, in the bindings' wheel) needs of the compiled `tensorrt`.

The compiled module needs libnvinfer, which no package registry carries, so its part is played here: shape
expressions that are evaluated for given sizes, plain data classes, and a registry. The package itself is the real one.
"""

from __future__ import annotations

import enum
import importlib.util
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_PACKAGE = "tensorrt_bindings"


def plugin_package() -> Path | None:
    """The directory of the real `plugin` package, or None where the wheel is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return next((Path(place) / "plugin" for place in places if (Path(place) / "plugin").is_dir()), None)


class Expression:
    """A dimension: a constant, or a function of the sizes of the inputs' dynamic axes."""

    def __init__(self, value: Callable[[Mapping[str, int]], int], constant: bool) -> None:
        self.at, self._constant = value, constant

    def is_constant(self) -> bool:
        return self._constant

    def get_constant_value(self) -> int:
        return self.at({})


def symbol(name: str) -> Expression:
    return Expression(lambda sizes: sizes[name], False)


class ExpressionBuilder:
    """TensorRT's: integer constants and binary operations."""

    def constant(self, value: int) -> Expression:
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"{value} is no 32-bit integer")
        return Expression(lambda sizes: value, True)

    def operation(self, kind: enum.Enum, a: Expression, b: Expression) -> Expression:
        if kind.name in ("CEIL_DIV", "FLOOR_DIV") and b.is_constant() and b.get_constant_value() <= 0:
            raise ValueError("division by a constant that is not positive")
        act = {
            "SUM": operator.add, "SUB": operator.sub, "PROD": operator.mul, "FLOOR_DIV": operator.floordiv,
            "CEIL_DIV": lambda x, y: -(-x // y), "MAX": max, "MIN": min,
        }[kind.name]  # fmt: skip
        return Expression(lambda sizes: act(a.at(sizes), b.at(sizes)), a.is_constant() and b.is_constant())


class Base:
    """Any interface class that the package derives from."""


class Field(SimpleNamespace):
    def __init__(self, name: str, data: Any, type: Any) -> None:
        super().__init__(name=name, data=data, type=type)


class TensorDescription:
    def __init__(self, dims: Any = (), type: Any = None, format: Any = None) -> None:
        self.dims, self.type, self.format, self.scale = list(dims), type, format, 1.0


class DynamicTensorDescription:
    def __init__(self, desc: TensorDescription) -> None:
        self.desc = desc
        self.min = self.opt = self.max = desc.dims


class Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> None:
        self.creators[creator.name, creator.plugin_version, namespace] = creator

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators[name, version, namespace]


def _module() -> ModuleType:
    registry = Registry()
    module: Any = ModuleType("tensorrt")
    module.DataType = enum.Enum("DataType", "FLOAT HALF BF16 BOOL INT32 INT64 INT8 UINT8 FP8 INT4")
    for name, member in (("float32", "FLOAT"), ("float16", "HALF"), ("bfloat16", "BF16"), ("bool", "BOOL"),
                         ("int32", "INT32")):  # fmt: skip
        setattr(module, name, module.DataType[member])
    module.DimensionOperation = enum.Enum(
        "DimensionOperation", "SUM PROD MAX MIN SUB EQUAL LESS FLOOR_DIV CEIL_DIV"
    )
    module.TensorFormat = enum.Enum("TensorFormat", "LINEAR")
    module.TensorRTPhase = enum.Enum("TensorRTPhase", "BUILD RUNTIME")
    module.QuickPluginCreationRequest = enum.Enum(
        "QuickPluginCreationRequest", "UNKNOWN PREFER_JIT PREFER_AOT STRICT_JIT STRICT_AOT"
    )
    module.PluginFieldType = enum.Enum(
        "PluginFieldType", "INT8 INT16 INT32 INT64 FLOAT16 FLOAT32 FLOAT64 CHAR UNKNOWN"
    )
    module.PluginArgType = enum.Enum("PluginArgType", "INT")
    module.PluginArgDataType = enum.Enum("PluginArgDataType", "INT8 INT16 INT32")
    module.IDimensionExpr, module.IExprBuilder = Expression, ExpressionBuilder
    module.PluginField, module.PluginFieldCollection = Field, list
    module.PluginTensorDesc, module.DynamicPluginTensorDesc = TensorDescription, DynamicTensorDescription
    for name in ("IPluginV3", "IPluginV3QuickCore", "IPluginV3QuickBuild", "IPluginV3QuickRuntime",
                 "IPluginV3QuickAOTBuild", "IPluginCreatorV3Quick", "ISymExpr", "ITensor"):  # fmt: skip
        setattr(module, name, type(name, (Base,), {}))
    module.Dims = type("Dims", (list,), {"MAX_DIMS": 8})
    module.DimsExprs = lambda count: [None] * count
    module.Logger = type("Logger", (), {"WARNING": 0, "log": lambda *a: None})
    module.get_plugin_registry = lambda: registry
    return module  # type: ignore[no-any-return]  # Any above, for the attributes


@contextmanager
def tensorrt() -> Iterator[Any]:
    """`tensorrt` and the real `tensorrt.plugin` in `sys.modules`, as long as the context lasts."""
    package = plugin_package()
    assert package is not None
    module: Any = _module()
    module.__path__ = []
    sys.modules["tensorrt"] = module
    try:
        spec = importlib.util.spec_from_file_location(
            "tensorrt.plugin", package / "__init__.py", submodule_search_locations=[str(package)]
        )
        assert spec is not None and spec.loader is not None
        module.plugin = sys.modules["tensorrt.plugin"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module.plugin)
        yield module
    finally:
        for name in [name for name in sys.modules if name == "tensorrt" or name.startswith("tensorrt.")]:
            del sys.modules[name]
