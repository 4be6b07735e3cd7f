"""Export three models of public packages, and compare every runtime with the package's own call.

    .venv/bin/python examples/public_models/compare.py

Prints the table that README.md holds; exit code 1 where a model fails its parity gate, a runtime is further from the
package than `CLOSE`, or there is no C++ runner.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import temport
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.parity.result import NOT_RUN
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject

HERE = Path(__file__).parent
FAMILIES = {
    "patchtst": "PatchTST, transformers",
    "parakeet": "FastConformer encoder of Parakeet, transformers",
    "recurrent_ppo": "policy of RecurrentPPO, sb3-contrib",
}
CLOSE = 1e-5
"""Of the largest value: how far two float32 computations of these models may be apart."""
ATTENTION = "OnlineSoftmaxAttention"


def exported(name: str) -> dict[str, str]:
    """The rows of one model: its size, its graph, each runtime with its verdict and how far the package's own call is.

    SystemExit where that is too far, or the C++ runner is not there.
    """
    result = temport.export(config=HERE / f"{name}.toml")
    model = own_model(name, result.path)
    before, after = (result.report.op_counts[stage] for stage in ("traced", "exported"))
    attention = after.get(f"temport::{ATTENTION}", 0)
    found = differences(
        name, result.path, model, [r.name for r in result.report.runtimes if r.verdict != NOT_RUN]
    )
    if not result.passed or max(found.values()) > CLOSE or "cpp" not in found:
        raise SystemExit(f"{name}: {result.report.verdict} {result.report.reasons}, from the package {found}")
    return {
        "model": FAMILIES[name],
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "nodes, traced and exported": f"{sum(before.values())}, {sum(after.values())}",
        "attention that is our op": f"{attention} of {attention + after.get('Softmax', 0)}",
        **{
            f"`{row.name}`": f"{row.verdict}, {found[row.name]:.1e}" if row.name in found else row.verdict
            for row in result.report.runtimes
        },
    }


def own_model(name: str, bundle: Path) -> Any:
    """The package's model with the weights of the bundle."""
    model = importlib.import_module(name).make().eval()
    model.load_state_dict(load_file(bundle / "weights.safetensors"))
    return model


def differences(name: str, path: Path, model: Any, runtimes: list[str]) -> dict[str, float]:
    bundle, found = open_bundle(path), {}
    for runtime in runtimes:
        if runtime == "torch_float32":  # it is the package's own call
            continue
        with runtime_named(runtime).open(Subject(bundle.declaration, bundle.model_path)) as session:
            found[runtime] = importlib.import_module(name).difference(model, session.run)
    return found


def main() -> None:
    sys.path.insert(0, str(HERE))
    models = [exported(name) for name in FAMILIES]
    for line, row in enumerate(models[0]):
        print("|", " | ".join([row, *(model[row] for model in models)]), "|")
        if line == 0:
            print("|---" * (1 + len(models)) + "|")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
