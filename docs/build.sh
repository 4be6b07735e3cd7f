#!/usr/bin/env bash
# The documentation as HTML: build/docs/index.html. Every warning is an error. Needs `pip install -e '.[docs]'`.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m sphinx -q -W --keep-going -E -b html docs build/docs
