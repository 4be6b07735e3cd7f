"""report.json: written and read only through its JSON schema."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from temport.exporter.errors import UserError
from temport.exporter.parity.result import (
    Bound,
    CaseRow,
    Compression,
    Divergence,
    Loss,
    MaskPicture,
    OutputRow,
    ParityReport,
    PassRow,
    ResultRow,
    RoundedInput,
    RuntimeRow,
    StoredWeight,
    StreamRow,
)

SCHEMA = Path(__file__).parent / "report.schema.json"


def to_json(report: ParityReport) -> dict[str, Any]:
    """The report as plain JSON values, checked against the schema."""
    data: dict[str, Any] = json.loads(json.dumps(asdict(report), allow_nan=False))
    _check(data, None)
    return data


def write_json(report: ParityReport, path: Path) -> None:
    path.write_text(json.dumps(to_json(report), indent=1) + "\n")


def read_json(path: Path) -> ParityReport:
    """The report in `path`; UserError where it is not one."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a parity report: {error}") from error
    _check(data, None)
    return ParityReport(
        **{
            **data,
            "cases": tuple(map(_case_row, data["cases"])),
            "runtimes": tuple(map(runtime_row, data["runtimes"])),
            "checks": tuple(map(runtime_row, data.get("checks", []))),
            "passes": tuple(PassRow(**step) for step in data.get("passes", [])),
            "masks": tuple(MaskPicture(**mask) for mask in data["masks"]),
            "reasons": tuple(data["reasons"]),
            "warnings": tuple(data["warnings"]),
            "found": tuple(data.get("found", [])),
            "compression": _compression(data.get("compression")),
            "stream": _stream(data.get("stream")),
        }
    )


def runtime_row(data: dict[str, Any]) -> RuntimeRow:
    """One entry of `runtimes`, e.g. from another program; UserError where it does not fit the schema."""
    _check(data, "runtime")
    divergence = data["divergence"]
    return RuntimeRow(
        **{
            **data,
            "results": tuple(map(_result_row, data["results"])),
            "divergence": Divergence(**divergence) if divergence else None,
        }
    )


def _compression(data: dict[str, Any] | None) -> Compression | None:
    if data is None:
        return None
    return Compression(
        data["dtype"],
        data["max_loss"],
        tuple(data["judged"]),
        tuple(StoredWeight(**{**row, "shape": tuple(row["shape"])}) for row in data["weights"]),
        tuple(Loss(**{**row, "windows": tuple(row["windows"])}) for row in data["losses"]),
        data.get("metric"),
        data.get("measured", {}),
        tuple(RoundedInput(**row) for row in data.get("inputs", ())),
        data.get("rings", "float32"),
        tuple(data.get("absorbed", ())),
    )


def _stream(data: dict[str, Any] | None) -> StreamRow | None:
    return None if data is None else StreamRow(**{**data, "static": tuple(data["static"])})


def _case_row(data: dict[str, Any]) -> CaseRow:
    shapes = {name: tuple(shape) for name, shape in data["shapes"].items()}
    bounds = {name: Bound(**bound) for name, bound in data["bounds"].items()}
    return CaseRow(data["name"], data["kind"], shapes, bounds)


def _result_row(data: dict[str, Any]) -> ResultRow:
    outputs = {
        name: OutputRow(**{**row, "quantiles": tuple(row["quantiles"])})
        for name, row in data["outputs"].items()
    }
    return ResultRow(data["case"], data["verdict"], outputs, data.get("outputs_sha256", ""))


def _check(data: Any, definition: str | None) -> None:
    from jsonschema import Draft202012Validator

    schema = _schema()
    if definition is not None:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    error = next(iter(Draft202012Validator(schema).iter_errors(data)), None)
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the top"
        raise UserError(f"this is not a parity report: at {place}, {error.message[:200]}")


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text())
    return schema
