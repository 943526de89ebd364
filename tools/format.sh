#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# format.sh - put all sources in the project's format; with --check only tell.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=(-i)
[ "${1:-}" = --check ] && mode=(--dry-run -Werror)
find src include apps tests fuzz bench -name '*.[ch]' -print0 |
    xargs -0 clang-format-14 "${mode[@]}"
