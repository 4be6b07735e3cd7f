"""The truth for each case: the torch source in float64, and how far torch itself strays from it.

A half-precision file holds weights that were rounded, and what that costs is no error of a runtime. So there the truth
of a runtime is the graph with its weights as rounded, in float64, and the truth of the graph is the torch source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from temport.exporter.declare.declaration import HALF, Axis, Declaration
from temport.exporter.errors import UserError
from temport.exporter.parity.cases import Case, check_names
from temport.exporter.parity.compare import (
    CEILING,
    CEILING_OF_STEPS,
    EPS,
    EXACT,
    FLOOR_ULPS,
    TORCH_FACTOR,
    bound,
    max_abs,
)
from temport.exporter.parity.conditioning import (
    JITTERS,
    JITTERS_OF_NOISE,
    JITTERS_OF_SENSITIVE,
    amplification,
    jittered,
)
from temport.exporter.parity.decided import EXACT as EXACT_BOUND
from temport.exporter.parity.decided import exact_outputs, undecided
from temport.exporter.parity.other_roundings import costs_of_roundings
from temport.exporter.parity.result import Bound
from temport.exporter.parity.rounding_noise import Limits, Noise
from temport.exporter.parity.steps import DRAWS, decided_otherwise, rounds
from temport.exporter.parity.summed import scales
from temport.exporter.runtimes import ORACLE, resolve
from temport.exporter.runtimes.contract import Arrays, Session
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import Source, TorchSession

WEIGHTS_ULPS = 1
"""Of the scale: what rounding weights may cost where torch's own happen to cost nothing."""


@dataclass(frozen=True)
class Truth:
    """One case with its oracle outputs (float64) and what each output of a runtime may be off.

    limits  half precision: how large errors may be besides the largest
    source  half precision: the truth of the graph before its weights were rounded, judged as float32
    of_file half precision: the outputs are the file's own, in float64, so they say nothing about the file
    undecided  integer and bool outputs: where rounding decides the value, so nobody is judged
    """

    case: Case
    outputs: Arrays
    bounds: dict[str, Bound]
    limits: dict[str, Limits] = field(default_factory=dict)
    source: Truth | None = None
    of_file: bool = False
    undecided: dict[str, np.ndarray] = field(default_factory=dict)

    def allowed_of_file(self, name: str) -> float:
        """How far the file may be from this truth where it is evaluated in float64; inf where nothing can be said."""
        bound = self.bounds[name]
        if bound.allowed == 0:
            return 0.0
        if self.source is not None:
            return np.inf if bound.scale is None else EXACT * bound.scale
        return np.inf if bound.allowed is None else bound.allowed


def find_truths(
    subject: Subject, cases: Sequence[Case], threads: int = 1, rounded: Session | None = None
) -> tuple[Truth, ...]:
    """Run torch in float64 and in the model's precision over every case and its jittered copies.

    rounded  half precision: the graph with its weights as rounded, in float64
    """
    if subject.module is None:
        raise UserError(
            "the source of this model is not at hand, so there is no oracle; "
            "give the module again, or replay the bundle's recorded vectors"
        )
    check_names(cases)
    precision = subject.declaration.precision
    own_type = "float32" if precision in HALF else precision
    with (
        resolve(ORACLE).open(subject, threads) as oracle,
        Source(own_type).open(subject, threads) as torch,
    ):
        steps = rounds(subject.module) or bool(subject.declaration.input_scales)
        truths = tuple(find_truth(case, oracle, torch, own_type, steps) for case in cases)
    for truth in truths:
        check_shapes(subject.declaration, truth)
    if precision not in HALF:
        return truths
    with (
        Source("float64", rounded=precision).open(subject, threads) as oracle,
        Source(precision).open(subject, threads) as torch,
    ):
        halves = tuple(_half_truth(source, oracle, torch, rounded, precision) for source in truths)
    return _with_other_roundings(halves, subject, threads)


