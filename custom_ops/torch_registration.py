"""How an attention op and its gradient become torch ops; the same for every op of the domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from temport.custom_ops.schema import DOMAIN

Gradients = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def register(
    op: str,
    *,
    name: str,
    tensors: str,
    attributes: str,
    forward: Callable[..., torch.Tensor],
    backward: Callable[..., Gradients],
    shape: Callable[..., tuple[int, ...]],
) -> None:
    """Define `temport::<name>` and `temport::<name>_backward`, differentiable once.

    op          its ONNX name, for messages
    tensors     schema of the tensor inputs: q, then k and v (None for packed q), then those without gradient
    attributes  schema of what follows them
    forward     all inputs -> the output
    backward    gradient of the output and all inputs -> gradients of q, k, v; for packed q the first carries
                all three and the others are empty
    shape       all inputs -> shape of the output; ValueError where they do not fit

    `torch.library.define` keeps the op one node under `torch.export`, and its eager dispatch is cheap.
    """
    count = tensors.count("Tensor")
    own, gradient = f"{DOMAIN}::{name}", f"{DOMAIN}::{name}_backward"
    torch.library.define(own, f"({tensors}, {attributes}) -> Tensor")
    torch.library.define(gradient, f"(Tensor grad, {tensors}, {attributes}) -> (Tensor, Tensor, Tensor)")

    def fake(q: torch.Tensor, *rest: Any) -> torch.Tensor:
        return q.new_empty(shape(q, *rest))

    def fake_backward(
        grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor | None, v: torch.Tensor | None, *rest: Any
    ) -> Gradients:
        k, v = (q.new_empty(0) if x is None else x.new_empty(x.shape) for x in (k, v))
        return q.new_empty(q.shape), k, v

    def save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:count])
        ctx.attributes = inputs[count:]

    def differentiate(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        inputs = (*ctx.saved_tensors, *ctx.attributes)
        grad_q, grad_k, grad_v = differentiated(grad.contiguous(), *inputs)
        packed = inputs[1] is None
        return grad_q, *((None, None) if packed else (grad_k, grad_v)), *[None] * (len(inputs) - 3)

    def no_second_derivative(ctx: Any, *grads: torch.Tensor) -> tuple[Any, ...]:
        raise second_derivative(op)

    for defined, kernel, shapes in ((own, forward, fake), (gradient, backward, fake_backward)):
        torch.library.impl(defined, "CompositeExplicitAutograd")(kernel)
        torch.library.register_fake(defined)(shapes)
    torch.library.register_autograd(own, differentiate, setup_context=save)
    torch.library.register_autograd(gradient, no_second_derivative)
    differentiated = getattr(getattr(torch.ops, DOMAIN), f"{name}_backward")


def second_derivative(op: str) -> NotImplementedError:
    """What to raise for a gradient of a gradient: training needs none, and kernels compute the first one."""
    return NotImplementedError(f"{op} has no second derivative; call backward without create_graph.")
