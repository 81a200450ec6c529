#!/bin/sh
# Makes the JSON schemas beside this file out of Grafana's own TypeScript types. Needs Node and npm.
# The versions are the ones that the schemas in this folder came from.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --no-audit --no-fund --save-exact @grafana/schema@13.1.0 ts-json-schema-generator@2.10.0 typescript@5.9.3
# The package's exports hide its single files, so that types are found the way they were before exports.
cat >tsconfig.json <<'JSON'
{"compilerOptions": {"target": "es2022", "module": "commonjs", "moduleResolution": "node", "skipLibCheck": true, "strict": true}, "files": ["entry.ts"]}
JSON
types=@grafana/schema/dist/types/raw
generate() { # file, name of the type, module that declares it
	echo "export type { $2 } from '$types/$3/x/types.gen';" >entry.ts
	npx ts-json-schema-generator --path entry.ts --tsconfig tsconfig.json --type "$2" --no-type-check >"$here/$1.json"
}
generate dashboard Dashboard dashboard
for panel in stat timeseries table; do
	generate "$panel-options" Options "composable/$panel/panelcfg"
done
for panel in timeseries table; do
	generate "$panel-field" FieldConfig "composable/$panel/panelcfg"
done
