"""Averages over the last frames."""

from __future__ import annotations

from temport.exporter.native.call import Call, Form


def moving_average(call: Call) -> None:
    channels, taps = call.attribute("channels"), call.attribute("taps")
    weights = ", ".join(call.weight(call.constant(index).reshape(channels, taps).T) for index in (1, 2))
    x, y = call.input(0), call.output()
    batch, length, width = x.shape
    recent = call.plan.room("float", length * width)
    call.line(
        f"moving_average<{channels}, {taps}>({batch}, {length}, {{{x.code}, {weights}, {y.code}}}, {recent});"
    )


FORMS: dict[str, Form] = {"MovingAverage": moving_average}
