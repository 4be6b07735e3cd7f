"""A torch module of the user's own: `--module FILE.py:FACTORY` or a live one, and its inputs, to a `Declaration`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from temport.exporter.declare.call import HALVES, Called, fits_by_position, output_names, takes_entries
from temport.exporter.declare.construct import seeded
from temport.exporter.declare.copied import copied, held
from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, Axis, Declaration, TensorSpec
from temport.exporter.declare.loading import load_factory
from temport.exporter.declare.observe import drawn, output_specs
from temport.exporter.declare.same_twice import check_same_twice
from temport.exporter.declare.values import INTEGERS, Values, check_told
from temport.exporter.errors import UserError, did_you_mean, told, users_code

DTYPES = ("float32", "float16", "bfloat16", "float64", "bool", *INTEGERS)
_SHAPE = re.compile(r"(?P<name>\w[\w.]*)(?::(?P<dtype>\w+))?(?:\[(?P<values>[^\]]*)\])?=(?P<dims>[\w,]*)")


def declare_module(
    source: str,
    shapes: Sequence[str],
    *,
    batch: str = "1",
    seq: str = "60",
    axes: Mapping[str, str] | None = None,
    opset: int = 20,
    ops: str = "custom",
    seed: int = 0,
    names: Sequence[str] = (),
    dropped: Sequence[str] = (),
) -> tuple[Declaration, nn.Module]:
    """Declaration and module of a user's own factory, `path.py:factory` or `package.module:factory`.

    shapes   `name=batch,seq,24` (float32), `name:bool=batch,1,1,seq`, `ids:int64[0:200]=batch,seq`
    axes     sizes of axes called otherwise than batch and seq: `60`, `dynamic` or `min:opt:max`
    names    what the outputs are called, in place of their keys
    dropped  outputs that are left out
    """
    return declare_factory(
        load_factory(source),
        source,
        shapes,
        batch,
        seq,
        axes=axes,
        opset=opset,
        ops=ops,
        seed=seed,
        names=names,
        dropped=dropped,
    )


def declare_factory(
    make: Callable[[], nn.Module],
    source: str,
    shapes: Sequence[str],
    batch: str = "1",
    seq: str = "60",
    *,
    axes: Mapping[str, str] | None = None,
    opset: int = 20,
    ops: str = "custom",
    seed: int = 0,
    names: Sequence[str] = (),
    dropped: Sequence[str] = (),
) -> tuple[Declaration, nn.Module]:
    """The same of a factory at hand, which `source` names."""
    known = {
        "batch": Axis.parse("batch", batch, DYNAMIC_BATCH),
        "seq": Axis.parse("seq", seq, DYNAMIC_SEQ),
        **{
            name: Axis.parse(name, text, DYNAMIC_SEQ, f"--axis {name}=")
            for name, text in (axes or {}).items()
        },
    }
    if not shapes:
        raise UserError(
            "--module needs the inputs of forward, for example --shape state_sequence=batch,seq,24"
        )
    inputs = tuple(read_shape(text, known) for text in shapes)
    with users_code(f"{source} makes no module"):
        module, notes = seeded(make, seed)
    declaration, called = declare_live(module, source, inputs, names, dropped)
    notes = (*notes, *declaration.notes)
    return replace(declaration, opset=opset, ops=ops, seed=seed, notes=notes), called


def declare_live(
    module: nn.Module,
    source: str,
    inputs: tuple[TensorSpec, ...],
    names: Sequence[str] = (),
    dropped: Sequence[str] = (),
) -> tuple[Declaration, nn.Module]:
    """Declaration of a module at hand, and a copy of it in eval mode behind a plain signature."""
    for spec in inputs:
        check_told(spec.name, spec.dtype, spec.values)
    if twice := next((s.name for s in inputs if [i.name for i in inputs].count(s.name) > 1), None):
        raise UserError(f"two inputs are called {twice}; give each a name of its own")
    called, results, precision, notes = _widened(module, inputs)
    given = output_names(list(results), [spec.name for spec in inputs])
    kept = kept_outputs(list(results), given, names, dropped)
    _check_tensors(results, kept)
    called.returns = tuple(kept)
    notes = (*notes, *check_same_twice(called, inputs), *_positions(called, inputs))
    outputs = output_specs(called, inputs, list(kept.values()), ends=True)
    return (
        Declaration(
            "module",
            {},
            inputs,
            outputs,
            precision=precision,
            module=source,
            returns=tuple(kept),
            notes=notes,
        ),
        called,
    )


def called_as(module: nn.Module, declaration: Declaration) -> Called:
    """The module behind the signature that was declared of it."""
    called, results, _, _ = _widened(module, declaration.inputs)
    if missing := [place for place in declaration.returns if place not in results]:
        raise UserError(f"the module returns no {missing[0]!r}, which the bundle was made of")
    called.returns = declaration.returns
    return called


def _widened(
    module: nn.Module, inputs: tuple[TensorSpec, ...]
) -> tuple[Called, dict[str, Any], str, tuple[str, ...]]:
    """A copy in eval mode behind a plain signature, a half-precision module in float32; what it returns, by place; the
    type that it computed in, and what to tell.
    """
    tensors = held(module)
    found = {tensor.dtype for tensor in tensors.values()} & HALVES.keys()
    if len(found) > 1:
        raise UserError("the module mixes float16 and bfloat16 weights; give it in float32, and --precision")
    if not found:
        called, results = _callable(copied(module).eval(), inputs, None, frozenset())
        return called, results, "float32", ()
    half = found.pop()
    single = frozenset(f"model.{name}" for name, tensor in tensors.items() if tensor.dtype == torch.float32)
    called, results = _callable(copied(module, torch.float32).eval(), inputs, half, single)
    called.given = {place: half for place in results if place not in _singles_given(called, inputs, half)}
    note = (
        f"the module's weights are {HALVES[half]}: it is exported from float32 and computes in {HALVES[half]}"
    )
    return called, results, HALVES[half], (note,)


def _singles_given(called: Called, inputs: tuple[TensorSpec, ...], half: torch.dtype) -> list[str]:
    """Which results are float32 where the module computes in its half type; none where it does not run in that here."""
    sizes = {axis.name: axis.opt for spec in inputs for axis in spec.axes()}
    tensors = (t.to(half) if t.is_floating_point() else t for t in drawn(inputs, sizes))
    try:
        with torch.no_grad():
            results = dict(copied(called, half).results(*tensors))
    except Exception:  # torch on this processor has not every operator in that type
        return []
    return [place for place, result in results.items() if getattr(result, "dtype", None) == torch.float32]


def read_shape(text: str, axes: Mapping[str, Axis], types: Mapping[str, str] | None = None) -> TensorSpec:
    """An input from its text, such as `ids:int64[0:200]=batch,seq`; `types` of inputs whose text says none."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise UserError(f"--shape {text!r} is not NAME=axis,axis,... such as state_sequence=batch,seq,24")
    name, dims = match["name"], [d for d in match["dims"].split(",") if d]
    dtype = match["dtype"] or (types or {}).get(name, "float32")
    if dtype not in DTYPES:
        raise UserError(f"--shape {text!r}: {dtype!r} is no element type; {did_you_mean(dtype, DTYPES)}")
    for dim in dims:
        if not dim.isdigit() and dim not in axes:
            raise UserError(
                f"--shape {text!r}: {dim!r} is neither a number nor one of {', '.join(axes)}; "
                f"another axis has its size from --axis {dim}=1:60:1024"
            )
    values = None if match["values"] is None else Values.parse(match["values"], dtype)
    return TensorSpec(name, dtype, tuple(int(d) if d.isdigit() else axes[d] for d in dims), values)


