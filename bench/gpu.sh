#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can prove and measure, in under ten minutes: tests on the device, ceilings, every
# figure that has a target, peers, and a soak. Needs a driver and NVRTC; from a bundle (`./build.sh bundle`) neither the .NET SDK
# nor the internet. Writes bench/results/<GPU>.json and .md after every section, to be committed; bench/results/README.md explains.
#
#   --device cuda:1            another GPU; cuda-host:plain with --tiny only shows that this script works
#   --only decode,peers        these sections, the others stay as they are (the bench's --list names them)
#   --resume                   what an earlier run did not complete
#   --minutes 9.5              sections that do not fit any more are left out, and said to be
#   --soak 20                  seconds of random requests; 600 for the long one (give it --minutes 20)
#   --llama-cpp FOLDER         llama.cpp's CUDA build: libllama, libggml and their backends
#   --work FOLDER              for model files (20 GB); default: memory if there is room, else the temporary folder
#   --tiny                     sizes for the host runner
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
device=cuda only= resume= minutes=9.5 soak=20 llama= work= tiny=
while [ $# -gt 0 ]; do
    case "$1" in
    --help | -h) sed -n '2,/^set /{/^set /!p}' "$0" | sed 's/^# \{0,1\}//' && exit 0 ;;
    --resume) resume=1 && shift ;;
    --tiny) tiny=1 && shift ;;
    --device | --only | --minutes | --soak | --llama-cpp | --work)
        [ $# -gt 1 ] || { echo "gpu.sh: $1 needs a value" >&2 && exit 2; }
        case "$1" in
        --device) device=$2 ;;
        --only) only=$2 ;;
        --minutes) minutes=$2 ;;
        --soak) soak=$2 ;;
        --llama-cpp) llama=$2 ;;
        --work) work=$2 ;;
        esac
        shift 2
        ;;
    *) echo "gpu.sh: there is no option '$1'; the head of this file lists them" >&2 && exit 2 ;;
    esac
done

if [ -x bundle/KvCuda.Tests ]; then
    tests=(bundle/KvCuda.Tests) bench=(bundle/KvCuda.GpuBench)
else
    dotnet build tests/KvCuda.Tests -c Release --nologo -v quiet -clp:NoSummary || exit
    dotnet build bench/KvCuda.GpuBench -c Release --nologo -v quiet -clp:NoSummary || exit
    tests=(dotnet tests/KvCuda.Tests/bin/Release/net10.0/KvCuda.Tests.dll)
    bench=(dotnet bench/KvCuda.GpuBench/bin/Release/net10.0/KvCuda.GpuBench.dll)
fi
case "$device" in
cuda-host*) ;;
*) export KVCUDA_TEST_DEVICE=$device ;;
esac
# Python's CUDA packages carry NVRTC and cuBLAS where no toolkit is installed; what the system has comes first.
python=$(command -v python3 || true)
if [ -n "$python" ]; then
    carried=$("$python" -c 'import glob, nvidia; print(":".join(d for p in nvidia.__path__ for d in glob.glob(p + "/*/lib")))' 2>/dev/null || true)
    [ -z "$carried" ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$carried"
fi
made=
if [ -z "$work" ]; then
    room=$(df --output=avail -B1G /dev/shm 2>/dev/null | tail -1 | tr -d ' ' || true)
    [ "${room:-0}" -ge 24 ] && work=$(mktemp -d /dev/shm/kvcuda.XXXXXX) || work=$(mktemp -d)
    made=$work
fi
mkdir -p "$work"
log=$(mktemp)
trap 'rm -rf "$log" ${made:+"$made"}' EXIT
common=(--device "$device" --out bench/results --work "$work")
[ -z "$tiny" ] || common+=(--tiny)
started=$SECONDS
end=$((started + $(awk "BEGIN { print int(60 * $minutes) }")))

# wanted NAME: is it asked for, and not there already?
wanted() {
    [ -z "$only" ] || case ",$only," in *",$1,"*) ;; *) return 1 ;; esac
    [ -z "$resume" ] || ! "${bench[@]}" "${common[@]}" --done "$1" 2>/dev/null
}
# allowed SECONDS: that, or what is left of the run if it is less; nothing if too little is left to be of use
allowed() {
    local left=$((end - SECONDS))
    [ "$left" -ge 5 ] || return 1
    echo $(($1 < left ? $1 : left))
}
# section NAME SECONDS: one of the bench's own, in a process of its own: what it breaks, it breaks alone
section() {
    local limit status=0
    wanted "$1" || return 0
    if ! limit=$(allowed "$2"); then
        "${bench[@]}" "${common[@]}" --state "$1" "not run: the run's time was over"
        return 0
    fi
    timeout -k 5 "$limit" "${bench[@]}" "${common[@]}" --soak "$soak" --only "$1" || status=$?
    if [ "$status" -ge 124 ]; then
        "${bench[@]}" "${common[@]}" --state "$1" "stopped after $limit s (exit code $status)"
    fi
    echo "  [$1: $((SECONDS - started)) s since the start]"
}
# zero KEY WHAT COUNT NOTE: a figure that must be 0, as a line for --merge
zero() {
    local verdict=reached
    [ "$3" -eq 0 ] || verdict=missed
    printf '{"key":"%s","what":"%s","value":%d,"unit":"","credible":0,"ambitious":0,"less":true,"verdict":"%s","note":"%s"}\n' "$1" "$2" "$3" "$verdict" "$4"
}
last() { sed -nE "s/.*$1: ([0-9]+).*/\1/p" "$log" | tail -1; }

