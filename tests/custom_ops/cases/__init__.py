"""The tables by op: `cases/<folder of the op>.py`, whose `CASES` every suite here runs."""

from __future__ import annotations

import importlib
from pathlib import Path

from case import OpCases

from temport.custom_ops.table import FOLDERS


def _table(folder: str) -> OpCases:
    file = Path(__file__).parent / f"{folder}.py"
    assert file.is_file(), f"{folder} has no cases yet: write tests/custom_ops/cases/{folder}.py"
    return importlib.import_module(f"cases.{folder}").CASES


TABLES: dict[str, OpCases] = {table.op.name: table for table in map(_table, FOLDERS)}
