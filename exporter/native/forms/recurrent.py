"""Recurrent layers."""

from __future__ import annotations

import numpy as np

from temport.exporter.native.blob import teams
from temport.exporter.native.plan import Call, Form
from temport.exporter.native.sizes import fixed


def fused_lstm(call: Call) -> None:
    _recurrence(call, "LstmCell", gates=4, summed=4)


def fused_gru(call: Call) -> None:
    _recurrence(call, "GruCell", gates=3, summed=2)


def _recurrence(call: Call, cell: str, gates: int, summed: int) -> None:
    """`summed`: of how many gates the two biases are one sum, as custom_ops/native/recurrent_layer.h has it."""
    hidden, width = call.attribute("hidden_size"), call.plan.isa.panel
    w, r = call.constant(1)[0], call.constant(2)[0]
    of_x, of_h = np.split(call.constant(3)[0] if call.has(3) else np.zeros(2 * gates * hidden, np.float32), 2)
    together = np.arange(gates * hidden) < summed * hidden
    added, apart = np.where(together, of_x + of_h, of_x), np.where(together, 0, of_h)

    def packed(weight: np.ndarray) -> str:
        return call.weight(teams(weight, gates, width))

    x = call.input(0)
    frames, batch = x.shape[:2]
    team = -(-hidden // width) * width
    most = (frames.most * gates + gates + 1) * team * batch.most
    scratch = call.plan.room("float", fixed(most))
    y = call.output(0)
    kept = 1 if cell == "LstmCell" else 0  # of the states, the one that the cell keeps apart from y
    lasts = [call.output(1 + i).code if call.wants(1 + i) else "nullptr" for i in range(1 + kept)]
    arrays = [
        x.code,
        packed(w),
        packed(r),
        packed(added[:, None]),
        "nullptr" if summed == gates else packed(apart[:, None]),
        call.pointer(4),
        "nullptr",
        "nullptr",
        y.code,
    ]
    call.line(
        f"recurrence<{cell}, {w.shape[1]}, {hidden}>({frames}, {batch}, {{{', '.join(arrays)}}}, "
        f"{call.pointer(4 + kept)}, {lasts[kept]}, {scratch});"
    )
    if kept and lasts[0] != "nullptr":
        size = batch * fixed(hidden)
        call.line(f"copy({y.code} + ({frames} - 1) * {size}, {size}, {lasts[0]});")


FORMS: dict[str, Form] = {"FusedLSTM": fused_lstm, "FusedGRU": fused_gru}
