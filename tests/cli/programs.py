# SPDX-License-Identifier: MIT
"""Programs under test: run one to its end, keep a prefill node, look at what was written."""
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

BIN = pathlib.Path(os.environ["LYNX_BIN"])
MODELS = pathlib.Path(os.environ["LYNX_TEST_MODELS"])
SOURCE = pathlib.Path(__file__).resolve().parents[2]
ESCAPE = re.compile(r"\x1b")
# Threads of the engine wait for each other in a loop: two of them on a busy machine take ten
# times as long as one.
ONE_THREAD = ["-t", "1"]


def run(command, *arguments, timeout=60, **options):
    """Run e.g. 'lynx run' with arguments; stdin is empty unless given."""
    program, *rest = command.split()
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
               "stderr": subprocess.PIPE, **options}
    if "input" in options:
        del options["stdin"]
    return subprocess.run([BIN / program, *rest, *map(str, arguments)], text=True,
                          timeout=timeout, **options)


def model(name):
    path = MODELS / name
    if not path.exists():
        raise unittest.SkipTest(f"{path} is not there; run 'make models'")
    return path


class Node:
    """A prefill node on a free port of loopback; a context manager."""

    def __init__(self, path, *options):
        self.folder = tempfile.TemporaryDirectory()
        port = pathlib.Path(self.folder.name) / "port"
        self.process = subprocess.Popen(
            [BIN / "lynxd", "prefill", "-m", path, "--listen", "127.0.0.1:0", "--port-file", port,
             *ONE_THREAD, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True)
        while not port.exists():
            if self.process.poll() is not None:
                raise RuntimeError(self.process.stderr.read())
            time.sleep(0.02)
        self.address = f"127.0.0.1:{port.read_text().strip()}"

    def stop(self, number=signal.SIGTERM):
        """Exit code, standard output and error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self.folder.cleanup()


class Case(unittest.TestCase):
    def assert_refused(self, done, code, command, *words):
        """One clear line on stderr in the command's name, nothing on stdout, that exit code."""
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith(command + ": "), lines[0])
        self.assertTrue(done.stderr.endswith("\n"))
        self.assertIsNone(ESCAPE.search(done.stderr))
        for word in words:
            self.assertIn(word, lines[0])

    def assert_usage(self, done, command, *words):
        """Refused as a mistake of the user, with the place where help is."""
        self.assert_refused(done, 2, command, *words, f"see '{command} --help'")