run_tests() {
    local limit status=0 failing
    wanted tests || return 0
    limit=$(allowed 200) || { "${bench[@]}" "${common[@]}" --state tests "not run: the run's time was over" && return 0; }
    local classes=(-class 'KvCuda.Tests.Kernels.*' -class '*PtxTests' -class 'KvCuda.Tests.Backends.Cuda.*' -class 'KvCuda.Tests.Models.Cuda*')
    [ -z "$tiny" ] || classes=(-class '*NormTests' -class '*RopeTests')
    # One class after another: they share the device.
    timeout -k 5 "$limit" "${tests[@]}" -nocolor -maxThreads 1 "${classes[@]}" >"$log" 2>&1 || status=$?
    grep -E '\[FAIL\]|Total:|Assert|Error' "$log" | head -60
    failing=$(grep -oE '[A-Za-z_]+(\([^)]*\))? \[FAIL\]' "$log" | sed 's/ \[FAIL\]//' | tr -d '"\\' | head -12 | paste -sd ' ' -)
    {
        printf '{"key":"tests/ran","what":"tests that ran on %s","value":%d,"unit":"tests","note":"%d skipped"}\n' "$device" \
            $(($(last Total || echo 0) + 0)) $(($(last Skipped || echo 0) + 0))
        zero tests/failed "tests that failed" $(($(last Failed) + $(last Errors))) "$failing"
        [ "$status" -lt 124 ] || printf '{"state":"stopped after %d s"}\n' "$limit"
        grep -qE 'Total: [1-9]' "$log" || printf '{"state":"no test ran: %s"}\n' "$(tail -1 "$log" | tr -d '"\\')"
    } >"$log.lines"
    "${bench[@]}" "${common[@]}" --merge tests "$log.lines"
    rm -f "$log.lines"
    echo "  [tests: $((SECONDS - started)) s since the start]"
}

run_sanitizer() {
    local tool limit found errors
    wanted sanitizer || return 0
    tool=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer /opt/nvidia/*/compute-sanitizer 2>/dev/null | head -1)
    if [ -z "$tool" ]; then
        "${bench[@]}" "${common[@]}" --state sanitizer "compute-sanitizer is not on this machine"
        return 0
    fi
    # Every kind of kernel once; whole models would take the tool many minutes.
    for check in memcheck racecheck; do
        limit=$(allowed 45) || break
        local classes=(-class '*NormTests' -class '*RopeTests' -class '*EmbedTests' -class '*KvTests' -class '*MlpTests' -class '*SampleTests' -class '*AttentionTests' -class '*MatmulTests')
        found=0
        timeout -k 5 "$limit" "$tool" --tool "$check" --target-processes all "${tests[@]}" -nocolor -maxThreads 1 "${classes[@]}" >"$log" 2>&1 || found=$?
        errors=$(sed -nE 's/.*(ERROR|RACECHECK) SUMMARY: ([0-9]+).*/\2/p' "$log" | sort -n | tail -1)
        grep -E '=========' "$log" | head -20
        if [ -n "$errors" ]; then
            zero "sanitizer/$check" "$check: errors" "$errors" "$(last Total) tests ran under it" >>"$log.lines"
        else
            # Stopped by the clock it has no summary; what it printed till then is what it found.
            zero "sanitizer/$check" "$check: errors until it was stopped" "$(grep -cE '========= (Invalid|Error|Race|Program hit)' "$log")" \
                "stopped after $limit s (exit code $found)" >>"$log.lines"
        fi
    done
    [ ! -e "$log.lines" ] || "${bench[@]}" "${common[@]}" --merge sanitizer "$log.lines"
    rm -f "$log.lines"
    echo "  [sanitizer: $((SECONDS - started)) s since the start]"
}

