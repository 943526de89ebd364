#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynxd as a daemon: where its options come from, what it logs, how it ends."""
import datetime
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, ONE_THREAD, Case, Node, model, run
from serving import DecodeNode

MODEL = "smollm2-135m-q8_0.gguf"
# Some 350 tokens: about 4 MB of planes on the wire.
PROMPT = "The cat sat on the mat and looked at the rain. " * 30


class Files(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        # Without the keys and variables of who runs the test.
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("LYNX_PREFILL_")}
        self.environment.update(HOME=str(self.folder), XDG_CONFIG_HOME=str(self.folder))

    def put(self, *lines, name="lynxd.ini"):
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path

    def run_with(self, command, *arguments, **variables):
        return run(command, *arguments, env={**self.environment, **variables})


class Strength(Files):
    """Which model is not there tells which option counted."""

    def test_command_line_before_file_before_environment(self):
        path = self.put("[prefill]", "model = /of-the-file")
        variable = {"LYNX_PREFILL_MODEL": "/of-the-environment"}
        for words, variables, model_path in (
                ([], variable, "/of-the-environment"),
                (["--config", path], variable, "/of-the-file"),
                (["-m", "/of-the-line", "--config", path], variable, "/of-the-line"),
                ([], {**variable, "LYNX_PREFILL_CONFIG": str(path)}, "/of-the-file"),
                (["-m", "/of-the-line"], variable, "/of-the-line")):
            with self.subTest(words=words, variables=variables):
                done = self.run_with("lynxd prefill", *words, **variables)
                self.assert_refused(done, 1, "lynxd prefill", model_path)

    def test_a_flag_can_be_taken_back_by_what_is_stronger(self):
        # --insecure-plaintext does not go with --keys: an error shows that it counted.
        keys = "keys = /nowhere"
        for value, words in (("true", "does not go with"), ("false", "/nowhere"),
                             ("yes", "does not go with"), ("off", "/nowhere")):
            path = self.put("[prefill]", "model = x", keys, f"insecure-plaintext = {value}")
            done = self.run_with("lynxd prefill", "--config", path,
                                 LYNX_PREFILL_INSECURE_PLAINTEXT="true")
            with self.subTest(value=value):
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(words, done.stderr)

    def test_a_repeated_key_is_given_several_times(self):
        path = self.put("[prefill]", "model = x", "keys = /nowhere", "allow-node = a",
                        *(f"allow-node = n{i}" for i in range(255)))
        self.assertIn("/nowhere", self.run_with("lynxd prefill", "--config", path).stderr)
        done = self.run_with("lynxd prefill", "--config", path, LYNX_PREFILL_ALLOW_NODE="b")
        self.assert_usage(done, "lynxd prefill", f"{path}:259: allow-node: ")  # of 256 at most

    def test_a_variable_that_names_no_option_is_told(self):
        done = self.run_with("lynxd prefill", "-m", "/missing", LYNX_PREFILL_LISTN="x")
        self.assertEqual(done.returncode, 1)
        self.assertIn("lynxd prefill: warning: LYNX_PREFILL_LISTN names no option",
                      done.stderr.splitlines())

    def test_help_needs_no_settings(self):
        done = self.run_with("lynxd prefill", "--config", "/missing", "--help",
                             LYNX_PREFILL_CTX_SIZE="x")
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Mistakes(Files):
    WRONG = {  # a line, and what is said of it
        "ctx-size = x": "ctx-size: 'x' is not a value that this option takes",
        "listen = nonsense": "listen: 'nonsense' is not an address",
        "max-queue = 0": "max-queue: '0' is not a limit",
        "once = maybe": "once: say true or false",
        "listn = 127.0.0.1:1": "listn: there is no such option",
        "config = other.ini": "config: there is no such option, or none for a file",
        "help = true": "help: there is no such option, or none for a file",
        "model =": "model: it has no value",
        "log-level = loud": "log-level: 'loud' is not a value",
        "grace = -1": "grace: '-1' is not a value",
        "just words": "this is neither '[section]' nor 'key = value'",
        "[decode": "']' is missing",
        "[nonsense]": "there is no section [nonsense]",
        "model = " + "x" * 300: "more than",
    }

    def test_each_is_told_with_its_place(self):
        for line, words in self.WRONG.items():
            path = self.put("; settings", "", "[prefill]", "  timeout = 5 ; seconds", line)
            with self.subTest(line=line):
                for done in (self.run_with("lynxd prefill", "--config", path, "-m", "x"),
                             self.run_with("lynxd prefill", "-m", "x",
                                           LYNX_PREFILL_CONFIG=str(path))):
                    self.assert_usage(done, "lynxd prefill", f"{path}:5: ", words)

    def test_a_key_before_any_section(self):
        path = self.put("model = x", "[prefill]")
        self.assert_usage(self.run_with("lynxd prefill", "--config", path), "lynxd prefill",
                          f"{path}:1: ", "before the first [section]")

    def test_a_file_that_is_not_there(self):
        for path in (self.folder / "missing.ini", self.folder):
            self.assert_usage(self.run_with("lynxd prefill", "--config", path), "lynxd prefill",
                              str(path))

    def test_of_the_environment(self):
        done = self.run_with("lynxd prefill", LYNX_PREFILL_MAX_QUEUE="x")
        self.assert_usage(done, "lynxd prefill", "LYNX_PREFILL_MAX_QUEUE: ", "'x'")

    def test_of_the_command_line_have_no_place(self):
        path = self.put("[prefill]", "model = x")
        done = self.run_with("lynxd prefill", "--config", path, "-c", "y")
        self.assert_usage(done, "lynxd prefill", "lynxd prefill: 'y' is not")


