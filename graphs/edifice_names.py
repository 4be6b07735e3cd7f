"""Where each tensor of a model lies in a file of the reference implementation (the Elixir library Edifice).

Its dense kernels are `[in, out]`, the transpose of torch's weight; norms call scale and shift gamma and beta.
"""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE_STATE = "_hidden_state.key"
"""Random keys of the reference's initial LSTM state: not weights, and here the state starts at zero."""


@dataclass(frozen=True)
class Source:
    """One own tensor: the reference tensors `keys`, each transposed if asked, stacked along the first
    axis.
    """

    keys: tuple[str, ...]
    transposed: bool = False


Names = dict[str, Source]


def dense(own: str, *layers: str) -> Names:
    """A linear layer; several reference layers are stacked into one (as for fused q, k, v)."""
    return {
        f"{own}.weight": Source(tuple(f"{layer}.kernel" for layer in layers), transposed=True),
        f"{own}.bias": Source(tuple(f"{layer}.bias" for layer in layers)),
    }


def norm(own: str, layer: str) -> Names:
    """A layer norm."""
    return {f"{own}.weight": Source((f"{layer}.gamma",)), f"{own}.bias": Source((f"{layer}.beta",))}


def lstm(own: str, layer: str) -> Names:
    """An LSTM layer, whose gates are stacked in the order i, f, g, o."""
    gates = "ifgo"
    return {
        f"{own}.weight_ih": Source(tuple(f"{layer}.input_kernel.wi{g}" for g in gates), transposed=True),
        f"{own}.weight_hh": Source(tuple(f"{layer}.hidden_kernel.wh{g}" for g in gates), transposed=True),
        f"{own}.bias": Source(tuple(f"{layer}.bias.b{g}" for g in gates)),
    }
