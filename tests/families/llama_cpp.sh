#!/usr/bin/env bash
# usage: llama_cpp.sh TEST_PROGRAM MODELS NPM_FOLDER
# Fetches node-llama-cpp into NPM_FOLDER, once, lets it run the models, and the GGUF that TEST_PROGRAM makes of their
# safetensors, and holds Nacelle's answers against its.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=3.22.1 program=$1 models=$2 npm_folder=$3
if ! command -v npm >/dev/null; then
  echo "skipped: needs node and npm (apt-get install nodejs npm)"
  [ "${CI:-}" != true ] || exit 1
  exit 0
fi
if [ ! -e "$npm_folder/$version" ]; then
  mkdir -p "$npm_folder"
  # Its own binaries come as packages of their own; no script needs to run.
  npm install --prefix "$npm_folder" --no-audit --no-fund --ignore-scripts --loglevel=error "node-llama-cpp@$version"
  touch "$npm_folder/$version"
fi
"$program" "safetensors of every family*"
for folder in "$models" "$models/../converted"; do
  node "$here/llama_cpp.mjs" "$folder" "$npm_folder/node_modules"
done
exec "$program" '[.llama_cpp]'
