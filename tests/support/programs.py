# SPDX-License-Identifier: MIT
"""Programs under test: run one to its end, keep a prefill node, look at what was written.

LYNX_BIN is their folder, LYNX_TEST_MODELS that of the models. LYNX_FULL=1: tests take hours where
minutes are not enough."""
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
FULL = os.environ.get("LYNX_FULL") == "1"
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


class Daemon:
    """A lynxd until the context ends; what it writes goes to files, so that it never waits for a
    reader. 'port_option' names the file in which it announces its port."""

    def __init__(self, command, port_option, env=None):
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        self.log_path = folder / "log"
        self.output_path = folder / "output"
        command = [*command, port_option, folder / "port"]
        with open(self.log_path, "w") as log, open(self.output_path, "w") as output:
            self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=log, env=env)
        try:
            self.await_condition((folder / "port").exists)
        except BaseException:
            self.close()
            raise
        self.port = int((folder / "port").read_text())

    def log(self):
        return self.log_path.read_text()

    def await_condition(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"waited in vain; the node says: {self.log()}")
            time.sleep(0.02)

    def stop(self, number=signal.SIGTERM):
        """Exit code, standard output and log."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(timeout=60)
        return self.process.returncode, self.output_path.read_text(), self.log()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Node(Daemon):
    """lynxd prefill. 'prefix': what starts the program, 'host': what it listens on instead of a
    free port of loopback, 'threads': of the engine."""

    def __init__(self, path, *options, prefix=(), host="127.0.0.1:0", threads=1, env=None):
        super().__init__([*prefix, BIN / "lynxd", "prefill", "-m", path, "-t", threads, "--listen",
                          host, *options], "--port-file", env)
        self.address = host if host.startswith("unix:") else f"127.0.0.1:{self.port}"


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
