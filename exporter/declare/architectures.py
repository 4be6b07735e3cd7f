"""From what the user typed to a `Declaration` and the torch module behind it."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import types
import typing
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, Axis, Declaration, TensorSpec
from temport.exporter.errors import UserError, did_you_mean
from temport.graphs.registry import ARCHITECTURES, Architecture


@dataclass(frozen=True)
class Option:
    """One architecture option as `temport list ARCH` shows it."""

    name: str
    type: str
    default: str
    help: str


def architecture(name: str) -> Architecture:
    """The registered architecture, or a sentence with the nearest name."""
    if name not in ARCHITECTURES:
        raise UserError(f"unknown architecture {name!r}; {did_you_mean(name, ARCHITECTURES)}")
    return ARCHITECTURES[name]


def options(arch: Architecture) -> list[Option]:
    """The options of an architecture with type, default and help."""
    hints = typing.get_type_hints(arch.config)
    table = []
    for field in dataclasses.fields(arch.config):
        if field.default is not dataclasses.MISSING:
            default = _show(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            default = _show(field.default_factory())
        else:
            default = f"required (example {_show(arch.example[field.name])})"
        table.append(
            Option(field.name, _type_name(hints[field.name]), default, field.metadata.get("help", ""))
        )
    return table


def configure(arch: Architecture, settings: Sequence[str], **fixed: Any) -> tuple[Any, tuple[str, ...]]:
    """The architecture's config from `key=value` strings; returns it with notes on what was filled in.

    A required option that is not set takes the value of the documented usage example, and a note says so.
    """
    hints = typing.get_type_hints(arch.config)
    values: dict[str, Any] = {name: value for name, value in fixed.items() if name in hints}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals:
            raise UserError(f"--set {setting!r} is not key=value, for example --set num_layers=2")
        if key in fixed:
            raise UserError(
                f"--set {setting} would contradict --seq; give the sequence length with --seq only"
            )
        if key not in hints:
            raise UserError(f"{arch.name} has no option {key!r}; {did_you_mean(key, hints)}")
        values[key] = _parse(key, text.strip(), hints[key])
    missing = {k: v for k, v in arch.example.items() if k not in values}
    notes = tuple(f"{k} was not set: the usage example's {k}={_show(v)} is used" for k, v in missing.items())
    try:
        return arch.config(**missing, **values), notes
    except ValueError as error:
        raise UserError(str(error)) from error


def declare(
    arch_name: str,
    settings: Sequence[str] = (),
    *,
    batch: str = "1",
    seq: str = "60",
    memory: str | None = None,
    opset: int = 20,
    ops: str = "custom",
    seed: int = 0,
) -> tuple[Declaration, nn.Module, Any]:
    """Declaration, module (seeded initial weights, eval mode) and config of a registered architecture."""
    arch = architecture(arch_name)
    axes = {
        "batch": Axis.parse("batch", batch, DYNAMIC_BATCH),
        "seq": Axis.parse("seq", seq, DYNAMIC_SEQ),
    }
    axes["memory"] = Axis.parse("memory", memory or seq, DYNAMIC_SEQ)
    config, notes = configure(arch, settings, seq_len=axes["seq"].max)
    inputs = tuple(
        TensorSpec(spec.name, spec.dtype, tuple(axes[a] if isinstance(a, str) else a for a in spec.axes))
        for spec in arch.inputs(config)
    )
    if memory is not None and not any(axis.name == "memory" for s in inputs for axis in s.axes()):
        raise UserError(f"{arch.name} has no memory axis; leave --memory out")
    module, told = seeded(lambda: arch.build(config), seed)
    declaration = Declaration(
        arch=arch.name,
        options=dataclasses.asdict(config),
        inputs=inputs,
        outputs=output_specs(module, inputs),
        opset=opset,
        ops=ops,
        seed=seed,
        notes=(*notes, *told),
    )
    return declaration, module, config


def declare_module(
    source: str,
    shapes: Sequence[str],
    *,
    batch: str = "1",
    seq: str = "60",
    opset: int = 20,
    ops: str = "custom",
    seed: int = 0,
) -> tuple[Declaration, nn.Module]:
    """Declaration and module of a user's own factory, `path.py:factory`.

    `shapes` are `name=batch,seq,24` (float32) or `name:bool=batch,1,1,seq`, in the order of `forward`.
    """
    axes = {
        "batch": Axis.parse("batch", batch, DYNAMIC_BATCH),
        "seq": Axis.parse("seq", seq, DYNAMIC_SEQ),
    }
    if not shapes:
        raise UserError(
            "--module needs the inputs of forward, for example --shape state_sequence=batch,seq,24"
        )
    inputs = tuple(_shape(text, axes) for text in shapes)
    module, told = seeded(load_factory(source), seed)
    declaration = Declaration(
        "module",
        {},
        inputs,
        output_specs(module, inputs),
        opset=opset,
        ops=ops,
        seed=seed,
        module=source,
        notes=told,
    )
    return declaration, module


def rebuild(declaration: Declaration) -> nn.Module:
    """The module of a registered architecture from the complete options of its declaration."""
    arch = architecture(declaration.arch)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in declaration.options.items()}
    try:
        config = arch.config(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"the options of {declaration.arch} do not fit this version: {error}") from error
    return seeded(lambda: arch.build(config), declaration.seed)[0]


def load_factory(source: str) -> Any:
    """The callable named by `path.py:factory`."""
    path, colon, name = source.rpartition(":")
    if not colon or not Path(path).is_file():
        raise UserError(f"--module {source!r} is not FILE.py:FACTORY with an existing file")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file; --module wants FILE.py:FACTORY")
    loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
    except SyntaxError as error:
        raise UserError(f"{path} is not valid Python: {error}") from error
    if not callable(getattr(loaded, name, None)):
        raise UserError(f"{path} has no callable {name!r}")
    return getattr(loaded, name)


def seeded(make: typing.Callable[[], nn.Module], seed: int) -> tuple[nn.Module, tuple[str, ...]]:
    """A module in eval mode, its initial weights drawn at `seed`, and what its constructor warned of.

    The caller's random generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        torch.manual_seed(seed)
        module = make()
    if not isinstance(module, nn.Module):
        raise UserError(f"the factory returned {type(module).__name__}; it has to return a torch.nn.Module")
    return module.eval(), tuple(str(warning.message) for warning in caught)


