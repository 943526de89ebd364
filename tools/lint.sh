#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# lint.sh - what a machine can check. Every check runs; the last line names those that failed.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/lint
failed=()

check() { # name, command
    local name=$1 start=$SECONDS
    shift
    if "$@" >build/lint/log 2>&1; then
        printf 'lint: %-9s passed, %d s\n' "$name" $((SECONDS - start))
    else
        tail -n 200 build/lint/log
        printf 'lint: %-9s FAILED\n' "$name"
        failed+=("$name")
    fi
}

# The pure library needs no build system and no flags, on this or any other C11 compiler.
bare() {
    rm -rf build/lint/bare
    mkdir -p build/lint/bare
    local file
    local -a sources=()
    for file in src/{base,kv,grammar,codec,wire,sched,engine,session,speculate,plan}/*.c; do
        # The toy can take its time, by nanosleep: the one exception.
        [ "$file" = src/engine/toy_engine.c ] || sources+=("$PWD/$file")
    done
    (cd build/lint/bare && cc -std=c11 -pedantic-errors -Werror=implicit-function-declaration \
        -I../../../include -I../../../src -c "${sources[@]}")
}

warnings() { # compiler
    cmake -S . -B "build/lint-$1" -G Ninja "-DCMAKE_C_COMPILER=$1" -DCMAKE_BUILD_TYPE=Release \
        -DLYNX_WERROR=ON "-DCMAKE_PREFIX_PATH=$prefix" &&
        cmake --build "build/lint-$1" -j "${JOBS:-2}" -- -k 0
}

pages() {
    local page
    for page in build/lint-gcc/man/*.[1-8]; do
        mandoc -Tlint -W warning "$page" || return 1
    done
}

scripts() {
    local file
    for file in tools/*.sh packaging/debian/p* .ci/run; do bash -n "$file" || return 1; done
    python3 -c 'import ast, sys; [ast.parse(open(p).read(), p) for p in sys.argv[1:]]' \
        tools/*.py bench/*.py || return 1
    ! command -v shellcheck || shellcheck tools/*.sh packaging/debian/p* .ci/run
}

prefix=$(tools/setup.sh llama)
check format tools/format.sh --check
check layers python3 tools/check_layers.py
check text python3 tools/check_text.py
check rules python3 tools/check_rules.py
check figures python3 bench/tables.py --check
check scripts scripts
check headers tools/check_headers.sh
check bare bare
check gcc warnings gcc
check clang warnings clang
check pages pages
check symbols tools/check_symbols.sh build/lint-gcc

[ ${#failed[@]} -eq 0 ] || { echo "lint: failed: ${failed[*]}"; exit 1; }
echo "lint: clean"
