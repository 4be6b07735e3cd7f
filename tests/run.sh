#!/usr/bin/env bash
# The whole test run on a bare machine: environment, format, lint, types, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install --quiet -c tests/constraints.txt -e '.[all,dev]'
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
# one process per core, one thread per process
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist worksteal "$@"
