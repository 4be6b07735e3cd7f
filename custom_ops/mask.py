"""The one mask predicate: constants in a graph, tiles a kernel skips and the picture come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Rule(Protocol):
    """What every mask rule offers: the pure predicate, its T x S table and a name for that table."""

    @property
    def label(self) -> str: ...

    def allows(self, q_pos: Any, k_pos: Any) -> Any: ...

    def array(self, T: int, S: int) -> npt.NDArray[np.bool_]: ...

    def svg(self, T: int, S: int, *, size: int = 240) -> str: ...


class Picture:
    """A rule that can draw itself."""

    def svg(self: Rule, T: int, S: int, *, size: int = 240) -> str:
        """The T x S table as one inline SVG, rows downwards, at most `size` pixels on the longer side.

        Keys that a query may see come in runs, and a run is one rectangle; where rows are thinner than a pixel,
        one row stands for its neighbours.
        """
        unit, step = size / max(T, S, 1), max(1, -(-T // size))
        width, height = S * unit, T * unit
        # the first and last key of each run are where a row, framed by False, changes
        changes = np.diff(np.pad(self.array(T, S), ((0, 0), (1, 1))).astype(np.int8), axis=1)
        bars = "".join(
            f'<rect x="{lo * unit:.2f}" y="{t * unit:.2f}" width="{(hi - lo) * unit:.2f}" '
            f'height="{min(step, T - t) * unit:.2f}"/>'
            for t, row in zip(range(0, T, step), changes[::step], strict=True)
            for lo, hi in zip(np.flatnonzero(row == 1), np.flatnonzero(row == -1), strict=True)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.2f} {height:.2f}" '
            f'width="{width:.0f}" height="{height:.0f}"><title>mask, {T} queries by {S} keys</title>'
            f'<rect width="100%" height="100%" fill="#eee"/><g fill="#36c">{bars}</g></svg>'
        )


@dataclass(frozen=True)
class MaskRule(Picture):
    """Which keys a query may attend, as a predicate on positions.

    causal         keys later than the query are excluded
    window         W > 0: exactly W keys including the query's own position, `i - W < j <= i` (so a window is
                   causal by itself); 0: no limit
    query_offset   query row t stands at key position `t + query_offset`; None is S - T, which makes the last
                   query the newest key (bottom-right alignment)
    """

    causal: bool = False
    window: int = 0
    query_offset: int | None = None

    def __post_init__(self) -> None:
        if self.window < 0:
            raise ValueError(
                f"MaskRule: window is {self.window}; it must be 0 (no limit) or a number of keys."
            )

    @property
    def label(self) -> str:
        """The rule as a word that can stand in an identifier."""
        offset = "end" if self.query_offset is None else str(self.query_offset).replace("-", "m")
        reach = f"window{self.window}" if self.window else "causal" if self.causal else "all"
        return f"{reach}_at_{offset}"

    @property
    def unrestricted(self) -> bool:
        """True when every query may see every key."""
        return not self.causal and self.window == 0

    def allows(self, q_pos: Any, k_pos: Any) -> Any:
        """Whether the query at key position `q_pos` may see key `k_pos`; integers or broadcasting arrays."""
        if self.window > 0:
            return (k_pos <= q_pos) & (k_pos > q_pos - self.window)
        if self.causal:
            return k_pos <= q_pos
        return k_pos == k_pos  # True of the operands' broadcast kind

    def offset(self, T: int, S: int) -> int:
        """Key position of query row 0 for T queries and S keys."""
        return S - T if self.query_offset is None else self.query_offset

    def array(self, T: int, S: int) -> npt.NDArray[np.bool_]:
        """The predicate as a bool table `[T, S]`, True = attend."""
        rows = np.arange(T)[:, None] + self.offset(T, S)
        return np.array(np.broadcast_to(self.allows(rows, np.arange(S)[None, :]), (T, S)))

    def key_range(self, t_lo: int, t_hi: int, T: int, S: int) -> tuple[int, int]:
        """Hull `[lo, hi)`, inside [0, S), of the keys that any query row in [t_lo, t_hi) may see."""
        lo, hi = 0, S
        if self.window > 0:
            lo = t_lo + self.offset(T, S) - self.window + 1
        if not self.unrestricted:
            hi = t_hi + self.offset(T, S)
        lo = min(max(lo, 0), S)
        return lo, max(lo, min(hi, S))

    def admits_all(self, t_lo: int, t_hi: int, k_lo: int, k_hi: int, T: int, S: int) -> bool:
        """Whether each query row in [t_lo, t_hi) may see each key in [k_lo, k_hi): no mask is needed."""
        # Visible keys form an interval that moves with the row: the last row has the largest lower end.
        return (
            self.key_range(t_hi - 1, t_hi, T, S)[0] <= k_lo
            and k_hi <= self.key_range(t_lo, t_lo + 1, T, S)[1]
        )

    def has_empty_rows(self, T: int, S: int) -> bool:
        """Whether some query row sees no key at all (its output is 0)."""
        if T == 0:
            return False
        # Visible keys move monotonically with the row, so the first and last rows are the extremes.
        return any(lo == hi for lo, hi in (self.key_range(0, 1, T, S), self.key_range(T - 1, T, T, S)))


@dataclass(frozen=True)
class BlockRule(Picture):
    """Masks of block-linear attention over blocks of `block_size` positions.

    earlier_blocks=False   keys of the query's own block, up to the query (the intra-block softmax)
    earlier_blocks=True    keys of every earlier block (the inter-block linear part)
    """

    block_size: int
    earlier_blocks: bool

    @property
    def label(self) -> str:
        """The rule as a word that can stand in an identifier."""
        return f"{'before' if self.earlier_blocks else 'inside'}_block{self.block_size}"

    def allows(self, q_pos: Any, k_pos: Any) -> Any:
        """Whether query `q_pos` may see key `k_pos`; integers or broadcasting arrays."""
        if self.earlier_blocks:
            return k_pos // self.block_size < q_pos // self.block_size
        return (k_pos // self.block_size == q_pos // self.block_size) & (k_pos <= q_pos)

    def array(self, T: int, S: int) -> npt.NDArray[np.bool_]:
        """The predicate as a bool table `[T, S]`, True = attend; row t stands at position t."""
        return np.asarray(self.allows(np.arange(T)[:, None], np.arange(S)[None, :]))
