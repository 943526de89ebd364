#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tidy.sh BUILD - clang-tidy (.clang-tidy) over the library and the programs, with the flags of
# the build folder BUILD.
set -euo pipefail
cd "$(dirname "$0")/.."
find src apps -name '*.c' -print0 |
    xargs -0 -n 4 -P "${JOBS:-2}" clang-tidy-14 --quiet -p "$1" 2>/dev/null
