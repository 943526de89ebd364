#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the programs say before any model is loaded: help, options, numbers, files."""
import json
import os
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ESCAPE, Case, run

COMMANDS = {
    # command: exit codes that its --help must name
    "lynx run": [0, 1, 2, 3, 4, 5, 6, 130],
    "lynx cache add": [0, 1, 2, 5, 6, 130],
    "lynx cache gc": [0, 1, 2, 6],
    "lynx cache ls": [0, 1, 2, 6],
    "lynx cache pull": [0, 1, 2, 3, 4, 5, 6, 130],
    "lynx cache push": [0, 1, 2, 3, 4, 5, 6, 130],
    "lynx cache rm": [0, 1, 2, 6],
    "lynx cache show": [0, 1, 2, 4, 5, 6],
    "lynx cache verify": [0, 1, 2, 4, 5, 6],
    "lynx demo": [0, 1, 2, 3, 130],
    "lynx eval": [0, 1, 2],
    "lynx bench codec": [0, 1, 2],
    "lynx bench engine": [0, 1, 2],
    "lynx bench guess": [0, 1, 2],
    "lynx plan": [0, 1, 2],
    "lynx inspect": [0, 1, 2, 5],
    "lynx requantize": [0, 1, 2],
    "lynxd prefill": [0, 1, 2, 3, 4, 5, 6],
    "lynxd decode": [0, 1, 2, 3, 6],
}
GROUPS = ["lynx", "lynx bench", "lynx cache", "lynxd"]


class Help(Case):
    def test_each_command_has_help_with_an_example(self):
        for command in [*COMMANDS, *GROUPS]:
            for option in ("--help", "-h"):
                with self.subTest(command=command, option=option):
                    done = run(command, option)
                    self.assertEqual(done.returncode, 0)
                    self.assertEqual(done.stderr, "")
                    self.assertTrue(done.stdout.startswith("Usage: " + command.split()[0]))
                    self.assertRegex(done.stdout.split("Example:\n")[1], f"(?m)^  {command}")
                    self.assertIsNone(ESCAPE.search(done.stdout))
                    self.assertLessEqual(max(map(len, done.stdout.splitlines())), 100)

    def test_help_names_the_exit_codes(self):
        for command, codes in COMMANDS.items():
            with self.subTest(command=command):
                text = run(command, "--help").stdout
                named = text.split("Exit codes:")[1].split("\n\n")[0]
                self.assertEqual([int(code) for code in re.findall(r"\b\d+\b", named)], codes)

    def test_every_option_in_help_is_taken(self):
        for command in COMMANDS:
            text = run(command, "--help").stdout
            for option in re.findall(r"(?m)(?:^|  |, )(--[a-z][a-z0-9-]+)", text):
                with self.subTest(command=command, option=option):
                    # The first may be its value; the second is an error in any case.
                    done = run(command, option, "--nonsense", "--nonsense")
                    self.assertEqual(done.returncode, 2)
                    self.assertNotIn(f"'{option}'", done.stderr)

    def test_version(self):
        for program in ("lynx", "lynxd"):
            done = run(program, "--version")
            self.assertEqual(done.returncode, 0)
            self.assertEqual(done.stderr, "")
            self.assertRegex(done.stdout, rf"\A{program} \d+\.\d+\.\d+\n\Z")

    def test_nothing_at_all_shows_the_help_as_an_error(self):
        for program in ("lynx", "lynxd"):
            done = run(program)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stdout, "")
            self.assertEqual(done.stderr, run(program, "--help").stdout)

    def test_a_full_disk_behind_stdout_is_told(self):
        for command in ("lynx --help", "lynx --version", "lynxd --version", "lynx run --help"):
            with self.subTest(command=command), open("/dev/full", "w") as full:
                done = run(command, stdout=full)
                self.assertEqual(done.returncode, 1)
                self.assertIn("cannot write to standard output", done.stderr)


