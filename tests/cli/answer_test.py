#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a user sees of real answers: streams, terminal, JSON, signals, failures, recordings."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, ESCAPE, ONE_THREAD, SOURCE, Case, Node, model, run
from terminal import Screen, run_on_terminal, shown

MODEL, OTHER = "smollm2-135m-q8_0.gguf", "smollm2-135m-f16.gguf"
TEXT = (SOURCE / "LICENSE").read_text()


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.02)


class Local(Case):
    """Without a prefill node."""

    @classmethod
    def setUpClass(cls):
        cls.model = model(MODEL)
        cls.common = [*ONE_THREAD, "-m", cls.model, "--local"]

    def test_answer_on_stdout_and_messages_on_stderr(self):
        common = [*self.common, "-n", 12]
        told = json.loads(run("lynx run", *common, "-p", "Name three colours.", "--json").stdout)
        done = run("lynx run", *common, input="Name three colours.")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stdout, told["text"] + "\n")
        self.assertRegex(done.stderr,
                         r"\A\d+ prompt tokens, 12 tokens in \d+\.\d\d s \(exact\)\n\Z")
        self.assertIsNone(ESCAPE.search(done.stdout + done.stderr))

    def test_a_file_and_a_question(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("One.")
            file.flush()
            both = run("lynx run", *self.common, "-n", 1, "-f", file.name, "-p", "Two.", "--json")
        one = run("lynx run", *self.common, "-n", 1, "-p", "One.\n\nTwo.", "--json")
        self.assertEqual(json.loads(both.stdout)["prompt_tokens"],
                         json.loads(one.stdout)["prompt_tokens"])

    def test_prompts_that_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            empty = pathlib.Path(folder) / "empty"
            empty.write_text("\n\n")
            for more in (["-f", empty], [], ["--raw-prompt", "-p", ""], ["--tokens", "-p", ","]):
                with self.subTest(more=more):
                    self.assert_usage(run("lynx run", *self.common, *more), "lynx run",
                                      "the prompt is empty", "-p")
        for wrong in ("-1", "49152", "2x"):
            with self.subTest(token=wrong):
                done = run("lynx run", *self.common, "--tokens", "-p", f"1 {wrong}")
                self.assert_usage(done, "lynx run", "token id", wrong.lstrip("2"))
        done = run("lynx run", *self.common, "-c", 128, "-p", "word " * 200)
        self.assert_refused(done, 2, "lynx run", "do not fit the context of 128", "--ctx-size")
        done = run("lynx run", *self.common, "-c", 20, "-p", "word")
        self.assert_refused(done, 2, "lynx run", "use --ctx-size")
        done = run("lynx run", *self.common, "-f", "/nowhere.txt")
        self.assert_refused(done, 1, "lynx run", "/nowhere.txt", "No such file")

    def test_a_model_that_is_cut_off(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "cut.gguf"
            with open(self.model, "rb") as file:
                path.write_bytes(file.read(4 << 20))
            done = run("lynx run", "-m", path, "--local", "-p", "x")
            self.assert_refused(done, 1, "lynx run", "cut.gguf", "fetch it again")
            done = run("lynx requantize", path, path.with_name("target.gguf"), "f16")
            self.assert_refused(done, 1, "lynx requantize", "cut.gguf", "corrupted or incomplete")
            self.assertEqual([p.name for p in path.parent.iterdir()], ["cut.gguf"])

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "w") as full:
            done = run("lynx run", *self.common, "-p", "x", "-n", 1, "--json", stdout=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write to standard output", done.stderr)

    def test_interrupt(self):
        process = subprocess.Popen(
            [BIN / "lynx", "run", *self.common, "-p", "Count.", "-n", "4000", "--ignore-end"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.read(1)  # the answer has begun
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(errors, "lynx run: the request was cancelled\n")

    def test_an_interrupted_demo_leaves_no_process(self):
        with tempfile.TemporaryDirectory() as folder:
            demo = subprocess.Popen(
                [BIN / "lynx", "demo", *ONE_THREAD, "-m", self.model, "--output", folder,
                 "--tokens", "32", SOURCE / "LICENSE"], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True)
            log = pathlib.Path(folder) / "log"
            wait_until(log.exists)  # of the first plain process
            children = children_of(demo.pid)
            self.assertEqual(len(children), 1)
            demo.send_signal(signal.SIGINT)
            output, errors = demo.communicate(timeout=20)
            self.assertEqual(demo.returncode, 130, errors)
            self.assertEqual(output, "")
            self.assertEqual([id for id in children if is_alive(id)], [])


def children_of(parent):
    tasks = pathlib.Path(f"/proc/{parent}/task")
    return [int(id) for task in tasks.iterdir() for id in (task / "children").read_text().split()]


def is_alive(id):
    try:
        return pathlib.Path(f"/proc/{id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Linked(Case):
    """With one prefill node for all, over an emulated link that is slow enough for drafts."""

    @classmethod
    def setUpClass(cls):
        cls.model = model(MODEL)
        cls.node = Node(cls.model, "--link-mbps", 12)
        cls.addClassCleanup(cls.node.close)
        cls.node_only = [*ONE_THREAD, "-m", cls.model, "--prefill", cls.node.address,
                         "--raw-prompt", "-p"]
        cls.common = [*cls.node_only, TEXT[:900]]

    def test_json_is_one_object_with_the_documented_fields(self):
        done = run("lynx run", *self.common, "-n", 3, "--json", "--cache-digest")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.count("\n"), 1)
        told = json.loads(done.stdout)
        text = run("lynx run", "--help").stdout.split("JSON object on stdout:")[1]
        self.assertEqual(set(told), set(re.findall(r"\w+", text.split("\n\n")[0])))
        self.assertEqual(len(told["tokens"]), 3)
        self.assertEqual(told["exactness"], "exact")
        self.assertIsNone(told["tt16t_s"])
        self.assertGreater(told["bytes_total"], 0)
        self.assertRegex(told["cache_digest"], r"\A[0-9a-f]{16}\Z")

    def test_drafts_are_dim_on_a_terminal_until_verified(self):
        common = [*self.common, "-n", 40]
        plain = run("lynx run", *common)
        self.assertIsNone(ESCAPE.search(plain.stdout))
        for columns in (10, 79):
            with self.subTest(columns=columns):
                code, written, _ = run_on_terminal(
                    [BIN / "lynx", "run", *map(str, common)], columns)
                self.assertEqual(code, 0)
                self.assertIn("\x1b[2m", written)
                screen = Screen(columns)
                screen.write(written)
                lines, is_dim = screen.text()
                self.assertFalse(is_dim)
                self.assertEqual(lines, shown(plain.stdout, columns))

    def test_drafts_that_a_review_withdraws_leave_no_trace(self):
        with Node(self.model, "--link-mbps", 6) as node:
            common = [*ONE_THREAD, "-m", self.model, "--raw-prompt", "-p", TEXT[:900], "-n", 40,
                      "--codec", "range-3:k=2+2+4,v=2+2+4,head=0", "--prefill", node.address]
            told = json.loads(run("lynx run", *common, "--json").stdout)
            self.assertGreater(told["reviews"], 0)
            self.assertGreater(told["withdrawn"], 0)
            for columns in (10, 79):
                with self.subTest(columns=columns):
                    code, written, _ = run_on_terminal(
                        [BIN / "lynx", "run", *map(str, common)], columns)
                    self.assertEqual(code, 0)
                    screen = Screen(columns)
                    screen.write(written)
                    lines, is_dim = screen.text()
                    self.assertFalse(is_dim)
                    self.assertEqual(lines, shown(told["text"] + "\n", columns))

    def test_no_color_means_none(self):
        code, written, errors = run_on_terminal(
            [BIN / "lynx", "run", *map(str, self.common), "-n", "4"], 79,
            env={**os.environ, "NO_COLOR": "1"})
        self.assertEqual(code, 0)
        self.assertIsNone(ESCAPE.search(written + errors))

    def test_a_damaged_recording(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "exchange.bin"
            done = run("lynx run", *self.common, "-n", 2, "--record", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            whole = path.read_bytes()
            shown_whole = run("lynx inspect", "--json", path)
            self.assertEqual((shown_whole.returncode, shown_whole.stderr), (0, ""))
            frames = json.loads(shown_whole.stdout)
            self.assertEqual(len(run("lynx inspect", path).stdout.splitlines()), len(frames))
            page = next(f for f in frames if f["type"] == "PAGE")
            start = page["offset"]

            plane = ("page", "layer", "side", "plane")
            last = [f["offset"] for f in frames if f["type"] == "PAGE" and
                    all(f[key] == page[key] for key in plane)][-1]

            def check(data, words, start=start):
                path.write_bytes(data)
                done = run("lynx inspect", path)
                self.assertEqual(done.returncode, 5)
                self.assertEqual(done.stderr, f"lynx inspect: byte {start}: {words}\n")
                before = [f for f in frames if f["offset"] < start]
                self.assertEqual(len(done.stdout.splitlines()), len(before))
                rows = json.loads(run("lynx inspect", "--json", path).stdout)
                self.assertEqual(rows, before)

            def flip(at):
                data = bytearray(whole)
                data[at] ^= 4
                return data

            check(flip(start), "no frame begins here")
            check(flip(start + 9), "the header does not match its checksum")
            check(flip(start + 40), "the payload does not match its checksum")
            check(flip(start + 40 + 32 + 5), "the plane does not match its checksum", last)
            check(whole[:start + 39], "the stream ends inside a frame header")
            check(whole[:start + 41], "the stream ends inside a payload")

    def test_a_recording_that_cannot_be_written(self):
        done = run("lynx run", *self.common, "--record", "/nowhere/exchange.bin")
        self.assert_refused(done, 1, "lynx run", "/nowhere/exchange.bin", "No such file")
        done = run("lynx run", *self.common, "--record", "/dev/full", "-n", 2, "--json")
        self.assert_refused(done, 1, "lynx run", "/dev/full", "is the disk full?")
        # So little that it fails no sooner than it is closed.
        done = run("lynx run", *self.node_only, "x", "--record", "/dev/full", "-n", 1, "--json")
        self.assert_refused(done, 1, "lynx run", "/dev/full", "is the disk full?")

    def test_other_weights(self):
        common = [*ONE_THREAD, "-m", model(OTHER), "--prefill", self.node.address, "-p", "x"]
        self.assert_refused(run("lynx run", *common), 4, "lynx run", "--allow-other-weights")


class Listener:
    """A peer of loopback that is no prefill node."""

    def __init__(self, backlog, answer=None):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=backlog)
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.others = []
        if answer is not None:
            self.thread = threading.Thread(target=self.serve, args=(answer,))
            self.thread.start()

    def serve(self, answer):
        connection, _ = self.socket.accept()
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        self.others.append(connection)

    def close(self):
        for other in (*self.others, self.socket):
            other.close()


class Unreachable(Case):
    @classmethod
    def setUpClass(cls):
        cls.model = model(MODEL)

    def ask(self, address, *more):
        start = time.monotonic()
        done = run("lynx run", *ONE_THREAD, "-m", self.model, "--prefill", address, "-p", "x",
                   "-n", 2, *more)
        return done, time.monotonic() - start

    def listen(self, *arguments):
        listener = Listener(*arguments)
        self.addCleanup(listener.close)
        return listener

    def test_nobody_listens(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % unused.getsockname()[1]
            done, _ = self.ask(address, "--on-loss", "fail")
            answered, _ = self.ask(address, "--patience", 0.5)
        self.assertEqual(answered.returncode, 0, answered.stderr)
        lines = answered.stderr.splitlines()
        self.assertIn("no connection to the prefill node for 0.5 s", lines[0])
        self.assertIn("recomputed here", lines[-1])
        self.assert_refused(done, 3, "lynx run", "Connection refused", "lynxd prefill")

    def test_a_peer_that_never_accepts(self):
        listener = self.listen(0)
        for _ in range(2):  # the queue is full then: further calls are not answered
            other = socket.socket()
            other.setblocking(False)
            other.connect_ex(listener.socket.getsockname())
            listener.others.append(other)

        def ask(seconds):
            done, taken = self.ask(listener.address, "--timeout", 0.5, "--patience", seconds,
                                   "--on-loss", "fail")
            self.assert_refused(done, 3, "lynx run", "timed out", "lynxd prefill")
            return taken

        # On a busy machine the model may take longer for the one than for the other.
        self.assertTrue(any(ask(2.5) - ask(0.5) > 1 for _ in range(4)))

    def test_a_peer_that_never_speaks(self):
        done, seconds = self.ask(self.listen(5).address, "--timeout", 1, "--on-loss", "fail")
        self.assert_refused(done, 3, "lynx run", "1000 ms")
        self.assertGreater(seconds, 1)

    def test_a_peer_that_hangs_up(self):
        done, _ = self.ask(self.listen(5, b"").address, "--on-loss", "fail")
        self.assert_refused(done, 3, "lynx run")

    def test_a_peer_that_speaks_something_else(self):
        for _ in range(3):  # that may be read before the request is made, or behind it
            listener = self.listen(5, b"HTTP/1.1 400 Bad Request\r\n" + bytes(100))
            done, _ = self.ask(listener.address, "--on-loss", "fail")
            self.assert_refused(done, 5, "lynx run", "does not speak the Lynx protocol")

    def test_addresses_that_are_none(self):
        for address in ("nonsense", "127.0.0.1:99999", "::1:7600"):
            with self.subTest(address=address):
                done, _ = self.ask(address)
                self.assert_refused(done, 2, "lynx run", address, "HOST:PORT")


class PrefillNode(Case):
    @classmethod
    def setUpClass(cls):
        cls.model = model(MODEL)

    def test_signals_end_it_in_order(self):
        with Node(self.model) as node:
            code, output, errors = node.stop(signal.SIGINT)
        self.assertEqual((code, output), (0, ""))
        self.assertIn("is ready on port", errors)

    def test_an_interrupted_request_leaves_the_node_serving(self):
        with Node(self.model, "--link-mbps", 1) as node:
            common = [*ONE_THREAD, "-m", self.model, "--prefill", node.address, "--raw-prompt",
                      "-p"]
            asking = subprocess.Popen(
                [BIN / "lynx", "run", *map(str, common), TEXT[:900]], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True)
            asking.stdout.read(1)  # the first token is here, the cache is not
            asking.send_signal(signal.SIGINT)
            _, errors = asking.communicate(timeout=10)
            self.assertEqual(asking.returncode, 130)
            self.assertEqual(errors, "lynx run: the request was cancelled\n")
            stranger = socket.create_connection(node.address.split(":"))
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
            stranger.close()
            done = run("lynx run", *common, "x", "-n", 1)
            self.assertEqual(done.returncode, 0, done.stderr)
            code, output, errors = node.stop()
        self.assertEqual((code, output), (0, ""))
        self.assertEqual(len(re.findall(r"connection \d+ ended", errors)), 3, errors)

    def test_what_it_cannot_do(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            done = run("lynxd prefill", *ONE_THREAD, "-m", self.model, "--listen", address)
            self.assert_refused(done, 3, "lynxd prefill", address, "Address already in use")
        done = run("lynxd prefill", *ONE_THREAD, "-m", self.model, "--listen", "127.0.0.1:0",
                   "--port-file", "/nowhere/port")
        self.assert_refused(done, 1, "lynxd prefill", "/nowhere/port", "No such file")


if __name__ == "__main__":
    unittest.main()
