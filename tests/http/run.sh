#!/usr/bin/env bash
# usage: run.sh PROGRAM NPM_FOLDER
# Installs the packages of package-lock.json into NPM_FOLDER, once, and runs the tests against PROGRAM.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=$(realpath "$1") npm_folder=$(realpath -m "$2")

if ! command -v npm >/dev/null; then
  echo "skipped: needs node and npm (apt-get install nodejs npm)"
  [ "${CI:-}" != true ] || exit 1
  exit 0
fi
if ! cmp -s "$here/package-lock.json" "$npm_folder/installed.json"; then
  mkdir -p "$npm_folder"
  cp "$here/package.json" "$here/package-lock.json" "$npm_folder"
  npm ci --prefix "$npm_folder" --no-audit --no-fund --loglevel=error
  cp "$here/package-lock.json" "$npm_folder/installed.json"
fi
NACELLE=$program NACELLE_NPM=$npm_folder exec node "$here/main.mjs"
