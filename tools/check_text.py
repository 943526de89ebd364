#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Simple mistakes: licence line, tabs, trailing blanks, goto, library code that prints or ends."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ["src", "include", "apps", "tests", "fuzz", "bench", "tools", "cmake", ".ci"]
SPDX = "SPDX-License-Identifier: MIT"
CODE = {".c", ".h", ".cu"}
SCRIPT = {".py", ".sh", ".cmake"}
# Comments and strings, which may say these words.
PROSE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.S)
BANNED = re.compile(r"(?<![\w.>])(v?printf|puts|putchar|perror|_?exit|abort|quick_exit)(?=\s*\()"
                    r"|\b(stdout|stderr)\b")
bad = []


def note(path, text, at, what):
    bad.append(f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, at) + 1}: {what}")


def check_code(path, text):
    bare = PROSE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
    for match in re.finditer(r"\bgoto\b", bare):
        note(path, text, match.start(), "goto")
    if path.relative_to(ROOT).parts[0] == "src":
        for match in BANNED.finditer(bare):
            note(path, text, match.start(), f"the library may not use {match.group()}")
    for match in re.finditer(r"\b(TODO|FIXME|XXX)\b(?! *\(#\d+\))", text):
        note(path, text, match.start(), f"{match.group(1)} without an issue, such as (#12)")
    for match in re.finditer(r"^\s*#\s*if 0\b", text, re.M):
        note(path, text, match.start(), "code that is switched off")


files = [ROOT / "CMakeLists.txt", ROOT / "Makefile"]
files += [p for folder in FOLDERS for p in (ROOT / folder).rglob("*") if p.is_file()]
for path in sorted(files):
    if path.suffix not in CODE | SCRIPT and path.name not in {"CMakeLists.txt", "Makefile", "run"}:
        continue
    text = path.read_text()
    head = text.split("\n", 2)[:1 if path.suffix in CODE else 2]
    if not any(SPDX in line for line in head):
        note(path, text, 0, "no SPDX line first")
    for match in re.finditer(r"[ \t]+$", text, re.M):
        note(path, text, match.start(), "trailing blanks")
    if path.name != "Makefile":
        for match in re.finditer(r"\t+", text):
            note(path, text, match.start(), "tab")
    if not text.endswith("\n"):
        note(path, text, len(text), "no end of line at the end")
    if path.suffix in CODE:
        check_code(path, text)

print("\n".join(bad), end="\n" if bad else "")
sys.exit(bool(bad))
