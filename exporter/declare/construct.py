"""A module as its constructor makes it: seeded weights, and the shape of what it returns."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn

from temport.exporter.declare.declaration import TensorSpec
from temport.exporter.errors import UserError, told


def seeded(make: Callable[[], nn.Module], seed: int) -> tuple[nn.Module, tuple[str, ...]]:
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
    except UserError:
        raise
    except Exception:  # an assertion about its length as well as a product that does not fit
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
    except UserError:
        raise
    except Exception as error:
        shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"the module does not run with {shown}: {told(error)}; give --shape, --batch and --seq as "
            "it takes them"
        ) from error
