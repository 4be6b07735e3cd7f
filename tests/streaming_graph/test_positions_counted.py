"""Sines of positions stay exact for a million frames, whether a module counts its positions or has them in a table."""

import math

import numpy as np
import onnx_ir as ir
import pytest
import torch
from streaming_graph.step_of import differences, graph, integers

from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming.positions import AFTER_TABLE, BEHIND_TABLE
from temport.exporter.streaming.read_waves import read_waves
from temport.exporter.streaming.walk import StepGraph, step_graph
from temport.exporter.streaming.waves import AGAIN, COUNTED_FRAMES, RADIX, Waves
from temport.graphs.position import sinusoid

WIDTH = 4
SPEED = 1 / (1 + 0.01 * np.arange(WIDTH))
ONE = {"zero": integers(0), "one": integers(1), "n0": np.array(0, np.int64), "n1": np.array(1, np.int64)}
X = "f (float[batch, seq, 4] x) => (float[batch, seq, 4] y) {n = Shape <start = 1, end = 2> (x) "
TABLE = X + "p = Slice (table, zero, n, zero) y = Add (x, p)}"
COUNTED = X.replace("{", "{{") + (
    "e = Squeeze (n) r = Range (n0, e, n1) t = Cast <to = 1> (r) u = Unsqueeze (t, one) a = {angle} "
    "p = {wave} (a) y = Add (x, p)}}"
)