class Options(Case):
    def test_unknown_commands(self):
        for program in ("lynx", "lynxd"):
            self.assert_usage(run(program, "nonsense"), program, "unknown command 'nonsense'")
            self.assert_usage(run(program, "--nonsense"), program, "unknown option '--nonsense'")
        self.assert_usage(run("lynx bench"), "lynx bench", "codec")
        self.assert_usage(run("lynx bench", "disk"), "lynx bench", "'disk'", "codec")

    def test_unknown_options(self):
        for command in COMMANDS:
            for option in ("--nonsense", "-x"):
                with self.subTest(command=command, option=option):
                    self.assert_usage(run(command, option), command, f"unknown option '{option}'")

    def test_options_without_their_value(self):
        for command, option in (("lynx run", "--prefill"), ("lynx run", "-m"),
                                ("lynx demo", "--tokens"), ("lynx eval", "--codec"),
                                ("lynx bench codec", "--mib"), ("lynx bench engine", "--slots"),
                                ("lynxd prefill", "--listen"), ("lynxd prefill", "--config"),
                                ("lynxd decode", "--http")):
            with self.subTest(command=command):
                self.assert_usage(run(command, option), command, f"'{option}' needs a value")

    def test_options_with_a_value_that_they_do_not_take(self):
        for command, option in (("lynx run", "--json=1"), ("lynx inspect", "--json=1"),
                                ("lynx run", "--help=1"), ("lynxd prefill", "--once=1"),
                                ("lynx run", "--verbose=1"),
                                ("lynxd prefill", "--check-config=1")):
            with self.subTest(command=command):
                self.assert_usage(run(command, option), command, f"'{option}' takes no value")

    def test_numbers_outside_their_range(self):
        wrong = {
            "lynx run": ["-n 0", "-n -1", "-n 1.5", "-n x", "-n 99999999999999999999", "-t 0",
                         "-c -1", "--temp -1", "--temp nan", "--temp 1e999", "--top-p 0",
                         "--top-p 1.1", "--min-p 1", "--top-k -1", "--repeat-penalty 0",
                         "--frequency-penalty 3", "--presence-penalty -3", "--repeat-last-n x",
                         "--seed 4294967296", "--draft-max 4097", "--link-mbps 0",
                         "--link-delay-ms -1", "--timeout 0", "--gpu-layers x"],
            "lynxd prefill": ["--link-mbps 1e9", "--timeout 1s", "-c 1e3", "--threads-batch 0",
                              "--grace -1", "--grace x", "--max-queue 0", "--resume 0"],
            "lynxd decode": ["--slots 0", "--slots 65", "--queue -1", "--max-connections 0",
                             "--max-body 0", "--request-timeout -1", "--idle-timeout 0.5",
                             "--grace x", "--draft-max 4097", "--codec x", "--http nonsense"],
            "lynx demo": ["--tokens 0", "--int8-seconds 0", "--draft-max 63"],
            "lynx eval": ["--tokens 0", "--tokens 1,,2", "--positions 0", "--prompts 0",
                          "--planes 9", "--items 0", "--task magic"],
            "lynx bench codec": ["--mib 0", "--mib 4097"],
            "lynx bench engine": ["--slots 0", "--slots 17", "--prompt 0", "--tokens 0",
                                  "--rounds 100"],
            "lynx bench guess": ["--prompt 0", "--tokens 3"],
        }
        for command, options in wrong.items():
            for option in options:
                with self.subTest(command=command, option=option):
                    name, value = option.split()
                    self.assert_usage(run(command, name, value), command, f"'{value}'")

    def test_names_that_are_none(self):
        for command, *option in (("lynx run", "--method", "magic"), ("lynx run", "--codec", "x"),
                                 ("lynx run", "--cache-type", "q4"), ("lynx run", "--exact", "x"),
                                 ("lynx run", "--flash-attn", "x"),
                                 ("lynx run", "--cache-access", "x"),
                                 ("lynxd prefill", "--log-level", "loud"),
                                 ("lynxd prefill", "--log-format", "xml"),
                                 ("lynx eval", "-m", "x", "--codec", "int8,magic", "LICENSE"),
                                 ("lynx eval", "-m", "x", "--codec", "range:tail=64,x=1", "L"),
                                 ("lynx eval", "-m", "x", "--tokens", "5,6", "LICENSE"),
                                 ("lynx eval", "-m", "x", "--task", "choice", "LICENSE"),
                                 ("lynx eval", "-m", "x", "--task", "choice", "--plot", "x"),
                                 ("lynx run", "--codec", "range:tail=5000"),
                                 ("lynx bench engine", "--exact", "x"),
                                 ("lynx run", "--guess", "x"), ("lynxd decode", "--guess", "x"),
                                 ("lynx run", "--branches", "8"),
                                 ("lynx bench codec", "--profile", "magic"),
                                 ("lynx bench codec", "--kernels", "magic")):
            with self.subTest(command=command, option=option):
                self.assert_usage(run(command, *option), command)

    def test_arguments_that_do_not_go_together(self):
        for command, *arguments in (
                ("lynx run", "--local"), ("lynx run", "-m", "x"), ("lynx run", "--local", "extra"),
                ("lynx run", "--local", "--prefill", "127.0.0.1:1"),
                ("lynx run", "--local", "--record", "x"), ("lynxd prefill", "extra"),
                ("lynx bench guess", "-m", "x"), ("lynx bench engine",), ("lynx bench engine", "-m", "x", "extra"),
                ("lynxd decode", "extra"), ("lynxd decode",),
                ("lynxd decode", "-m", "x", "--http-cert", "x"),
                ("lynxd decode", "-m", "x", *["--prefill", "127.0.0.1:1"] * 9),
                ("lynxd decode", "-m", "x", "--prefill", "nonsense"),
                ("lynxd prefill",), ("lynx eval",), ("lynx eval", "-m", "x"), ("lynx inspect",),
                ("lynx inspect", "a", "b"), ("lynx requantize", "a"),
                ("lynx requantize", "a", "b", "f16", "d"),
                ("lynx demo", "--full", "a", "b")):
            with self.subTest(command=command, arguments=arguments):
                self.assert_usage(run(command, *arguments), command)

    def test_a_node_listens_only_on_this_machine(self):
        with tempfile.TemporaryDirectory() as home:  # without keys
            environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home}
            for address in ("0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0"):
                with self.subTest(address=address):
                    done = run("lynxd prefill", "-m", "x", "--listen", address, env=environment)
                    self.assert_usage(done, "lynxd prefill", "127.0.0.1",
                                      "--insecure-plaintext", "lynx keys")

    def test_addresses_that_are_none(self):
        for address in ("7600", "127.0.0.1:99999", "::1:7600", "nonsense"):
            with self.subTest(address=address):
                self.assert_usage(run("lynxd prefill", "-m", "x", "--listen", address),
                                  "lynxd prefill", "HOST:PORT")


