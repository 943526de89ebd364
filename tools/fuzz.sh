#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fuzz.sh BUILD SECONDS - run each libFuzzer target; new inputs go to BUILD/found/<target>, an
# input that fails is kept there, too.
set -euo pipefail
cd "$(dirname "$0")/.."
for source in fuzz/fuzz_*.c; do
    target=$(basename "$source" .c)
    mkdir -p "$1/found/$target"
    echo "fuzz: $target"
    "$1/bin/$target" -max_total_time="$2" -max_len=65536 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$1/found/$target/" "$1/found/$target" "fuzz/corpora/$target"
done
