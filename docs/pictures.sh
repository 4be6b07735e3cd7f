#!/usr/bin/env bash
# The pictures of the README and of docs/: two drawings, and the report of a real export as chromium shows it.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" docs/pictures/draw.py
"$python" -c 'import sys; from temport.exporter.cli import main; sys.argv[0] = "temport"; main()' \
  export --arch mega --seq 60 --set embed_dim=287 --out "$work/mega-seq60"
chromium --headless --no-sandbox --hide-scrollbars --user-data-dir="$work/profile" --window-size=1180,1110 \
  --screenshot="$work/report.png" "file://$work/mega-seq60/report.html" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
size=$(stat -c %s "$work/report.png")
[ "$size" -lt 200000 ] || { echo "report.png has $size bytes; a README's picture has less than 200000" >&2; exit 1; }
mv "$work/report.png" docs/pictures/report.png