def vaswani(rows: int, width: int, base: float = 10000.0) -> torch.Tensor:
    """The usual buffer, computed in float32."""
    table = torch.zeros(rows, width)
    angle = torch.arange(rows).float()[:, None] * torch.exp(
        torch.arange(0, width, 2).float() * (-math.log(base) / width)
    )
    table[:, 0::2], table[:, 1::2] = torch.sin(angle), torch.cos(angle)[:, : width // 2]
    return table


def halves(rows: int, width: int) -> torch.Tensor:
    """Sines beside cosines, the slowest at exactly 1 / 10000, as tensor2tensor has them."""
    speeds = torch.exp(torch.arange(width // 2).double() * (-math.log(10000.0) / (width // 2 - 1)))
    angle = torch.arange(rows).double()[:, None] * speeds
    return torch.cat((torch.sin(angle), torch.cos(angle)), 1).float()


KNOWN = {
    "ours": (sinusoid(1024, 256, 0.01).float(), True),
    "ours, another scale": (sinusoid(60, 7, 0.125).float(), True),
    "one column": (sinusoid(60, 1, 0.01).float(), True),
    "the usual buffer": (vaswani(1024, 64), False),
    "of an odd width": (vaswani(60, 7), False),
    "of another base and height": (0.3 * vaswani(5000, 16, 500.0), False),
    "halves": (halves(300, 16), True),
}


@pytest.mark.parametrize("table, exact", KNOWN.values(), ids=list(KNOWN))
def test_a_table_is_known_by_its_numbers(table: torch.Tensor, exact: bool) -> None:
    found = read_waves(table.numpy())
    assert found is not None and found[1] == exact
    off = np.abs(found[0].at(np.arange(len(table))) - table.numpy())
    assert off.max() <= (2.0**-23 if exact else 1e-6 * len(table))


def other(rows: int, change: str) -> np.ndarray:
    table = vaswani(rows, 16).numpy()
    match change:
        case "one number":
            table[700, 3] += 1e-3
        case "trained":
            table += np.random.default_rng(0).normal(0, 1e-4, table.shape).astype(np.float32)
        case "a base that is nowhere said":
            table = vaswani(rows, 16, 10000.7).numpy()
        case "two columns change places":
            table = table[:, [2, 1, 0, *range(3, 16)]]
        case "trained, but for the first row":
            table[1:] += np.random.default_rng(0).normal(0, 1e-5, table[1:].shape).astype(np.float32)
        case "other sines from row 600 on":
            table[600:] = table[599::-1][: rows - 600]
        case "from position 1 on":
            table = table[1:]
        case "drawn":
            table = np.random.default_rng(0).standard_normal(table.shape).astype(np.float32)
    return table


@pytest.mark.parametrize(
    "change",
    [
        "one number",
        "trained",
        "trained, but for the first row",
        "other sines from row 600 on",
        "a base that is nowhere said",
        "two columns change places",
        "from position 1 on",
        "drawn",
    ],
)
def test_what_only_looks_like_it_is_left_alone(change: str) -> None:
    assert read_waves(other(1024, "none")) is not None
    assert read_waves(other(1024, change)) is None


@pytest.mark.parametrize("start", [0, RADIX - 2, RADIX**2 - 2, 1_000_000, COUNTED_FRAMES - 4])
@pytest.mark.parametrize("dtype, units", [(np.float64, 0), (np.float32, 4)], ids=str)
def test_digits_against_the_whole_angle(start: int, dtype: type, units: int) -> None:
    """Four products of three factors, each rounded: within 4 units of float32 at 1. In float64 both sides are as good
    as the angle itself, which is rounded to eps * position.
    """
    waves = Waves(1 / (1 + 0.01 * np.arange(16)), np.linspace(0, 3, 16))
    positions = start + np.arange(4)
    digits = (positions[:, None] // RADIX ** np.arange(3)) % RADIX + RADIX * np.arange(3)
    given = waves.factors().astype(dtype)[digits].prod(1).sum(1)
    bound = units * np.finfo(np.float32).eps + 4 * 2.0**-52 * (4 + start)
    assert np.abs(given - waves.at(positions)).max() <= bound


def stream_of(text: str, weights: dict[str, np.ndarray]) -> StepGraph:
    model, declaration = graph(text, weights)
    made = step_graph(model, declaration, 40)
    assert max(differences(model, declaration, made).values()) < 1e-6
    return made


def at(made: StepGraph, position: int) -> np.ndarray:
    """What is added at a position, by a state that says how many frames came before."""
    one = Float64Graph(ir.to_proto(made.model))
    return one.run({"x": np.zeros((1, 1, WIDTH)), "state.frames": np.array([[position]])})["y"][0]


ROUNDED = SPEED.astype(np.float32).astype(np.float64)  # float32 weights, of which the truth is made
ANGLES = {
    "divided": ("Div (u, weights)", "Sin", ROUNDED, 1 / ROUNDED, 0.0),
    "multiplied": ("Mul (weights, u)", "Cos", ROUNDED, ROUNDED, np.pi / 2),
    "moved": ("Add (u, weights)", "Sin", np.arange(4), np.ones(4), np.arange(4.0)),
}


@pytest.mark.parametrize("angle, wave, weights, speed, phase", ANGLES.values(), ids=list(ANGLES))
def test_counted_positions_after_a_million_frames(angle, wave, weights, speed, phase) -> None:
    made = stream_of(COUNTED.format(angle=angle, wave=wave), ONE | {"weights": weights.astype(np.float32)})
    assert made.limits == ((COUNTED_FRAMES, AGAIN),)
    for position in (3, 1_000_000):
        assert np.abs(at(made, position) - np.sin(position * speed + phase)).max() < position * 1e-13 + 1e-6
    assert np.array_equal(at(made, COUNTED_FRAMES + 5), at(made, 5))


def test_a_table_goes_on_where_it_ends() -> None:
    exact = stream_of(TABLE, ONE | {"table": sinusoid(40, WIDTH, 0.01).float().numpy()})
    assert exact.limits == ((COUNTED_FRAMES, AGAIN),)
    assert np.abs(at(exact, 1_000_000) - np.sin(1_000_000 * SPEED)).max() < 1e-6
    # speeds that are rounded, as float32 rounds them for wide tables
    speed, phase = 10000.0 ** -(np.arange(WIDTH) // 2 / 2), np.arange(WIDTH) % 2 * np.pi / 2
    table = Waves(speed * (1 + 4e-7), phase).at(np.arange(64)).astype(np.float32)
    rounded = stream_of(TABLE, ONE | {"table": table})
    assert rounded.limits == ((64, BEHIND_TABLE), (COUNTED_FRAMES, AGAIN))
    assert np.array_equal(at(rounded, 63), table[63])
    for position in (64, 1_000_000):
        assert np.abs(at(rounded, position) - np.sin(position * speed + phase)).max() < 1e-6


def test_a_learned_table_ends() -> None:
    table = other(40, "drawn")[:, :WIDTH]
    made = stream_of(TABLE, ONE | {"table": table})
    assert made.limits == ((40, AFTER_TABLE),)
    assert np.array_equal(at(made, 39), table[-1])


def test_a_learned_table_is_taken_to_its_end() -> None:
    """Longer than any sequence that was looked at."""
    table = other(64, "drawn")[:, :WIDTH]
    made = stream_of(TABLE, ONE | {"table": table})
    assert made.limits == ((64, AFTER_TABLE),)
    assert np.array_equal(at(made, 63), table[63])
