#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# lint.sh - what a machine can check: format, layers, warnings, headers, symbols, banned calls.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
fail() { printf 'lint: %s\n' "$*"; failed=1; }
mapfile -t sources < <(find src include apps tests fuzz -name '*.[ch]' 2>/dev/null | sort)

echo "lint: format"
clang-format-14 --dry-run -Werror "${sources[@]}" || fail "run tools/format.sh"

echo "lint: layers"
python3 tools/check_layers.py || fail "an include goes upward"

echo "lint: text"
for file in "${sources[@]}"; do
    head -n 1 "$file" | grep -q 'SPDX-License-Identifier: MIT' || fail "$file: no SPDX line"
done
grep -nE '[[:blank:]]$|	' "${sources[@]}" && fail "tabs or trailing blanks"
grep -nE '\bgoto\b' $(find src -name '*.[ch]') && fail "goto"
grep -nE '(^|[^a-z_])(printf|fprintf|puts|exit|abort)\(' $(find src -name '*.c') |
    grep -v 'fprintf(stream' && fail "library code prints or exits"

echo "lint: public headers alone"
for header in include/lynx/*.h; do
    printf '#include "lynx/%s"\nextern int lint_unit;\n' "$(basename "$header")" >build/lint_unit.c 2>/dev/null ||
        { mkdir -p build; printf '#include "lynx/%s"\nextern int lint_unit;\n' "$(basename "$header")" >build/lint_unit.c; }
    gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only build/lint_unit.c || fail "$header in C11"
    g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only -x c++ build/lint_unit.c || fail "$header in C++17"
done

echo "lint: the pure part builds with a bare compiler"
mkdir -p build/lint-bare
for module in base kv codec wire sched session speculate; do
    for file in src/"$module"/*.c; do
        gcc -std=c11 -Iinclude -Isrc -c "$file" -o build/lint-bare/unit.o || fail "$file"
    done
done

prefix=$(tools/setup.sh llama)
for compiler in gcc clang; do
    echo "lint: warnings of $compiler"
    cmake -S . -B "build/lint-$compiler" -G Ninja -DCMAKE_C_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release \
        -DLYNX_WERROR=ON "-DCMAKE_PREFIX_PATH=$prefix" >/dev/null
    cmake --build "build/lint-$compiler" | grep -E 'error|warning|FAILED' && fail "warnings of $compiler"
done

echo "lint: exported symbols are the documented ones"
grep -hoE '\blynx_[a-z0-9_]+\(' include/lynx/*.h | tr -d '(' | sort -u >build/lint_documented
for library in lynx lynx-llama; do
    nm -D --defined-only "build/lint-gcc/lib/lib$library.so" | awk '{print $3}'
done | sort -u >build/lint_exported
comm -13 build/lint_documented build/lint_exported | grep . && fail "exported but not in a header"
grep -hoE 'LYNX_API [^;]*' <(cat include/lynx/*.h | tr '\n' ' ') | grep -oE '\blynx_[a-z0-9_]+\(' |
    tr -d '(' | sort -u >build/lint_declared
comm -23 build/lint_declared build/lint_exported | grep . && fail "declared but not exported"

[ $failed -eq 0 ] && echo "lint: clean"
exit $failed
