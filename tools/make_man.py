#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Manual pages from what the programs say of themselves, so that the two cannot differ.

    tools/make_man.py FOLDER-OF-PROGRAMS PAGE.in PAGE

A page is written by hand but for lines that name a command:

    .\\" @commands lynx    each command with its options, exit codes and examples
    .\\" @keys lynxd       each option that may stand in a file, command by command

@VERSION@ is the version.
"""
import os
import pathlib
import re
import subprocess
import sys

COMMAND = re.compile(r"(?m)^  ([a-z]+) {2,}")
COMMAND_LINE = re.compile(r"^  ([a-z][A-Za-z \[\]]*?)  +(\S.*)$")
# Options that stand on a command line alone.
NOT_IN_FILES = {"--help", "--config", "--check-config", "--version"}


def run(folder, words):
    program, *rest = words
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LYNX_")}
    done = subprocess.run([folder / program, *rest], capture_output=True, text=True, check=True,
                          env=clean)
    return done.stdout


def commands(folder, program):
    """Every command that has a --help of its own, as words."""
    found = []
    for name in COMMAND.findall(run(folder, [program, "--help"])):
        text = run(folder, [program, name, "--help"])
        # A group: 'Usage: lynx bench codec|link [options]'.
        group = re.match(rf"Usage: {program} {name} ([a-z0-9]+(?:\|[a-z0-9]+)+)", text)
        parts = group.group(1).split("|") if group else [None]
        found += [[program, name] + ([part] if part else []) for part in parts]
    return found


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def block(lines):
    yield ".nf"
    yield ".RS 4"
    yield from (escape(line.strip()) for line in lines)
    yield ".RE"
    yield ".fi"


def split_option(line):
    """Its names and the beginning of its text, or None."""
    if not re.match(r" +-", line):
        return None
    bare = line.strip()
    if "  --" in bare: # several in a line
        return bare, ""
    match = re.match(r"(.*?\S)(?: {2,}(?!-)(.*))$", bare)
    if match:
        return match.group(1), match.group(2)
    # One blank stands between a long option and its text.
    match = re.match(r"((?:-\w, )?--[a-z][a-z-]*(?: [A-Z][A-Z:,\[\].]*)?) (.*)$", bare)
    return (match.group(1), match.group(2)) if match else (bare, "")


def render(text):
    """The body of a --help, without its usage line, in troff."""
    paragraphs = [part.split("\n") for part in text.strip("\n").split("\n\n")]
    for lines in paragraphs:
        in_option = False
        index = 0
        while index < len(lines):
            line = lines[index]
            option = split_option(line)
            if option:
                yield ".TP"
                yield f"\\fB{escape(option[0])}\\fR"
                if option[1]:
                    yield escape(option[1])
                in_option = True
            elif in_option and line.startswith(" " * 6):
                yield escape(line.strip())
            elif re.match(r"Examples?:$", line):
                yield ".PP"
                yield escape(line)
                yield ".PP"
                yield from block(lines[index + 1:])
                break
            elif line.endswith(":") and not line.startswith(" ") and index == 0:
                yield ".PP"
                yield f"\\fI{escape(line[:-1])}\\fR"
            elif line.startswith("  ") and COMMAND_LINE.match(line):
                name, rest = COMMAND_LINE.match(line).groups()
                yield ".TP"
                yield f"\\fB{escape(name)}\\fR"
                yield escape(rest)
                in_option = True
            else:
                if index == 0:
                    yield ".PP"
                yield escape(line.strip())
            index += 1


def usage_and_body(text):
    head, body = text.split("\n\n", 1)
    return [line.replace("Usage:", "").strip() for line in head.split("\n")], body


def command_pages(folder, program):
    for words in commands(folder, program):
        usage, body = usage_and_body(run(folder, [*words, "--help"]))
        yield f".SS {escape(' '.join(words))}"
        yield from block(usage)
        yield from render(body)


def key_pages(folder, program):
    for words in commands(folder, program):
        _, body = usage_and_body(run(folder, [*words, "--help"]))
        yield f".SS {escape('[' + words[1] + ']')}"
        text = None
        for line in body.split("\n"):
            option = split_option(line)
            if option:
                long_name = re.search(r"--[a-z][a-z-]*", option[0])
                text = None
                if long_name and long_name.group() not in NOT_IN_FILES:
                    value = option[0][long_name.end():].strip() or "true | false"
                    text = option[1]
                    yield ".TP"
                    yield f"\\fB{escape(long_name.group()[2:])}\\fR = {escape(value)}"
                    if text:
                        yield escape(text)
            elif line.startswith(" " * 6) and text is not None:
                yield escape(line.strip())
            else:
                text = None


def main():
    folder, source, target = map(pathlib.Path, sys.argv[1:])
    lines = []
    for line in source.read_text().splitlines():
        order = re.match(r'\.\\" @(\w+) (\w+)$', line)
        if not order:
            lines.append(line)
        elif order.group(1) == "commands":
            lines += command_pages(folder, order.group(2))
        elif order.group(1) == "keys":
            lines += key_pages(folder, order.group(2))
        else:
            sys.exit(f"{source}: unknown '@{order.group(1)}'")
    version = run(folder, ["lynx", "--version"]).split()[1]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines).replace("@VERSION@", version) + "\n")


main()
