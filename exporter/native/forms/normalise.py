"""Normalisation."""

from __future__ import annotations

import numpy as np

from temport.exporter.native.call import Call, Form
from temport.exporter.native.forms.elementwise import write
from temport.exporter.native.forms.ranks import axis_of
from temport.exporter.native.sizes import ONE, Size, fixed, product
from temport.exporter.native.tensors import NoForm, Tensor


def residual_layer_norm(call: Call) -> None:
    x, centred = call.input(0), bool(call.attribute("centred", 1))
    _layer_norm(call, x.shape[-1], call.pointer(1), call.pointer(2), call.pointer(3), centred)


def layer_normalization(call: Call) -> None:
    if call.wants(1) or call.wants(2):
        raise NoForm("it gives its means")
    width = _trailing(call)
    scale = _over(call, 1, width)
    bias = _over(call, 2, width) if call.has(2) else call.weight(np.zeros(width.most))
    _layer_norm(call, width, scale, bias)


def rms_normalization(call: Call) -> None:
    width = _trailing(call)
    _layer_norm(call, width, _over(call, 1, width), call.weight(np.zeros(width.most)), centred=False)


def _trailing(call: Call) -> Size:
    """Elements of a row: of the axes from `axis` on."""
    x = call.input(0)
    width = product(x.shape[axis_of(call, len(x.shape)) :])
    if not width.fixed:
        raise NoForm("the width of its rows is open")
    return width


def _over(call: Call, index: int, width: Size) -> str:
    """A pointer to a factor or addend for every element of a row."""
    given = call.input(index)
    if given.elements == width:
        return given.code
    if given.value is None:
        raise NoForm(f"its input {index} is neither a constant nor as wide as a row")
    shape = call.input(0).shape[axis_of(call, len(call.input(0).shape)) :]
    return call.weight(np.broadcast_to(given.value, [size.most for size in shape]))


def _layer_norm(
    call: Call, width: Size, scale: str, bias: str, addend: str = "nullptr", centred: bool = True
) -> None:
    x, y = call.input(0), call.output()
    if not width.fixed:
        raise NoForm("the width of its rows is open")
    rows = product(x.shape[: axis_of(call, len(x.shape))])
    epsilon = float(call.attribute("epsilon", 1e-5))
    kind = f"{width}, {str(addend != 'nullptr').lower()}, {str(centred).lower()}"
    # a pass over memory: about eight operations for an element
    caller = call.plan.caller(8 * x.elements.most)
    call.line(
        f"layer_norm<{kind}>({caller}{rows.code}, {epsilon!r}f, {{{x.code}, {addend}, {scale}, {bias}, {y.code}}});"
    )


def batch_normalization(call: Call) -> None:
    """A product and a sum with constants, since the statistics are."""
    if call.attribute("training_mode", 0):
        raise NoForm("it is in training mode")
    x, y = call.input(0), call.output()
    scale, bias, mean, variance = (call.constant(i).astype(np.float64) for i in range(1, 5))
    factor = scale / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    shape = (*(fixed(n) for n in factor.shape), *(ONE for _ in x.shape[2:]))
    constants = [Tensor(call.weight(part), "float", shape) for part in (factor, bias - mean * factor)]
    write(call, "fused(a, b, c)", [x, *constants], y, "map_vectors")


def instance_normalization(call: Call) -> None:
    _by_channel(call, call.input(0).shape[1], call.pointer(1), call.pointer(2))


def group_normalization(call: Call) -> None:
    """Until opset 20 there is one scale for a group; since then one for a channel."""
    groups, channels = fixed(call.attribute("num_groups")), call.input(0).shape[1]
    if not channels.fixed:
        raise NoForm("the number of its channels is open")

    def of_channels(index: int) -> str:
        given = call.input(index)
        if given.elements == channels:
            return given.code
        return call.weight(np.repeat(call.constant(index), channels.most // groups.most))

    _by_channel(call, groups, of_channels(1), of_channels(2))


def _by_channel(call: Call, groups: Size, scale: str, bias: str) -> None:
    x, y = call.input(0), call.output()
    batch, channels, *spatial = x.shape
    if not channels.fixed:
        raise NoForm("the number of its channels is open")
    epsilon = float(call.attribute("epsilon", 1e-5))
    call.line(
        f"normalise_channels({x.code}, {batch * groups}, {groups}, {channels.most // groups.most}, "
        f"{product(spatial).code}, {epsilon!r}f, {scale}, {bias}, {y.code});"
    )


FORMS: dict[str, Form] = {
    "BatchNormalization": batch_normalization,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "ResidualLayerNorm": residual_layer_norm,
}
