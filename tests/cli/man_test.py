#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The manual pages that the build made name every command and option of --help."""
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, SOURCE, Case, run

PAGES = BIN.parent / "man"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
# On the command line alone.
NOT_KEYS = {"--help", "--config", "--check-config"}


def commands(program):
    """Leaves of the tree that the programs' --help describe, as 'lynx bench link'."""
    found = []
    for name in re.findall(r"(?m)^  ([a-z]+) {2,}", run(program, "--help").stdout):
        group = re.match(rf"Usage: {program} {name} ([a-z0-9|]+\|[a-z0-9]+)",
                         run(f"{program} {name}", "--help").stdout)
        found += [f"{program} {name} {part}" for part in group.group(1).split("|")] if group \
            else [f"{program} {name}"]
    return found


def page(name):
    """Its source with troff's marks taken out."""
    text = (PAGES / name).read_text()
    return re.sub(r"\\f[BIR]", "", text.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\"))


@unittest.skipUnless(PAGES.exists(), f"{PAGES} was not built")
class Pages(Case):
    def test_the_tree_of_commands_is_found(self):
        self.assertIn("lynx bench link", commands("lynx"))
        self.assertIn("lynxd prefill", commands("lynxd"))

    def test_every_command_and_option_is_in_its_page(self):
        for program, name in (("lynx", "lynx.1"), ("lynxd", "lynxd.8")):
            sections = dict(zip(*[iter(re.split(r"(?m)^\.S[SH] (.*)$", page(name))[1:])] * 2))
            for command in commands(program):
                options = set(OPTION.findall(run(command, "--help").stdout))
                with self.subTest(command=command):
                    self.assertEqual(options - set(OPTION.findall(sections[command])), set())

    def test_every_option_that_a_file_may_have_is_a_key(self):
        sections = dict(zip(*[iter(re.split(r"(?m)^\.S[SH] (.*)$", page("lynxd.ini.5"))[1:])] * 2))
        for command in commands("lynxd"):
            text = run(command, "--help").stdout
            options = {name for line in text.splitlines()
                       for name in re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", line)} - NOT_KEYS
            keys = set(re.findall(r"(?m)^([a-z-]+) = ", sections[f"[{command.split()[1]}]"]))
            with self.subTest(command=command):
                self.assertEqual({f"--{key}" for key in keys}, options)

    def test_they_are_what_the_programs_say_now(self):
        for source in sorted((SOURCE / "docs/man").glob("*.in")):
            target = PAGES / source.stem
            with self.subTest(page=source.stem):
                done = subprocess.run([sys.executable, SOURCE / "tools/make_man.py", BIN, source,
                                       "/dev/stdout"], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(done.stdout, target.read_text())

    def test_they_render_without_warnings(self):
        tools = [["mandoc", "-Tlint", "-W", "warning"], ["groff", "-man", "-ww", "-Tutf8", "-z"]]
        tools = [tool for tool in tools if shutil.which(tool[0])]
        if not tools:
            self.skipTest("neither mandoc nor groff is here")
        for path in sorted(PAGES.iterdir()):
            for tool in tools:
                with self.subTest(page=path.name, tool=tool[0]):
                    done = subprocess.run([*tool, path], capture_output=True, text=True)
                    self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
