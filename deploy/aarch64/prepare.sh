#!/usr/bin/env bash
# Builds what runs on 64-bit ARM Linux: temport-run, the op library, and ONNX Runtime's own library from its wheel.
# Needs g++-aarch64-linux-gnu, cmake, and the Python that temport is installed in ($PYTHON, default this checkout's
# .venv): the ONNX Runtime for ARM is of the same version as there. Everything lands in build/. $RUNNER_FLAGS and
# $OPS_FLAGS are those of the compiler, default -O3; $RUNNER_PRESET=aarch64-quick builds the runner with Clang, which is quicker.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-$here/../../.venv/bin/python}
if ! version=$("$python" -c 'import importlib.metadata as m; print(m.version("onnxruntime"))' 2>/dev/null); then
  echo "error: $python has no onnxruntime; set PYTHON to the Python that temport is installed in" >&2
  exit 2
fi
jobs=${JOBS:-2}
out=$here/build
mkdir -p "$out"

preset=${RUNNER_PRESET:-aarch64}
(cd "$here/../cpp" && cmake --preset "$preset" -DCMAKE_CXX_FLAGS_RELEASE="${RUNNER_FLAGS:--O3 -DNDEBUG}" &&
  cmake --build --preset "$preset" -j"$jobs" --target temport-run)
built=$here/../cpp/build/$preset/temport-run
cmp -s "$built" "$out/temport-run" || cp --remove-destination "$built" "$out/"  # another preset's may be newer and is not it

(cd "$here/../../custom_ops/native" &&
  cmake --preset aarch64 -B "$out/ops" ${OPS_FLAGS:+-DCMAKE_BUILD_TYPE=Chosen "-DCMAKE_CXX_FLAGS_CHOSEN=$OPS_FLAGS"} &&
  cmake --build "$out/ops" -j"$jobs")
cp -u --remove-destination "$out/ops/libtemport_ops.so" "$out/"

if [ ! -f "$out/libonnxruntime.so.$version" ]; then
  "$python" -m pip download --quiet --no-deps --only-binary=:all: --platform manylinux_2_28_aarch64 \
    --dest "$out/wheel" "onnxruntime==$version"
  "$python" - "$out" "$version" <<'EOF'
import sys, zipfile
from pathlib import Path
out, version = Path(sys.argv[1]), sys.argv[2]
(wheel,) = (out / "wheel").glob(f"onnxruntime-{version}-*aarch64.whl")
name = f"libonnxruntime.so.{version}"
(out / name).write_bytes(zipfile.ZipFile(wheel).read(f"onnxruntime/capi/{name}"))
EOF
  rm -r "$out/wheel"
fi
ln -sf "libonnxruntime.so.$version" "$out/libonnxruntime.so"
