"""Fixtures of the exporter's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.traces import one_trace_for_each_model


@pytest.fixture
def one_trace() -> Iterator[None]:
    """For a test that builds one model in several ways."""
    with one_trace_for_each_model():
        yield