class Files(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def put(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def test_a_model_that_is_none(self):
        wrong = {
            self.folder / "missing.gguf": "check the path",
            self.put("empty.gguf", b""): "is not a GGUF file",
            self.put("garbage.gguf", bytes(range(256)) * 16): "is not a GGUF file",
            self.put("header.gguf", b"GGUF\3\0\0\0" + bytes(64)): "cannot load",
            self.folder: "is not a GGUF file",
        }
        commands = {"lynx run": ["--local", "-p", "x"], "lynx eval": ["LICENSE"],
                    "lynx demo": ["--output", self.folder / "demo"],
                    "lynxd prefill": ["--listen", "127.0.0.1:0"],
                    "lynxd decode": ["--http", "127.0.0.1:0"]}
        for path, words in wrong.items():
            for command, more in commands.items():
                with self.subTest(path=path.name, command=command):
                    self.assert_refused(run(command, "-m", path, *more), 1, command, words,
                                        path.name)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_model_that_may_not_be_read(self):
        path = self.put("secret.gguf", b"GGUF")
        path.chmod(0)
        self.assert_refused(run("lynx run", "-m", path, "--local", "-p", "x"), 1, "lynx run",
                            "cannot open")

    def test_requantize(self):
        target = self.folder / "target.gguf"
        self.assert_refused(run("lynx requantize", self.folder / "missing", target, "f16"), 1,
                            "lynx requantize", "missing", "check the path")
        garbage = self.put("garbage.gguf", bytes(1000))
        self.assert_refused(run("lynx requantize", garbage, target, "f16"), 1, "lynx requantize",
                            "garbage.gguf")
        self.assert_refused(run("lynx requantize", garbage, target, "q3"), 2, "lynx requantize",
                            "use f16 or q8_0")
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["garbage.gguf"])

    def test_demo_says_which_folder_cannot_be_written(self):
        path = self.put("file", b"") / "demo"
        self.assert_refused(run("lynx demo", "-m", "x", "--output", path), 1, "lynx demo",
                            str(path))

    def test_inspect_of_what_is_no_recording(self):
        self.assert_refused(run("lynx inspect", self.folder / "missing"), 1, "lynx inspect",
                            "missing", "No such file")
        self.assert_refused(run("lynx inspect", self.folder), 1, "lynx inspect", "cannot read")
        empty = self.put("empty", b"")
        self.assert_refused(run("lynx inspect", empty), 5, "lynx inspect", "byte 0", "empty")
        garbage = self.put("garbage", b"x" * 100)
        self.assert_refused(run("lynx inspect", garbage), 5, "lynx inspect", "byte 0",
                            "no frame begins here")
        short = self.put("short", b"LYNX")
        self.assert_refused(run("lynx inspect", short), 5, "lynx inspect", "byte 0",
                            "ends inside a frame header")
        shown = run("lynx inspect", "--json", empty)
        self.assertEqual((shown.returncode, json.loads(shown.stdout)), (5, []))


class Bench(Case):
    def test_rows(self):
        shown = run("lynx bench codec", "--mib", 1, "--profile", "int8", "--kernels", "reference",
                    "--json")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertEqual(shown.stderr, "")
        rows = json.loads(shown.stdout)
        self.assertEqual({row["op"] for row in rows}, {"encode", "decode_anchor", "decode_full"})
        for row in rows:
            self.assertEqual(set(row), {"op", "profile", "table", "layout", "side", "gb_per_s",
                                        "memcpy_gb_per_s", "ratio"})
            self.assertEqual((row["profile"], row["table"]), ("int8", "reference"))
            self.assertGreater(row["gb_per_s"], 0)

    def test_table(self):
        shown = run("lynx bench codec", "--mib", 1, "--profile", "raw", "--kernels", "reference")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        lines = shown.stdout.splitlines()
        self.assertEqual(lines[0].split()[:5], ["op", "profile", "table", "layout", "side"])
        self.assertEqual(len(lines), 1 + 9)


if __name__ == "__main__":
    unittest.main()
