"""What compressed weights and rings cost, in one sentence."""

from __future__ import annotations

from collections import Counter

from temport.exporter.parity.result import Compression, Loss


def told(compression: Compression) -> str:
    """Types of the weights and rings, the largest loss of the judged cases and of all, decisions that flipped."""
    types = Counter(weight.dtype for weight in compression.weights)
    stored = ", ".join(f"{count} in {dtype}" for dtype, count in types.most_common())
    stored = f"weights: {stored}" if stored else ""
    if compression.absorbed:
        stored += f", {len(compression.absorbed)} times queries and keys of one weight"
    judged = [loss for loss in compression.losses if loss.case in compression.judged]
    usual, worst = _largest(judged), _largest(compression.losses)
    rounded = sum(layer.scale is not None for layer in compression.inputs)
    if compression.inputs:
        stored += f", inputs of {rounded} layers rounded to {compression.dtype}"
        evened = sum(layer.evened is not None for layer in compression.inputs)
        stored += f", of {evened} evened out by powers of two" if evened else ""
    if compression.rings != "float32":
        stored = f"{stored}{', ' if stored else ''}keys and values of the stream in {compression.rings}"
    limit = "" if compression.max_loss is None else f" of at most {compression.max_loss:g}"
    metric = ""
    if compression.metric is not None:
        case, most = max(compression.measured.items(), key=lambda measured: measured[1])
        metric, limit = f"{compression.metric} says {most:.3g}{limit} ({case}); ", ""
    flips = sum(loss.flipped or 0 for loss in compression.losses)
    return (
        f"{stored}; {metric}against the trained model an output moves by {usual.largest:.2g} of its largest "
        f"value{limit} ({usual.case}; rms {usual.rms:.2g}), at most {worst.largest:.2g} ({worst.case}); "
        f"{flips} decisions (largest entries, integers) changed"
    )


def _largest(losses: tuple[Loss, ...] | list[Loss]) -> Loss:
    nothing = Loss("no case", "", 0.0, 0.0, None, None, None)
    return max(losses, key=lambda loss: loss.largest, default=nothing)
