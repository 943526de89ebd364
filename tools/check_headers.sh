#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_headers.sh - each public header compiles alone, as C11 and as C++17, with no warning.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
for header in include/lynx/*.h; do
    name=lynx/$(basename "$header")
    # The declaration is for headers of macros alone: an empty unit is no ISO C.
    for language in 'gcc -std=c11 -x c' 'g++ -std=c++17 -x c++'; do
        # shellcheck disable=SC2086
        printf '#include "%s"\nextern int lynx_unit;\n' "$name" |
            $language -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only - ||
            { echo "$header: does not compile alone with $language"; failed=1; }
    done
done
exit $failed
