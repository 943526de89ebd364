#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fail unless every include goes downward: see src/LAYERS and docs/architecture.md.

A private header may be included from its own module and from strictly higher lines. A public header
(include/lynx) belongs to the module of its name, and is a contract: the same line may include it,
too. Programs (apps/) include public headers and their own alone.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)
BASE = {"status", "memory", "export", "version", "lynx"}

rank = {m: n for n, line in enumerate((SRC / "LAYERS").read_text().splitlines())
        for m in line.split()}
bad = []

for path in sorted(p for p in SRC.rglob("*") if p.suffix in {".c", ".h", ".cu"}):
    here = path.relative_to(SRC).parts[0]
    if here not in rank:
        bad.append(f"{path.relative_to(ROOT)}: module {here} is not in src/LAYERS")
        continue
    for name in INCLUDE.findall(path.read_text()):
        if name.startswith("lynx/"):
            there = pathlib.Path(name).stem
            there = "base" if there in BASE else there
            is_good = rank.get(there, 99) <= rank[here]
        else:
            target = path.parent / name if (path.parent / name).exists() else SRC / name
            if not target.exists():
                bad.append(f"{path.relative_to(ROOT)}: {name} does not exist")
                continue
            there = target.resolve().relative_to(SRC).parts[0]
            is_good = there == here or rank[there] < rank[here]
        if not is_good:
            bad.append(f"{path.relative_to(ROOT)}: {here} may not include {name}")

for path in sorted(p for p in (ROOT / "apps").rglob("*") if p.suffix in {".c", ".h"}):
    for name in INCLUDE.findall(path.read_text()):
        beside = [path.parent / name, ROOT / "apps/shared" / name]
        if not name.startswith("lynx/") and not any(p.exists() for p in beside):
            bad.append(f"{path.relative_to(ROOT)}: programs may not include {name}")

print("\n".join(bad), end="\n" if bad else "")
sys.exit(bool(bad))
