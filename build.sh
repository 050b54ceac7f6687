#!/usr/bin/env bash
# The one entry point: ./build.sh COMMAND [ARGS]. `./build.sh help` lists the commands.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
cli=src/KvCuda.Cli/bin/Release/net10.0/KvCuda.Cli.dll

help() {
    cat <<'TXT'
./build.sh run [ARGS]      build, then `kvcuda run`: with no arguments, text from the bundled model
./build.sh kvcuda ARGS     build, then any kvcuda command: `./build.sh kvcuda --help`
./build.sh test [FILTER]   build everything and run every test (or the test classes whose name contains FILTER)
./build.sh pack            the NuGet packages, proven by a fresh project that uses them
./build.sh gpu             on a machine with an NVIDIA GPU: all kernel and model tests there, then benches (results to commit); --help
./build.sh bundle          the same as an archive for a machine without the .NET SDK and the internet
./build.sh budgets [NAME]  what every kernel (whose name contains NAME) may cost and what it costs: registers, spills, shared memory
./build.sh bench [ARGS]    microbenchmarks (BenchmarkDotNet): `./build.sh bench --list flat`
./build.sh bench ttft      time to first token of a prompt cold and cached, as ratios; `bench kv-steps`: what bookkeeping costs; `bench products`: the CPU's products alone, on every instruction set
./build.sh bench peer [ARGS]   the CPU backend beside llama.cpp's, same weights, one run: `./build.sh bench peer --help`
TXT
}

# dotnet and NuGet keep what they need in the home folder: one that is unset, missing or read-only is replaced by one of ours.
if [ -z "${HOME:-}" ] || [ ! -d "$HOME" ] || ! [ -w "$HOME" ]; then
    echo "build.sh: the home folder '${HOME:-}' cannot be written; using $PWD/.tools/home" >&2
    export HOME=$PWD/.tools/home
    mkdir -p "$HOME"
fi
export DOTNET_CLI_HOME=${DOTNET_CLI_HOME:-$HOME}

# Quiet unless it fails, since a newcomer's screen is for the text; but the first build, which takes minutes on a small or busy
# machine, says what it is at.
build() {
    local log output status=0
    log=$(mktemp)
    output=$(dirname "$1")/$(basename "$1")/bin/Release
    if [ "$1" != KvCuda.sln ] && [ ! -d "$output" ]; then
        echo "build.sh: building $(basename "$1"), once: packages are restored, then about $(grep -c ProjectReference "$1"/*.csproj) projects compiled" >&2
        dotnet build "$1" -c Release --nologo -v minimal -clp:NoSummary 2>&1 | tee "$log" |
            sed -u -nE 's/^ *(Restored|Determining).*/  restoring/p; s/^ *([A-Za-z.]+) -> .*/  compiled \1/p' | uniq >&2 || status=$?
    else
        dotnet build "$1" -c Release --nologo -v quiet -clp:NoSummary >"$log" 2>&1 || status=$?
    fi
    [ "$status" -eq 0 ] || cat "$log" >&2
    rm -f "$log"
    [ "$status" -eq 0 ] || exit "$status"
}

command=${1:-help}
shift || true
case "$command" in
run)
    build src/KvCuda.Cli
    [ $# -gt 0 ] || set -- weights/demo
    exec dotnet "$cli" run "$@"
    ;;
kvcuda)
    build src/KvCuda.Cli
    exec dotnet "$cli" "$@"
    ;;
test)
    bash tests/fetch-nvrtc.sh
    # Where the host runner cannot be had (exit code 3, and it said why), its tests are skipped.
    bash tests/HostRunner/build.sh || [ $? -eq 3 ]
    build KvCuda.sln
    filter=()
    [ $# -eq 0 ] || filter=(-class "*$1*")
    log=$(mktemp)
    times=$(mktemp)
    status=0
    dotnet tests/KvCuda.Tests/bin/Release/net10.0/KvCuda.Tests.dll -nocolor "${filter[@]}" -xml "$times" 2>&1 | tee "$log" || status=$?
    # Where the time goes: the tests' own seconds by area, beside what an area may take (they run side by side).
    [ $# -gt 0 ] || bash tests/times.sh "$times" || true
    rm -f "$times"
    # The last line is the plain sum, whatever the runner's own summary looks like.
    total=$(sed -nE 's/.*Total: ([0-9]+).*/\1/p' "$log" | tail -1)
    failed=$(sed -nE 's/.*Failed: ([0-9]+).*/\1/p' "$log" | tail -1)
    errors=$(sed -nE 's/.*Errors: ([0-9]+).*/\1/p' "$log" | tail -1)
    skipped=$(sed -nE 's/.*Skipped: ([0-9]+).*/\1/p' "$log" | tail -1)
    rm -f "$log"
    echo "$((${total:-0} - ${failed:-0} - ${skipped:-0})) passed, $((${failed:-0} + ${errors:-0})) failed, ${skipped:-0} skipped"
    exit "$status"
    ;;
pack)
    exec bash tests/pack.sh
    ;;
bench)
    if [ "${1:-}" = peer ]; then
        shift
        if [[ " $* " != *" --help "* && " $* " != *" --alone "* && " $* " != *" --peer "* ]]; then
            bash bench/fetch-peer.sh
            if [ -e .tools/peer/missing ]; then
                echo "build.sh: nothing was measured; 'bench peer --alone' measures KvCuda without llama.cpp" >&2
                exit 1
            fi
        fi
        build bench/KvCuda.PeerBench
        exec dotnet bench/KvCuda.PeerBench/bin/Release/net10.0/KvCuda.PeerBench.dll "$@"
    fi
    build bench/KvCuda.Bench
    exec dotnet bench/KvCuda.Bench/bin/Release/net10.0/KvCuda.Bench.dll "$@"
    ;;
gpu) exec bash bench/gpu.sh "$@" ;;
bundle) exec bash bench/bundle.sh ;;
budgets)
    bash tests/fetch-nvrtc.sh
    build src/KvCuda.Cli
    [ -n "${KVCUDA_NVRTC:-}" ] || [ ! -e .tools/nvrtc/libnvrtc.so.12 ] || export KVCUDA_NVRTC=$PWD/.tools/nvrtc/libnvrtc.so.12
    exec dotnet "$cli" doctor --kernels ${1:+--kernel "$1"}
    ;;
help | --help | -h) help ;;
*)
    echo "build.sh: there is no command '$command'" >&2
    help >&2
    exit 2
    ;;
esac