def output_specs(module: nn.Module, inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The output's shape, found by running two sizes: an axis that moves with an input axis is that axis.

    A module made for one length may refuse other sizes. Then axes of a fixed size keep it, and are numbers in the
    output's shape.
    """
    axes = {axis.name: axis for spec in inputs for axis in spec.axes()}
    primes = dict(zip(axes, (2, 3, 5), strict=False))
    first, second = ({name: prime * factor for name, prime in primes.items()} for factor in (1, 7))
    try:
        outputs = _output(module, inputs, first), _output(module, inputs, second)
    except RuntimeError:
        fixed = {name: axis.max for name, axis in axes.items() if axis.static}
        outputs = (
            _output_or_refusal(module, inputs, first | fixed),
            _output_or_refusal(module, inputs, second | fixed),
        )
        primes = {name: prime for name, prime in primes.items() if name not in fixed}
    by_sizes = {(prime, prime * 7): axes[name] for name, prime in primes.items()}
    sizes = zip(*(output.shape for output in outputs), strict=True)
    shape = tuple(by_sizes.get((a, b), int(a)) for a, b in sizes)
    return (TensorSpec("output", str(outputs[0].dtype).removeprefix("torch."), shape),)


def _output(module: nn.Module, inputs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> torch.Tensor:
    with torch.no_grad():
        result = module(*(torch.zeros(s.at(**sizes), dtype=getattr(torch, s.dtype)) for s in inputs))
    if not isinstance(result, torch.Tensor):
        raise UserError(f"the module returns {type(result).__name__}; it has to return one tensor")
    return result


def _output_or_refusal(
    module: nn.Module, inputs: tuple[TensorSpec, ...], sizes: dict[str, int]
) -> torch.Tensor:
    try:
        return _output(module, inputs, sizes)
    except RuntimeError as error:
        shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"the module does not run with {shown}: {str(error).splitlines()[0]}; give --shape, --batch and --seq as "
            "it takes them"
        ) from error


def _shape(text: str, axes: dict[str, Axis]) -> TensorSpec:
    match = re.fullmatch(r"(\w+)(?::(\w+))?=([\w,]+)", text)
    if match is None:
        raise UserError(f"--shape {text!r} is not NAME=axis,axis,... such as state_sequence=batch,seq,24")
    name, dtype, dims = match.group(1), match.group(2) or "float32", match.group(3).split(",")
    for dim in dims:
        if not dim.isdigit() and dim not in axes:
            raise UserError(f"--shape {text!r}: {dim!r} is neither a number nor one of {', '.join(axes)}")
    return TensorSpec(name, dtype, tuple(int(d) if d.isdigit() else axes[d] for d in dims))


def _parse(key: str, text: str, hint: Any) -> Any:
    """`text` as the option's type, or a sentence naming the type."""
    variants = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if text.lower() == "none" and type(None) in variants:
        return None
    kind = next(v for v in variants if v is not type(None))
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if typing.get_origin(kind) is tuple:
            return tuple(int(part) for part in text.strip("[]()").split(",") if part.strip())
        return kind(text)
    except (ValueError, KeyError):
        raise UserError(f"option {key} is {_type_name(hint)}; {text!r} is not") from None


def _type_name(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_type_name(v) for v in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "list of int"
    return "none" if hint is type(None) else hint.__name__


def _show(value: Any) -> str:
    return (
        ",".join(map(str, value))
        if isinstance(value, tuple)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