class Check(Files):
    def check(self, path, **variables):
        """What both ways say, the same but for who says it."""
        alone = self.run_with("lynxd", "--check-config", path, **variables)
        other = self.run_with("lynxd prefill", "--check-config", "--config", path, **variables)
        self.assertEqual((alone.returncode, alone.stdout, alone.stderr),
                         (other.returncode, other.stdout, other.stderr))
        return alone

    def test_in_order(self):
        path = self.put("\ufeff[prefill]", f"model = {self.put('GGUF', name='m')}", "once = true",
                        "log-level = debug")
        done = self.check(path)
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, f"{path}: in order\n", ""))

    def test_every_problem_with_its_place(self):
        lines = ["[prefill]", "model = /missing.gguf", *Mistakes.WRONG]
        path = self.put(*lines)
        done = self.check(path)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        told = done.stderr.splitlines()
        for number, line in enumerate(lines, 1):
            if number > 1:
                with self.subTest(line=line):
                    self.assertEqual(
                        sum(f": {path}:{number}: " in text for text in told), 1, told)
        self.assertEqual(len(told), len(lines) - 1)
        self.assertIn("cannot open the model '/missing.gguf'", done.stderr)

    def test_keys_that_are_not_there(self):
        path = self.put("[prefill]", f"model = {self.put('GGUF', name='m')}", "keys = /nowhere",
                        "listen = 0.0.0.0:7600")
        done = self.check(path)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"{path}:3: keys: cannot open '/nowhere/ca.pem'", done.stderr)

    def test_the_environment_counts(self):
        path = self.put("[prefill]", "timeout = 5")
        done = self.check(path)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no model", done.stderr)
        self.assertEqual(self.check(path, LYNX_PREFILL_MODEL=self.put("GGUF", name="m")).returncode,
                         0)

    def test_nothing_to_check(self):
        self.assert_usage(self.run_with("lynxd prefill", "--check-config"), "lynxd prefill",
                          "pass --config FILE")
        self.assert_usage(self.run_with("lynxd", "--check-config"), "lynxd", "takes one FILE")
        self.assert_usage(self.run_with("lynxd", "--check-config", self.put("")), "lynxd",
                          "no section of a command")
        self.assertEqual(self.check(self.folder / "missing").returncode, 2)


class Log(Files):
    def setUp(self):
        super().setUp()
        self.path = self.put("[prefill]", "log-format = json")

    def test_json_is_an_object_a_line(self):
        with Node(model(MODEL), "--config", self.path, "--log-level", "debug") as node:
            run("lynx run", "-m", model(MODEL), "--prefill", node.address, "-p", "Sesame opens",
                "-n", 1, *ONE_THREAD)
            code, output, log = node.stop()
        self.assertEqual((code, output), (0, ""))
        lines = [json.loads(line) for line in log.splitlines()]
        levels = set()
        for line in lines:
            self.assertEqual(set(line), {"time", "level", "command", "event"})
            self.assertEqual(line["command"], "lynxd prefill")
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
            levels.add(line["level"])
        self.assertGreaterEqual(levels, {"info", "debug"})
        events = " ".join(line["event"] for line in lines)
        for words in ("is ready on port", "prompt of", "stopping", "requests 1"):
            self.assertIn(words, events)
        self.assertNotIn("Sesame", log)

    def test_level(self):
        with Node(model(MODEL), "--log-level", "error") as node:
            self.assertEqual(node.stop(), (0, "", ""))

    def test_text_has_levels_and_the_journal_gets_priorities(self):
        with Node(model(MODEL), "--insecure-plaintext") as node:
            log = node.stop()[2]
        self.assertIn("lynxd prefill: warning: caches travel unencrypted\n", log)
        self.assertRegex(log, r"(?m)^lynxd prefill: Smol.* is ready on port \d+$")
        pair = socket.socketpair()
        with pair[0], pair[1]:
            state = os.fstat(pair[0].fileno())
            done = self.run_with("lynxd prefill", "-m", "/missing", "--listen", "127.0.0.1:0",
                                 stderr=pair[0].fileno(),
                                 JOURNAL_STREAM=f"{state.st_dev}:{state.st_ino}")
            self.assertEqual(done.returncode, 1)
            self.assertTrue(pair[1].recv(4096).startswith(b"<3>lynxd prefill: error: "))

    def run_with(self, command, *arguments, stderr=subprocess.PIPE, **variables):
        return run(command, *arguments, env={**self.environment, **variables}, stderr=stderr)

    def test_reload_takes_level_and_format(self):
        with Node(model(MODEL), "--config", self.path) as node:
            node.await_condition(lambda: "is ready" in node.log())
            self.put("[prefill]", "log-format = text", "nonsense = 1")
            node.process.send_signal(signal.SIGHUP)
            node.await_condition(lambda: "the old settings stay" in node.log())
            self.put("[prefill]", "log-format = text")
            node.process.send_signal(signal.SIGHUP)
            node.await_condition(lambda: "no keys to read again" in node.log())
            log = node.stop()[2]
        self.assertIn(f"{self.path}:3: nonsense: there is no such option", log)
        self.assertRegex(log, r"(?m)^lynxd prefill: stopping")


