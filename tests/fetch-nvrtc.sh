#!/usr/bin/env bash
# Puts NVIDIA's run-time compiler (NVRTC 12.4) and disassembler into .tools/nvrtc, so that kernels can be compiled and
# their machine code read on a machine without a GPU. They are Debian packages (trixie, non-free), fetched from the mirror
# that this machine's own apt uses, checked against the sums below and unpacked; nothing is installed. The tests that need
# them are skipped, with the reason that this script leaves in .tools/nvrtc/missing, where they cannot be had.
#
#   KVCUDA_NO_FETCH=1   fetch nothing
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$PWD/.tools/nvrtc
compiler='libnvrtc12=12.4.127~12.4.1-2       db76acbd9ad53eae57291114b615ed21551592dee0b1160990a33066d86c251c
libnvrtc-builtins12.4=12.4.127~12.4.1-2      c4f9ea43c3e176a9f46b50718d546adb0dc7344432cd7d8b1483692e0416d24c'
disassembler='nvidia-cuda-toolkit=12.4.131~12.4.1-2   cd5fe85aee38d108b315f408a688641478f2402622a10c677478eb7a6c4e5319'

if [ -e "$target/libnvrtc.so.12" ] && [ -x "$target/nvdisasm" ]; then
    exit 0
fi

work=
missing() {
    mkdir -p "$target"
    echo "$1" >"$target/missing"
    echo "fetch-nvrtc: $1" >&2
    [ -z "$work" ] || rm -rf "$work"
    exit 0
}

[ "${KVCUDA_NO_FETCH:-}" != 1 ] || missing "KVCUDA_NO_FETCH=1 is set, so NVRTC was not fetched"
for tool in apt-get dpkg-deb sha256sum; do
    command -v "$tool" >/dev/null || missing "NVRTC is fetched as a Debian package, and this machine has no $tool"
done
[ "$(dpkg --print-architecture)" = amd64 ] || missing "NVRTC is fetched for amd64 only, and this machine is $(dpkg --print-architecture)"

# The machine's own Debian mirror: the first site that serves the main component outside the security archive. Asked of the
# sources alone: on a fresh machine no lists were ever fetched.
mirror=$(apt-get -o APT::Get::IndexTargets::ReleaseInfo=false indextargets --format '$(SITE) $(COMPONENT) $(IDENTIFIER)' 2>/dev/null |
    awk '$2 == "main" && $3 == "Packages" && $1 !~ /security/ { print $1; exit }')
[ -n "$mirror" ] || missing "apt on this machine names no Debian mirror to fetch NVRTC from"

echo "fetch-nvrtc: fetching NVRTC 12.4 (18 MB) and nvdisasm (87 MB) from $mirror into .tools/nvrtc, once" >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$work/root" "$target"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# Without the archive's key the sums above are what is trusted; they pin every byte anyway.
if [ -e "$keyring" ]; then trust="signed-by=$keyring"; else trust=trusted=yes; fi
echo "deb [$trust] $mirror trixie non-free" >"$work/sources.list"
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    -o "Dir::Cache=$work/cache" -o APT::Sandbox::User= -o Acquire::Retries=2 -o Acquire::http::Timeout=30)

"${apt[@]}" update >"$work/log" 2>&1 || missing "$mirror has no suite trixie with non-free packages: $(tail -1 "$work/log")"

fetch() { # LIST: download, check, unpack
    local package sum file
    while read -r package sum; do
        (cd "$work/packages" && "${apt[@]}" download "$package") >"$work/log" 2>&1 || {
            why="$package cannot be downloaded: $(tail -1 "$work/log")"
            return 1
        }
        file=$(echo "$work/packages/${package%%=*}"_*.deb)
        echo "$sum  $file" | sha256sum --check --status || {
            why="$package has another checksum than the one in tests/fetch-nvrtc.sh"
            return 1
        }
    done <<<"$1"
}

if [ ! -e "$target/libnvrtc.so.12" ]; then
    fetch "$compiler" || missing "$why"
    for package in "$work"/packages/*.deb; do
        dpkg-deb -x "$package" "$work/root"
    done
    cp -P "$work"/root/usr/lib/x86_64-linux-gnu/libnvrtc-builtins.so* "$target/"
    cp -P "$work"/root/usr/lib/x86_64-linux-gnu/libnvrtc.so.12.* "$target/"
    # The last name to appear is the one that is looked for.
    cp -P "$work"/root/usr/lib/x86_64-linux-gnu/libnvrtc.so.12 "$target/"
fi
rm -f "$target/missing"
if fetch "$disassembler"; then
    dpkg-deb --fsys-tarfile "$work"/packages/nvidia-cuda-toolkit_*.deb |
        tar -x -C "$work/root" ./usr/bin/nvdisasm && mv "$work/root/usr/bin/nvdisasm" "$target/nvdisasm"
else
    echo "fetch-nvrtc: $why; kernels are compiled, but their instructions are not looked at" >&2
fi