def _callable(
    module: nn.Module, inputs: tuple[TensorSpec, ...], half_type: torch.dtype | None, singles: frozenset[str]
) -> tuple[Called, dict[str, Any]]:
    """The module as it can be called with these inputs, and what it returns, by place."""
    names = [spec.name for spec in inputs]
    sizes = {axis.name: axis.opt for spec in inputs for axis in spec.axes()}
    entries = takes_entries(module, names)
    ways = [False] if not entries or fits_by_position(module, names) else []
    failure: BaseException | None = None
    for as_entries in (*ways, *([True] if entries else [])):
        called = Called(module, names, as_entries)
        called.half_type, called.singles = half_type, singles
        try:
            with torch.no_grad():
                return called, dict(called.results(*drawn(inputs, sizes)))
        except UserError:
            raise
        except Exception as error:
            failure = failure or error
    assert failure is not None
    asked = ", ".join(f"{name} {size}" for name, size in sizes.items()) or "these inputs"
    raise UserError(
        f"the module does not run with {asked}: {told(failure)}; give --shape, --batch and --seq as it takes them"
    ) from failure


def kept_outputs(
    places: Sequence[str], given: Sequence[str], names: Sequence[str], dropped: Sequence[str]
) -> dict[str, str]:
    """Place -> name of each output: as given, or as `names` says, without those dropped."""
    if not places:
        raise UserError("the module returns no tensor; a model needs an output")
    if unknown := [name for name in dropped if not any(_is_part(one, name) for one in given)]:
        raise UserError(f"there is no output {unknown[0]!r} to drop; {did_you_mean(unknown[0], given)}")
    kept = {
        place: name
        for place, name in zip(places, given, strict=True)
        if not any(_is_part(name, left) for left in dropped)
    }
    if not kept:
        raise UserError("every output is dropped; a model needs one")
    if not names:
        return kept
    if (
        len(names) != len(kept)
        or len(set(names)) != len(names)
        or not all(re.fullmatch(r"\w[\w.]*", n) for n in names)
    ):
        raise UserError(
            f"--output-names gives {', '.join(names)}; the module has {len(kept)} outputs, {', '.join(kept.values())}, "
            "and each needs a name of its own made of letters, digits and _"
        )
    return dict(zip(kept, names, strict=True))


def _is_part(name: str, of: str) -> bool:
    """Whether an output is the one called `of`, or lies in the structure of that name."""
    return name == of or name.startswith(f"{of}.")


def _check_tensors(results: Mapping[str, Any], kept: Mapping[str, str]) -> None:
    """UserError for an output that is no tensor; what was dropped may be anything."""
    for place, name in kept.items():
        if not isinstance(results[place], torch.Tensor):
            where, way = (f" at {place}", f", or leave {name} out with --drop-output") if place else ("", "")
            raise UserError(
                f"the module returns {type(results[place]).__name__}{where}; outputs have to be tensors, or tuples, "
                f"lists, dictionaries and dataclasses of them{way}"
            )


def _positions(module: Called, inputs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    """A note where several inputs go to parameters of other names, in the order in which they were given."""
    parameters = list(inspect.signature(module.model.forward).parameters)
    by_name = not all(isinstance(target[0], int) for target in module.targets)
    if by_name or len(inputs) < 2 or len(parameters) < len(inputs):
        return ()
    pairs = ", ".join(f"{spec.name} is {name}" for spec, name in zip(inputs, parameters, strict=False))
    return (f"forward takes the inputs in their order: {pairs}",)
