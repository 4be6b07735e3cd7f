"""What is put to the test: one exported model together with everything a runtime may need to run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from temport.exporter.declare.declaration import Declaration

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Subject:
    """`module` is the torch source of the model (float32, eval mode) or None where it cannot be rebuilt.

    Engines and whatever else a runtime needs lie beside `model_path`.
    """

    declaration: Declaration
    model_path: Path
    module: nn.Module | None = None
