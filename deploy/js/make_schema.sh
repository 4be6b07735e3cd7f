#!/bin/sh
# Writes lib/manifest_schema.mjs: a browser is served this package alone, so the one schema travels in it as a module.
cd "$(dirname "$0")" || exit 1
{
  echo "// exporter/bundle/manifest.schema.json as a module; deploy/js/make_schema.sh writes it and a test compares the two."
  printf 'export default '
  cat ../../exporter/bundle/manifest.schema.json
} > lib/manifest_schema.mjs
