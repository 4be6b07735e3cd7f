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
  # what is never imported need not be compiled: it is two thirds of an installation's time
  .venv/bin/pip install --quiet --no-compile -c tests/constraints.txt -e ./deploy/runtime -e ".[all,$1]"
}

tier=(-m "not thorough")
case "${1:-}" in
  --quick) shift; tier=(-m "not slow and not thorough"); [ -x .venv/bin/pytest ] || install dev ;;
  --thorough) shift; tier=(); install thorough ;;
  *) install dev ;;
esac
.venv/bin/ruff format --check .
.venv/bin/ruff check .
# beside the tests, where these wait for a browser or a compiler
nice -n 19 .venv/bin/mypy & types=$!
# one process per core, one thread per process
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist worksteal ${tier[@]+"${tier[@]}"} "$@" || failed=$?
wait "$types" || failed=$?
exit "${failed:-0}"