class Allowed(Files):
    def test_the_list_is_read_again(self):
        keys = self.folder / "keys"
        for words in (["init"], ["node", "box"], ["node", "one"], ["node", "two"]):
            self.assertEqual(self.run_with("lynx keys", *words, "--dir", keys).returncode, 0)
        settings = ["[prefill]", f"keys = {keys}/box", "allow-node = one"]
        path = self.put(*settings)
        with Node(model(MODEL), "--config", path, env=self.environment) as node:
            def ask(name):
                return self.run_with("lynx run", "-m", model(MODEL), "--prefill", node.address,
                                     "--keys", keys / name, "-p", "x", "-n", 1, *ONE_THREAD,
                                     "--json").returncode
            self.assertEqual((ask("one"), ask("two")), (0, 6))
            self.put(*settings, "allow-node = two")
            node.process.send_signal(signal.SIGHUP)
            node.await_condition(lambda: "and 2 allowed names" in node.log())
            self.assertEqual((ask("one"), ask("two")), (0, 0))
            self.put(*settings[:2], "allow-node = two")
            node.process.send_signal(signal.SIGHUP)
            node.await_condition(lambda: "and 1 allowed name" in node.log().replace("2 all", ""))
            self.assertEqual((ask("one"), ask("two")), (6, 0))
            self.put("[prefill]", f"keys = {self.folder}/missing")
            node.process.send_signal(signal.SIGHUP)
            node.await_condition(lambda: "the old keys stay" in node.log())
            self.assertEqual((ask("one"), ask("two")), (6, 0))
            self.assertEqual(node.stop()[0], 0)


class End(Files):
    """The link takes about 8 s for the planes of the prompt."""

    def start(self, *options):
        node = Node(model(MODEL), "--link-mbps", 4, *options)
        self.addCleanup(node.close)
        self.answer = {}

        def ask():
            done = run("lynx run", "-m", model(MODEL), "--prefill", node.address, "--raw-prompt",
                       "-p", PROMPT, "-n", 4, "--json", *ONE_THREAD, timeout=120)
            self.answer.update(json.loads(done.stdout or "{}"), code=done.returncode,
                               stderr=done.stderr)

        self.thread = threading.Thread(target=ask)
        self.thread.start()
        self.addCleanup(self.thread.join)
        node.await_condition(lambda: "prompt of" in node.log())
        return node

    def test_what_is_on_its_way_arrives(self):
        node = self.start("--grace", 60)
        node.process.send_signal(signal.SIGTERM)
        node.await_condition(lambda: "stopping" in node.log())
        done = run("lynx run", "-m", model(MODEL), "--prefill", node.address, "-p", "x", "-n", 1,
                   "--on-loss", "fail", *ONE_THREAD)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("the prefill node is stopping", done.stderr)
        self.thread.join()
        self.assertEqual(self.answer["code"], 0, self.answer["stderr"])
        self.assertFalse(self.answer["is_recomputed"])
        node.process.wait(timeout=60)
        self.assertEqual(node.process.returncode, 0)
        self.assertIn("sessions 1,", node.log())

    def test_grace_is_bounded(self):
        node = self.start("--grace", 0.3)
        self.assertEqual(node.stop()[0], 0)
        self.thread.join()
        self.assertEqual(self.answer["code"], 0, self.answer["stderr"])
        self.assertTrue(self.answer["is_recomputed"])

    def test_a_second_signal_ends_at_once(self):
        node = self.start("--grace", 3600)
        node.process.send_signal(signal.SIGINT)
        node.await_condition(lambda: "stopping" in node.log())
        self.assertEqual(node.stop(signal.SIGINT)[0], 0)
        self.thread.join()
        self.assertTrue(self.answer["is_recomputed"])

    def test_systemd_is_told(self):
        path = self.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            manager.settimeout(60)
            with Node(model(MODEL), env={**os.environ, "NOTIFY_SOCKET": str(path)}) as node:
                self.assertEqual(manager.recv(100), b"READY=1")
                node.process.send_signal(signal.SIGHUP)
                self.assertEqual(manager.recv(100), b"RELOADING=1")
                self.assertEqual(manager.recv(100), b"READY=1")
                self.assertEqual(node.stop()[0], 0)
                self.assertEqual(manager.recv(100), b"STOPPING=1")


