#!/usr/bin/env bash
# Builds the host runner with g++: artifacts/host-runner/libkvcuda-host.so (checks everything) and libkvcuda-host-plain.so
# (only runs). x86-64 only. Does nothing if both are newer than their sources.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-$here/../../artifacts/host-runner}
if ! command -v g++ >/dev/null; then
    echo "build.sh: g++ is missing: the host runner is compiled with it, and compiles kernels with it (Debian: apt-get install g++)" >&2
    exit 3
fi
if [ "$(uname -m)" != x86_64 ]; then
    echo "build.sh: the host runner switches fibers in x86-64 assembly; this machine is $(uname -m)" >&2
    exit 3
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/lock"
flock 9 # two builds at once: the second finds everything done

stamp=$(cat "$here"/*.h "$here"/*.cpp "$here/build.sh" <(g++ --version) <(grep -m1 '^flags' /proc/cpuinfo || true) | sha256sum | cut -d' ' -f1)
if [ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$stamp" ]; then
    exit 0
fi
rm -f "$out/stamp"

machine=
if grep -qm1 avx2 /proc/cpuinfo && grep -qm1 fma /proc/cpuinfo && grep -qm1 f16c /proc/cpuinfo; then
    machine=-march=x86-64-v3
fi
# Kernels: no exceptions, no contraction of a*b+c (as written, so that both flavours give the same bits).
common="-std=gnu++20 -x c++ -fPIC -g1 -w -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -fno-threadsafe-statics -fvisibility=hidden -pipe $machine"
checked="$common -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -ftrivial-auto-var-init=pattern -fsanitize=thread,alignment,bounds,signed-integer-overflow,shift,integer-divide-by-zero --param tsan-instrument-func-entry-exit=0 --param tsan-distinguish-volatile=1"
plain="$common -O2 -DKVCUDA_HOST_PLAIN"
sources="engine.cpp fibers.cpp waits.cpp collectives.cpp warpgroup.cpp checks.cpp faults.cpp memory.cpp modules.cpp options.cpp driver.cpp driver_device.cpp
    driver_memory.cpp driver_code.cpp driver_streams.cpp nvrtc.cpp"
library="-std=gnu++20 -fPIC -O2 -g1 -Wall -Wextra -Werror -Wno-missing-field-initializers -fno-omit-frame-pointer -fvisibility=hidden -pthread $machine"

cp "$here/simt.h" "$here/ptx_host.h" "$out/"
rm -rf "$out/simt.h.gch"
mkdir "$out/simt.h.gch"
build() { # name, kernel flags, what else to define
    # The headers' hash is part of the library, so that its bytes tell what its kernels were compiled with.
    (cd "$here" && g++ $library $3 "-DHOST_KERNEL_FLAGS=\"$2\"" "-DHOST_STAMP=\"$stamp\"" -shared -Wl,-soname,"$1.so" -Wl,-z,defs -o "$out/$1.so" $sources -ldl -lm)
}
build libkvcuda-host "$checked" "" &
build libkvcuda-host-plain "$plain" "-DKVCUDA_HOST_PLAIN" &
(cd "$out" && g++ $checked -c -x c++-header simt.h -o simt.h.gch/checked.gch) &
(cd "$out" && g++ $plain -c -x c++-header simt.h -o simt.h.gch/plain.gch) &
status=0
for job in $(jobs -p); do
    wait "$job" || status=$?
done
[ "$status" -eq 0 ] || exit "$status"
echo "$stamp" >"$out/stamp"