def find_truth(case: Case, oracle: Session, torch: Session, precision: str, steps: bool = False) -> Truth:
    """`torch_error` is the worst over the case and its copies, so that one lucky rounding does not rule.

    In a half type more copies say how torch's errors are spread, and the truth has limits made of that. float32 needs
    none: there the least of structural faults is a hundred times the largest error allowed.

    steps  the source rounds what it computes with to integers, or to halves. Where float32 may take another one than
           float64, what comes of it is an error of the source too
    """
    truth = {name: np.asarray(output, order="C") for name, output in oracle.run(case.inputs).items()}
    noise = {name: Noise(output.shape) for name, output in truth.items()}
    copies = JITTERS_OF_NOISE if precision in HALF else JITTERS
    rounded = torch.run(case.inputs)
    exact = exact_outputs(truth)
    others = [{n: rounded[n] for n in exact}]
    errors = _errors(rounded, truth, noise)
    sizes = scales(oracle, case.inputs, truth, errors, precision)
    responses = dict.fromkeys(truth, 0.0)
    for draw in range(JITTERS_OF_SENSITIVE):
        rules = draw < JITTERS or any(_sensitive(errors[n], responses[n], sizes[n], precision) for n in truth)
        if not rules and draw >= copies and (precision not in HALF or all(n.settled for n in noise.values())):
            break
        inputs = jittered(case, draw, precision)
        moved = oracle.run(inputs)
        rounded = torch.run(inputs)
        others += [{n: run[n] for n in exact} for run in (moved, rounded)]
        found = _errors(rounded, moved, noise)
        if rules:
            errors = _worse(errors, found)
            responses = _worse(responses, _distances(moved, truth))
    for draw in range(DRAWS if steps else 0):
        assert isinstance(oracle, TorchSession)
        with decided_otherwise(oracle.module, draw):
            moved = oracle.run(case.inputs)
        others.append({n: moved[n] for n in exact})
        errors = _worse(errors, _distances(moved, truth))
    limits = {}
    if precision in HALF:
        limits = {n: noise[n].limits(_sized(o, sizes[n]), EPS[precision]) for n, o in truth.items()}
    bounds = {
        name: bound(
            output,
            errors[name],
            amplification(responses[name], sizes[name], precision),
            precision,
            limits.get(name),
            sizes[name],
            CEILING_OF_STEPS if steps else CEILING[precision],
        )
        for name, output in truth.items()
    }
    return Truth(
        case,
        truth,
        bounds | dict.fromkeys(exact, EXACT_BOUND),
        {n: limit for n, limit in limits.items() if bounds[n].judgeable and n not in exact},
        undecided=undecided(truth, others),
    )


def check_shapes(declaration: Declaration, truth: Truth) -> None:
    """UserError where an output has another shape than the declaration says for the sizes of this case."""
    sizes = {
        axis.name: size
        for spec in declaration.inputs
        for axis, size in zip(spec.shape, truth.case.inputs[spec.name].shape, strict=True)
        if isinstance(axis, Axis)
    }
    for spec in declaration.outputs:
        told, seen = spec.at(**sizes), truth.outputs[spec.name].shape
        if told != seen:
            raise UserError(
                f"output {spec.name} is {list(seen)} in case {truth.case.name}, and its axes were declared as "
                f"{', '.join(map(str, spec.onnx_shape()))}, which says {list(told)}; fix the sizes that move"
            )


def _half_truth(
    source: Truth, oracle: Session, torch: Session, rounded: Session | None, precision: str
) -> Truth:
    """The truth of a half-precision runtime.

    Errors of torch are measured against torch with its own weights rounded, so what rounding the weights costs is in
    no bound; it is a number of its own, and may be what it costs torch.
    """
    truth = find_truth(source.case, oracle, torch, precision)
    outputs = _graph_outputs(truth, rounded)
    exact = exact_outputs(truth.outputs)
    bounds = {}
    for name, limit in truth.bounds.items():
        cost = max_abs(truth.outputs[name], source.outputs[name])
        allowed = _allowed_weights(cost, source.bounds[name].scale, precision)
        if allowed is None or name in exact:
            bounds[name] = limit
            continue
        moved = _finite_distance(outputs[name], source.outputs[name])
        bounds[name] = replace(limit, weights=moved, allowed_weights=allowed)
    open_ones = undecided(outputs, [truth.outputs, source.outputs])
    for name, mask in truth.undecided.items():
        open_ones[name] = open_ones[name] | mask if name in open_ones else mask
    return Truth(source.case, outputs, bounds, truth.limits, source, undecided=open_ones)


