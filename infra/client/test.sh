#!/usr/bin/env bash
# Builds the server, starts it on a free port with fresh data, and runs the official JavaScript client against it.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/.tools/client
mkdir -p "$tools"
cp infra/client/package.json infra/client/package-lock.json infra/client/*.mjs "$tools/"
if ! cmp -s "$tools/package-lock.json" "$tools/installed.json"; then
  (cd "$tools" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp "$tools/package-lock.json" "$tools/installed.json"
fi
go build -o build/mastra ./infra/local/cmd
SERVER=$PWD/build/mastra node --test "$tools"/*.test.mjs
