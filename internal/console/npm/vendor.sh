#!/usr/bin/env bash
# Copies what the console loads out of the npm packages of package-lock.json, unchanged, and axe-core for its
# tests. Versions change in package.json: run "npm install --package-lock-only", then this, mend LICENSES.txt,
# run "go test ./internal/agents/charts -update" for Vega-Lite, and look at the pages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp package.json package-lock.json .npmrc "$scratch"
(cd "$scratch" && npm ci --silent --no-audit --no-fund)
from=$scratch/node_modules
cp "$from/htmx.org/dist/htmx.min.js" .
cp "$from/vega/build/vega.min.js" .
cp "$from/vega-lite/build/vega-lite.min.js" .
cp "$from/vega-embed/build/vega-embed.min.js" .
cp "$from/axe-core/axe.min.js" testdata/axe.min.js
gzip -9 -n <"$from/vega-lite/build/vega-lite-schema.json" >../../agents/charts/testdata/vega-lite-schema.json.gz
sha256sum ./*.js testdata/axe.min.js >SHA256SUMS
