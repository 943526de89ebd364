#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fail unless every include goes downward: see src/LAYERS and docs/architecture.md.

A private header may be included from its own module and from strictly higher lines. A public
header (include/lynx) belongs to the module of its name and is a contract: modules of the same
line may include it, too. Pure modules include no system header but those of C11. Programs
(apps/) include public headers and their own alone. With a folder as argument, checks that tree.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
ROOT = ROOT.resolve()
SRC = ROOT / "src"
PUBLIC = ROOT / "include"
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
SUFFIXES = {".c", ".h", ".cu", ".cuh", ".inc"}
PUBLIC_OF_BASE = {"export", "limits", "memory", "status", "version"}
PUBLIC_OF = {"keys": "link", "tls": "link", "place": "store", "source": "store", "gather": "store",
             "keep": "runtime"}

# What only some modules may know.
KNOWS_SYSTEM = {"link", "runtime", "cuda", "llama", "net", "serve", "slots", "store"}
FOREIGN = {"llama.h": {"llama"}, "gguf.h": {"llama"}, "uv.h": {"runtime"},
           "xxhash.h": {"base", "llama"}, "xxh_x86dispatch.h": {"base"},
           "immintrin.h": {"codec"}, "arm_neon.h": {"codec"}, "microhttpd.h": {"serve"}, "jansson.h": {"serve"}, "curl/curl.h": {"net"},
           "expat.h": {"net"}}
C11 = {f"{name}.h" for name in """assert complex ctype errno fenv float inttypes iso646 limits
       locale math setjmp signal stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib
       stdnoreturn string tgmath threads time uchar wchar wctype""".split()}

rank = {module: line for line, text in enumerate((SRC / "LAYERS").read_text().splitlines())
        for module in text.split()}
bad = []


def complain(path, text):
    bad.append(f"{path.relative_to(ROOT)}: {text}")


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.suffix in SUFFIXES)


def module_of_public(name):
    stem = pathlib.PurePath(name).stem
    return "base" if stem in PUBLIC_OF_BASE else PUBLIC_OF.get(stem, stem)


def check_public(path, here, name):
    """An include of lynx/<name>.h from module 'here'."""
    there = module_of_public(name)
    if not (PUBLIC / name).exists():
        complain(path, f"{name} does not exist")
    elif there not in rank:
        complain(path, f"{name} belongs to no module of src/LAYERS")
    elif rank[there] > rank[here]:
        complain(path, f"{here} may not include {name}, which is above it")


def check_private(path, here, name):
    beside = path.parent / name
    target = (beside if beside.exists() else SRC / name).resolve()
    if not target.exists() or not target.is_relative_to(SRC):
        complain(path, f"{name} is not a header of src/")
        return
    there = target.relative_to(SRC).parts[0]
    if there != here and rank.get(there, len(rank)) >= rank[here]:
        complain(path, f"{here} may not include {name}, which is not below it")


def check_system(path, here, name):
    if name.startswith("openssl/"):
        if here not in {"link", "store"}:
            complain(path, f"{here} may not include <{name}>")
    elif name in FOREIGN:
        if here not in FOREIGN[name]:
            complain(path, f"{here} may not include <{name}>")
    elif name not in C11 and here not in KNOWS_SYSTEM:
        complain(path, f"{here} is pure C11 and may not include <{name}>")


def check_library(path, here):
    if here not in rank:
        complain(path, f"module {here} is not in src/LAYERS")
        return
    for bracket, name in INCLUDE.findall(path.read_text()):
        if name.startswith("lynx/"):
            check_public(path, here, name)
        elif bracket == "<":
            check_system(path, here, name)
        else:
            check_private(path, here, name)


for path in files(SRC):
    check_library(path, path.relative_to(SRC).parts[0])
for path in files(PUBLIC):
    if path.name != "lynx.h":  # which includes the rest
        check_library(path, module_of_public(path.name))
for path in files(ROOT / "apps"):
    for bracket, name in INCLUDE.findall(path.read_text()):
        own = (path.parent / name).exists() or (ROOT / "apps/shared" / name).exists()
        if bracket == '"' and not name.startswith("lynx/") and not own:
            complain(path, f"programs may not include {name}")

print("\n".join(bad), end="\n" if bad else "")
sys.exit(bool(bad))
