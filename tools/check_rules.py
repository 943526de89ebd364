#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every rule of the format documents is cited by a test, and every citation names a rule.

Rules are the items "- F-1. ..." of docs/format.md, "- P-1. ..." of docs/format-codec.md and
"- S-1. ..." of docs/format-store.md, numbered from 1 without a gap. Comments of files under tests/ and fuzz/ cite them as F-1; so do
comments and texts of Python tests. Prints what is wrong; exit 1 when anything is. With a folder
as argument, checks that tree.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
ROOT = ROOT.resolve()
DOCUMENTS = {"F": "docs/format.md", "P": "docs/format-codec.md", "S": "docs/format-store.md"}
FOLDERS = ["tests", "fuzz"]
SUFFIXES = {".c", ".h", ".py"}
RULE = re.compile(r"^- ([FPS])-(\d{1,2})\b\. (.*)$", re.M)
NAME = re.compile(r"\b([FPS])-(\d{1,2})\b\b")
# A comment, or a string or character, which hides what looks like one.
C_TOKEN = re.compile(r'(/\*.*?\*/|//[^\n]*)|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
bad = []


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def read_rules(letter, path):
    """Text of each rule by its name; complains of other letters and of gaps."""
    text = (ROOT / path).read_text()
    found = {}
    for match in RULE.finditer(text):
        name = f"{match[1]}-{match[2]}"
        where = f"{path}:{line_of(text, match.start())}"
        if match[1] != letter:
            bad.append(f"{where}: {name} is not of this document")
        elif name != f"{letter}-{len(found) + 1}":
            bad.append(f"{where}: {name} stands where {letter}-{len(found) + 1} is expected")
        found[name] = match[3]
    if not found:
        bad.append(f"{path}: no rules")
    return found


def check_references(path, rules):
    """Documents name each other's rules, too."""
    text = path.read_text()
    for match in NAME.finditer(text):
        if match[0] not in rules:
            bad.append(f"{path.relative_to(ROOT)}:{line_of(text, match.start())}: "
                       f"{match[0]} does not exist")


def citations(path):
    """(name, line) of each citation in a file."""
    text = path.read_text()
    parts = [(0, text)]
    if path.suffix != ".py":
        parts = [(m.start(1), m[1]) for m in C_TOKEN.finditer(text) if m[1]]
    for at, part in parts:
        for match in NAME.finditer(part):
            yield match[0], line_of(text, at + match.start())


rules = {}
for letter, path in DOCUMENTS.items():
    rules.update(read_rules(letter, path))
for path in sorted((ROOT / "docs").rglob("*.md")):
    check_references(path, rules)

cited = set()
for folder in FOLDERS:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix not in SUFFIXES or not path.is_file():
            continue
        for name, line in citations(path):
            cited.add(name)
            if name not in rules:
                bad.append(f"{path.relative_to(ROOT)}:{line}: {name} does not exist")

for name, text in rules.items():
    if name not in cited:
        short = text if len(text) <= 72 else text[:69] + "..."
        bad.append(f"{DOCUMENTS[name[0]]}: no test cites {name}. {short}")

print("\n".join(bad), end="\n" if bad else "")
sys.exit(bool(bad))
