#!/usr/bin/env bash
# artifacts/kvcuda-gpu-bundle.tar.xz: tests, benches and the .NET run time for linux-x64, to be unpacked on a machine with a
# GPU and run there with ./build.sh gpu; its results are then committed here, in bench/results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=artifacts/gpu-bundle/kvcuda-gpu
rm -rf artifacts/gpu-bundle
mkdir -p "$out/bench/results" "$out/tests/KvCuda.Tests"
for project in tests/KvCuda.Tests bench/KvCuda.GpuBench; do
    dotnet publish "$project" -c Release -r linux-x64 --self-contained -o "$out/bundle" --nologo -v quiet \
        -p:DebugType=none -p:SatelliteResourceLanguages=en
done
# What neither tests nor benches load.
for unused in Microsoft.VisualBasic Microsoft.VisualBasic.Core System.Data.Common System.Private.DataContractSerialization \
    libmscordbi libmscordaccore libclrgcexp libcoreclrtraceptprovider createdump; do
    rm -f "$out/bundle/$unused".dll "$out/bundle/$unused".so "$out/bundle/$unused"
done
cp -r tests/KvCuda.Tests/Golden "$out/tests/KvCuda.Tests/"
cp KvCuda.sln build.sh "$out/" # the solution marks the root for tests
cp -r bench/gpu.sh bench/peers "$out/bench/"
cp bench/results/README.md "$out/bench/results/"
git describe --always --dirty --abbrev=12 >"$out/bundle/COMMIT" 2>/dev/null || echo unknown >"$out/bundle/COMMIT"
tar -C artifacts/gpu-bundle -cf - kvcuda-gpu | xz -T0 -6 >artifacts/kvcuda-gpu-bundle.tar.xz
echo "artifacts/kvcuda-gpu-bundle.tar.xz: $(($(stat -c %s artifacts/kvcuda-gpu-bundle.tar.xz) / 1048576)) MiB; unpack it beside a GPU and run kvcuda-gpu/build.sh gpu"