run_peers() {
    local limit
    wanted peers || return 0
    local target=cuda model=1.1B context=128 batch=32 batch_context=1024 steps=128
    [ -z "$tiny" ] || target=cpu model=tiny context=9 batch=3 batch_context=17 steps=2
    local config=$work/$model/config.json
    : >"$log.lines"
    # peer SECONDS SCRIPT ARGS: a line, or the reason why there is none
    peer() {
        local status=0
        limit=$(allowed "$1") || return 0
        shift
        timeout -k 5 "$limit" "$python" "$@" >>"$log.lines" 2>"$log" || status=$?
        [ "$status" -eq 0 ] || echo "  peer: $* ended with $status: $(tail -1 "$log")"
    }
    if [ -z "$python" ] || ! "$python" -c 'import torch' 2>/dev/null; then
        echo '{"state":"python3 with PyTorch is not on this machine"}' >>"$log.lines"
    elif [ ! -e "$config" ]; then
        echo '{"state":"the section decode, which writes the model, did not run before"}' >>"$log.lines"
    else
        local one=(--model "$model" --sequences 1 --context "$context" --steps "$steps" --device "$target")
        local many=(--model "$model" --sequences "$batch" --context "$batch_context" --steps "$steps" --device "$target")
        peer 30 bench/peers/pytorch_decode.py "$config" "${one[@]}"
        peer 30 bench/peers/pytorch_decode.py "$config" "${many[@]}"
        if [ -n "$llama" ]; then
            local cpu=()
            [ "$target" = cuda ] || cpu=(--layers-on-cpu)
            peer 40 bench/peers/llama_cpp.py "$config" --libraries "$llama" --work "$work" "${one[@]:0:8}" "${cpu[@]}"
            peer 40 bench/peers/llama_cpp.py "$config" --libraries "$llama" --work "$work" "${many[@]:0:8}" "${cpu[@]}"
        fi
        if "$python" -c 'import transformers' 2>/dev/null; then
            peer 60 bench/peers/transformers_decode.py "$config" "${one[@]}"
            peer 60 bench/peers/transformers_decode.py "$config" "${many[@]}"
        fi
        if [ -z "$tiny" ]; then
            peer 60 bench/peers/pytorch_decode.py "$config" "${one[@]}" --way compiled
            [ ! -e "$work/7B/config.json" ] || peer 30 bench/peers/pytorch_decode.py "$work/7B/config.json" --model 7B --sequences 1 --context 128 --steps 64
        fi
        [ -n "$llama" ] || echo '  peer: llama.cpp was not given (--llama-cpp FOLDER)'
    fi
    "${bench[@]}" "${common[@]}" --merge peers "$log.lines"
    rm -f "$log.lines"
    echo "  [peers: $((SECONDS - started)) s since the start]"
}

if [ -z "$only$resume" ]; then
    commit=$(cat bundle/COMMIT 2>/dev/null || git describe --always --dirty 2>/dev/null || echo unknown)
    notes=(--note "commit=$commit")
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -1)
    [ -z "$driver" ] || notes+=(--note "driver=$driver")
    "${bench[@]}" "${common[@]}" "${notes[@]}" --begin || exit
fi
# The most valuable first: an interruption leaves what came before. Seconds are limits, not expectations.
section ceilings 30
section decode 90
run_tests
section batches 40
section attention 30
section gemm 40
section prefill 30
run_peers
section host 30
section startup 20
section tier 40
section sharing 60
section classes 40
section variants 60
section soak $((soak + 30))
run_sanitizer
section kernels 30
section verbs 40
"${bench[@]}" "${common[@]}" --end
status=$?
echo "gpu.sh: $((SECONDS - started)) s"
exit "$status"
