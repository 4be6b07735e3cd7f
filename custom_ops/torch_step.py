"""How an op of one frame of a stream becomes a torch op: one node under `torch.export`, its gradient recomputed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from temport.custom_ops.schema import DOMAIN
from temport.custom_ops.torch_registration import second_derivative


def register_step(
    op: str,
    *,
    name: str,
    schema: str,
    compute: Callable[..., tuple[torch.Tensor, ...]],
    shapes: Callable[..., tuple[tuple[int, ...], ...]],
) -> None:
    """Define `temport::<name>`, differentiable once in its floating-point tensors.

    op        its ONNX name, for messages
    schema    tensors, then attributes, then as many tensors as there are outputs
    compute   all inputs -> the outputs, in operators that torch can differentiate; none of them shares an input's
              memory
    shapes    all inputs -> shapes of the outputs, which have the dtype of the first input; ValueError where the
              inputs do not fit
    """
    own = f"{DOMAIN}::{name}"
    torch.library.define(own, schema)

    def fake(*inputs: Any) -> tuple[torch.Tensor, ...]:
        return tuple(inputs[0].new_empty(shape) for shape in shapes(*inputs))

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        ctx.save_for_backward(*tensors)
        ctx.attributes = inputs[len(tensors) :]

    def differentiate(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # create_graph: what is recomputed here has no graph of its own
            raise second_derivative(op)
        tensors = [x.detach().requires_grad_(x.is_floating_point()) for x in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = compute(*tensors, *ctx.attributes)
        given = [x for x in tensors if x.requires_grad]
        found = iter(torch.autograd.grad(outputs, given, grads, allow_unused=True))
        return *(next(found) if x.requires_grad else None for x in tensors), *[None] * len(ctx.attributes)

    torch.library.impl(own, "CompositeExplicitAutograd")(compute)
    torch.library.register_fake(own)(fake)
    torch.library.register_autograd(own, differentiate, setup_context=save)