class Decode(Files):
    """What differs for a decode node."""

    def test_each_section_is_checked_once(self):
        path = self.put("[prefill]", "model = /one.gguf", "listen = x", "nonsense", "[decode]",
                        "model = /two.gguf", "slots = 0", "http = y", "http-cert = z")
        done = self.run_with("lynxd", "--check-config", path, LYNX_DECODE_QUEUE="q")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        told = [(line.split(": ")[0], line.split(": ")[1]) for line in done.stderr.splitlines()]
        self.assertEqual(sorted(told), sorted([
            ("lynxd prefill", f"{path}:4"), ("lynxd prefill", f"{path}:3"),
            ("lynxd prefill", f"{path}:2"), ("lynxd decode", "LYNX_DECODE_QUEUE"),
            ("lynxd decode", f"{path}:7"), ("lynxd decode", f"{path}:8"),
            ("lynxd decode", str(path))]), done.stderr)  # --http-cert and --http-key
        path = self.put("[prefill]", f"model = {self.put('GGUF', name='m')}")
        done = self.run_with("lynxd", "--check-config", path, LYNX_DECODE_QUEUE="q")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_trusted_prefill_nodes_are_read_again(self):
        keys = self.folder / "keys"
        for words in (["init"], ["node", "box"], ["node", "other"], ["node", "laptop"]):
            self.assertEqual(self.run_with("lynx keys", *words, "--dir", keys).returncode, 0)
        prefill = Node(model(MODEL), "--keys", keys / "box", env=self.environment)
        self.addCleanup(prefill.close)
        settings = ["[decode]", f"keys = {keys}/laptop", f"prefill = {prefill.address}"]
        path = self.put(*settings, "allow-node = other")
        with DecodeNode(model(MODEL), "--config", path, "--slots", 1,
                        env=self.environment) as node:
            def told():
                return node.request("POST", "/v1/completions", json.dumps(
                    {"prompt": "x", "max_tokens": 2, "lynx": {"method": "wait"}}))[2]
            self.assertIn("box", told()["error"]["message"])
            self.put(*settings, "allow-node = box")
            node.process.send_signal(signal.SIGHUP)
            node.await_condition(lambda: "and 1 allowed names" in node.log())
            # The connection that comes next may be one that was begun before.
            node.await_condition(
                lambda: told().get("lynx", {}).get("prefill_node") == prefill.address)

    def test_signals(self):
        port, log_path = self.folder / "port", self.folder / "log"
        path = self.put("[decode]", f"model = {model(MODEL)}", "http = 127.0.0.1:0",
                        f"http-port-file = {port}", "threads = 1", "log-format = json",
                        "grace = 3600")
        with open(log_path, "w") as log:
            process = subprocess.Popen([BIN / "lynxd", "decode", "--config", path], stderr=log,
                                       env=self.environment)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def await_line(words):
            end = time.monotonic() + 60
            while words not in log_path.read_text():
                self.assertIsNone(process.poll(), log_path.read_text())
                self.assertLess(time.monotonic(), end, log_path.read_text())
                time.sleep(0.02)

        await_line("is ready on port")
        self.put("[decode]", "slots = 0")
        process.send_signal(signal.SIGHUP)
        await_line("the old settings stay")
        body = json.dumps({"prompt": "One two three", "max_tokens": 2000, "stream": True})
        with socket.create_connection(("127.0.0.1", int(port.read_text()))) as client:
            client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d"
                           b"\r\n\r\n%s" % (len(body), body.encode()))
            self.assertTrue(client.recv(1))
            process.send_signal(signal.SIGTERM)
            await_line("stopping")
            self.assertIsNone(process.poll())
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(timeout=60), 0)
        for line in log_path.read_text().splitlines():
            self.assertEqual(json.loads(line)["command"], "lynxd decode")


if __name__ == "__main__":
    unittest.main()
