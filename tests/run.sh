#!/usr/bin/env bash
# The whole test run on a bare machine: packages, environment, format, lint, types, tests.
# `--quick`, for the inner loop: what is installed stays as it is, and slow tests (tests/conftest.py) are left out.
# `--thorough`, for a release: also what repeats a proof for one more model, precision, length or instruction set.
# Further words go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

install() {
  packages=$(grep -v '^#' tests/packages.txt)
  command -v npm >/dev/null || packages="$packages npm"  # some nodejs packages carry it, Debian's does not
  missing=$(for p in $packages; do dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"; done)
  # Python may have come without Debian's help
  python3 -c 'import ensurepip' 2>/dev/null && missing=$(echo "$missing" | grep -v '^python3-venv$' || true)
  if [ -n "$missing" ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
  fi
  [ -x .venv/bin/python ] || python3 -m venv .venv
  # most of what is installed is never imported, and Python compiles what is
  .venv/bin/pip install --quiet --no-compile -c tests/constraints.txt -e ./deploy/runtime -e ".[all,$1]"
}

tier=(-m "not thorough")
case "${1:-}" in
  --quick) shift; tier=(-m "not slow and not thorough"); [ -x .venv/bin/pytest ] || install dev ;;
  --thorough) shift; tier=(); install thorough; .venv/bin/temport runtimes install emx executorch iree litert mnn onnx2fx tract ;;
  *) install dev ;;
esac
.venv/bin/ruff format --check .
.venv/bin/ruff check .
export PYTHONDONTWRITEBYTECODE=  # so that each module is compiled once, and not in every process
types=$(mktemp)
.venv/bin/mypy >"$types" 2>&1 &  # of one core: beside the tests, and told behind them
failed=0
# one process per core, one thread per process
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist worksteal ${tier[@]+"${tier[@]}"} "$@" || failed=1
wait $! || failed=1
cat "$types" && rm "$types"
exit "$failed"