def _with_other_roundings(truths: Sequence[Truth], subject: Subject, threads: int) -> tuple[Truth, ...]:
    """The same truths, where rounding may cost what it costs the source in any of many draws.

    Draws can only allow more, so they are made where one rounding of the source does not allow what the graph's costs.
    """
    doubtful = {
        truth.case.name: (truth.case, truth.source.outputs)
        for truth in truths
        if truth.source is not None and any(_costs_more(bound) for bound in truth.bounds.values())
    }
    costs = costs_of_roundings(subject, doubtful, threads) if doubtful else {}
    precision = subject.declaration.precision
    return tuple(_allowing(truth, costs.get(truth.case.name, {}), precision) for truth in truths)


def _allowing(truth: Truth, costs: dict[str, float], precision: str) -> Truth:
    """`truth` where rounding may cost as much as `costs` says; a cost that is not finite judges nobody."""
    bounds = dict(truth.bounds)
    for name, cost in costs.items():
        own = bounds[name].allowed_weights
        if own is not None and truth.source is not None:
            allowed = _allowed_weights(cost, truth.source.bounds[name].scale, precision)
            bounds[name] = replace(
                bounds[name], allowed_weights=None if allowed is None else max(own, allowed)
            )
    return replace(truth, bounds=bounds)


def _allowed_weights(cost: float, scale: float | None, precision: str) -> float | None:
    """What rounding the graph's weights may cost where it costs the source this; None where that is not finite."""
    if scale is None or not np.isfinite(cost):
        return None
    return TORCH_FACTOR * cost + WEIGHTS_ULPS * EPS[precision] * scale


def _costs_more(bound: Bound) -> bool:
    return bound.allowed_weights is not None and (bound.weights or 0.0) > bound.allowed_weights


def _graph_outputs(truth: Truth, rounded: Session | None) -> Arrays:
    """What the rounded graph gives; torch's own where there is no graph, or none that can be evaluated."""
    if rounded is None:
        return truth.outputs
    try:
        outputs = rounded.run(truth.case.inputs)
    except Exception:  # the check of the graph says so; a runtime may still be right
        return truth.outputs
    fits = all(outputs[name].shape == output.shape for name, output in truth.outputs.items())
    return outputs if fits else truth.outputs


def _sized(oracle: np.ndarray, scale: float) -> np.ndarray:
    """The oracle; where it is 0 and what was summed is not, that size everywhere."""
    return oracle if scale <= np.abs(oracle).max(initial=0.0) else np.full(oracle.shape, scale)


def _finite_distance(actual: np.ndarray, expected: np.ndarray) -> float | None:
    distance = max_abs(actual, expected)
    return distance if np.isfinite(distance) else None


def _sensitive(torch_error: float, response: float, scale: float, precision: str) -> bool:
    """Torch's error, or what the output makes of its inputs' rounding, is above the bound's fixed floor and below the
    ceiling: more copies can change what is allowed.
    """
    floor = FLOOR_ULPS * EPS[precision] * scale
    return floor < max(torch_error, response) and torch_error <= CEILING[precision] * scale


def _errors(actual: Arrays, expected: Arrays, noise: dict[str, Noise]) -> dict[str, float]:
    """The largest error of each output; all of them go into `noise`."""
    with np.errstate(invalid="ignore", over="ignore"):
        for name, output in expected.items():
            noise[name].add(actual[name].astype(np.float64) - output)
    return _distances(actual, expected)


def _worse(a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    return {name: float(np.maximum(a[name], b[name])) for name in a}


def _distances(actual: Arrays, expected: Arrays) -> dict[str, float]:
    return {name: max_abs(actual[name], expected[name]) for name in expected}
