"""The tiers of the tests: `--quick` leaves out `slow`, and only `--thorough` runs `thorough` (tests/run.sh)."""

from __future__ import annotations

import functools
import gc
import logging
from pathlib import Path

import pytest
import typer.main

from temport.exporter.command import YOUNG

HERE = Path(__file__).parent
SLOW = (
    "bench",
    "deploy",
    "numerics",
    "tensorrt",
    "custom_ops/test_block_linear_attention.py",
    "custom_ops/test_bodies.py",
    "custom_ops/test_builds.py",
    "custom_ops/test_kernels.py",
    "custom_ops/test_online_softmax_attention.py",
    "custom_ops/test_rings.py",
    "custom_ops/test_torch_ops.py",
    "exporter/test_activations.py",
    "exporter/test_architecture_options.py",
    "exporter/test_compressed_weights.py",
    "exporter/test_diff.py",
    "exporter/test_every_architecture.py",
    "exporter/test_faster_ops.py",
    "exporter/test_half_rings_of_streams.py",
    "exporter/test_limit_lengths.py",
    "exporter/test_onnx_files.py",
    "exporter/test_passes_keep_values.py",
    "exporter/test_prune.py",
    "exporter/test_read_attention.py",
    "exporter/test_recognise_attention.py",
    "exporter/test_recognise_block_linear.py",
    "exporter/test_recognise_norm.py",
    "exporter/test_recurrent.py",
    "exporter/test_rounded_activations_export.py",
    "exporter/test_rounded_onnx_files.py",
    "exporter/test_step_models.py",
    "exporter/test_stream_declarations.py",
    "fleet/test_fleet_runs.py",
    "graphs/test_golden_files.py",
    "graphs/test_training.py",
    "native_engine/test_cortex_m.py",
    "native_engine/test_same_bits.py",
    "native_engine/test_wasm.py",
    "native_engine/test_windows.py",
    "parity/test_every_runtime.py",
    "parity/test_faults.py",
    "streaming_graph/test_behind_the_horizon.py",
    "streaming_graph/test_causal_streams.py",
    "streaming_graph/test_streams_of_modules.py",
    "test_package.py",
    "test_trials.py",
)
"""What builds C++ or engines, starts programs, or holds every model or op to all that it is: left out by `--quick`."""


def pytest_configure(config: pytest.Config) -> None:
    gc.set_threshold(YOUNG, 20, 50)
    # an application makes all its commands anew whenever it is called: once is enough for a process
    typer.main.get_command = functools.cache(typer.main.get_command)
    config.addinivalue_line("markers", "slow: left out by `tests/run.sh --quick`")
    config.addinivalue_line(
        "markers", "thorough: repeats what others prove; run by `tests/run.sh --thorough`"
    )
    for name in SLOW:
        assert (HERE / name).exists(), f"tests/{name} is not there any more"


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported stays to the end: no collection walks it
    # pytest listens to each logger that does not propagate, and torch writes whole traces out for whoever listens here
    logging.getLogger("torch.__trace").propagate = True


def pytest_sessionfinish() -> None:
    gc.freeze()  # pytest collects garbage several times before it ends, and nobody needs the memory any more


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {
        path
        for path in {item.path for item in items}
        if any(path.is_relative_to(HERE / name) for name in SLOW)
    }
    for item in items:
        if item.path in slow:
            item.add_marker(pytest.mark.slow)
