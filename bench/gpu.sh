#!/usr/bin/env bash
# Everything that a machine with an NVIDIA GPU can prove and measure: the kernel and model tests on the device, then
# yardsticks, verbs and whole models. Needs a driver and NVRTC; from a bundle (`./build.sh bundle`) neither the .NET SDK nor
# the internet. Writes bench/results/<GPU>.json and .md, to be committed.
#
#   bench/gpu.sh [--device cuda:1] [--small]       --device cuda-host:plain --small only shows that this script works
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
device=cuda
small=()
while [ $# -gt 0 ]; do
    case "$1" in
    --device) device=$2 && shift 2 ;;
    --small) small=(--small) && shift ;;
    *) echo "gpu.sh: there is no option '$1'" >&2 && exit 2 ;;
    esac
done
if [ -x bundle/KvCuda.Tests ]; then
    tests=(bundle/KvCuda.Tests) bench=(bundle/KvCuda.GpuBench)
else
    dotnet build tests/KvCuda.Tests -c Release --nologo -v quiet -clp:NoSummary
    dotnet build bench/KvCuda.GpuBench -c Release --nologo -v quiet -clp:NoSummary
    tests=(dotnet tests/KvCuda.Tests/bin/Release/net10.0/KvCuda.Tests.dll)
    bench=(dotnet bench/KvCuda.GpuBench/bin/Release/net10.0/KvCuda.GpuBench.dll)
fi
case "$device" in
cuda-host*) ;;
*) export KVCUDA_TEST_DEVICE=$device ;;
esac
status=0
# One class after another: they share the device.
log=$(mktemp)
"${tests[@]}" -nocolor -maxThreads 1 -class 'KvCuda.Tests.Kernels.*' -class '*CudaBackendTests' -class '*CudaGoldenTests' 2>&1 | tee "$log" || status=$?
if ! grep -qE 'Total: [1-9]' "$log"; then
    echo "gpu.sh: no test ran" >&2
    status=1
fi
rm -f "$log"
"${bench[@]}" --device "$device" --out bench/results "${small[@]}"
exit "$status"
