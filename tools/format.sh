#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# format.sh - put all sources in the project's format.
set -euo pipefail
cd "$(dirname "$0")/.."
find src include apps tests fuzz -name '*.[ch]' -exec clang-format-14 -i {} +
