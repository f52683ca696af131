#!/usr/bin/env bash
# usage: npm_test.sh TESTS PROGRAM NPM_FOLDER
# Installs the packages of TESTS/package-lock.json into NPM_FOLDER, once, and runs TESTS/main.mjs against PROGRAM.
set -euo pipefail
here=$(realpath "$1") program=$(realpath "$2") npm_folder=$(realpath -m "$3")

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
