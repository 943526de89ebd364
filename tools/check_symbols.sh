#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_symbols.sh BUILD - what the libraries of the build folder BUILD export is what the public
# headers declare with LYNX_API, in both directions; and every global name of ours begins with
# lynx_ or lx_.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
failed=0

declared() { # headers: names of the functions marked LYNX_API
    gcc -w -fpreprocessed -dD -E -P "$@" | grep -v '^ *#' | tr '\n' ' ' | grep -oE '\bLYNX_API [^;(]*\(' |
        grep -oE '\w+ *\($' | tr -d ' (' | sort -u
}

compare() { # library, headers
    local library=$build/lib/lib$1.so
    shift
    declared "$@" >"$build/declared"
    nm -D --defined-only "$library" | awk '$2 ~ /[TDBRVW]/ {print $3}' | sort -u >"$build/exported"
    while read -r name; do
        echo "$library does not export $name, which a header declares"
        failed=1
    done < <(comm -23 "$build/declared" "$build/exported")
    while read -r name; do
        echo "$library exports $name, which no header declares"
        failed=1
    done < <(comm -13 "$build/declared" "$build/exported")
}

mapfile -t headers < <(find include/lynx -name '*.h' ! -name llama.h ! -name net.h)
compare lynx "${headers[@]}"
compare lynx-net include/lynx/net.h
compare lynx-llama include/lynx/llama.h

while read -r name; do
    echo "global name without the prefix lynx_ or lx_: $name"
    failed=1
done < <(nm -g --defined-only "$build"/lib*.a "$build"/lib/lib*.a 2>/dev/null |
    awk 'NF == 3 && $3 !~ /^(lynx_|lx_)/ {print $3}' | sort -u)
exit $failed
