#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynxd both: a prefill node and a decode node in one process."""
import json
import os
import pathlib
import signal
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ONE_THREAD, SOURCE, Case, model, run
from serving import DecodeNode

MODEL = "smollm2-135m-q8_0.gguf"
PROMPT = (SOURCE / "LICENSE").read_text()[:700]
COMPLETIONS = "/v1/completions"


class Both(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.sockets = self.folder / "run"
        self.sockets.mkdir()
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith("LYNX_BOTH_") and name != "RUNTIME_DIRECTORY"}
        self.environment.update(HOME=str(self.folder), XDG_CONFIG_HOME=str(self.folder),
                                XDG_RUNTIME_DIR=str(self.sockets))

    def start(self, *options):
        node = DecodeNode(model(MODEL), "--slots", 2, *options, command="both",
                          env=self.environment)
        self.addCleanup(node.close)
        return node

    def lynx_run(self, *options):
        done = run("lynx run", "-m", model(MODEL), "--raw-prompt", "-p", PROMPT, "-n", 16,
                   *ONE_THREAD, "--json", *options, env=self.environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_the_cache_travels_inside(self):
        node = self.start("--link-mbps", 100)
        want = self.lynx_run("--plain")
        for method, prefill_node in (("speculate", "own"), ("wait", "own"), ("local", None)):
            with self.subTest(method=method):
                got = node.ask(PROMPT, COMPLETIONS, max_tokens=16, lynx={"method": method})
                self.assertEqual(got["choices"][0]["text"], want["text"])
                told = got["lynx"]
                self.assertEqual((told["method"], told["prefill_node"], told["is_recomputed"]),
                                 (method, prefill_node, False))
                self.assertEqual(told["bytes"] > want["cache_bytes"] / 4, prefill_node is not None)
        # Nobody else may open the socket, and nothing of it stays.
        folder, = self.sockets.iterdir()
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        code, output, log = node.stop()
        self.assertEqual((code, output), (0, ""))
        self.assertIn("requests 2,", log)
        self.assertEqual(list(self.sockets.iterdir()), [])

    def test_other_decode_nodes_need_keys(self):
        keys, port = self.folder / "keys", self.folder / "port"
        for words in (["init"], ["node", "box"], ["node", "laptop"]):
            run("lynx keys", *words, "--dir", keys, env=self.environment)
        node = self.start("--listen", "127.0.0.1:0", "--port-file", port, "--keys", keys / "box",
                          "--allow-node", "laptop")
        address = f"127.0.0.1:{port.read_text().strip()}"
        want = self.lynx_run("--plain")
        got = self.lynx_run("--prefill", address, "--keys", keys / "laptop")
        self.assertEqual(got["text"], want["text"])
        self.assertFalse(got["is_recomputed"])
        got = node.ask(PROMPT, COMPLETIONS, max_tokens=16, lynx={"method": "speculate"})
        self.assertEqual((got["choices"][0]["text"], got["lynx"]["prefill_node"]),
                         (want["text"], "own"))
        done = run("lynx run", "-m", model(MODEL), "--prefill", address, "-p", "x", "-n", 1,
                   *ONE_THREAD, "--on-loss", "fail", env={**self.environment, "HOME": "/nowhere",
                                                          "XDG_CONFIG_HOME": "/nowhere"})
        self.assertNotEqual(done.returncode, 0)
        node.process.send_signal(signal.SIGHUP)
        node.await_condition(lambda: "and 1 allowed names" in node.log())
        self.assertEqual(node.stop()[0], 0)

    def test_settings(self):
        path = self.folder / "lynxd.ini"
        path.write_text(f"[both]\nmodel = {model(MODEL)}\nslots = 16\nonce = true\n")
        done = run("lynxd", "--check-config", path, env=self.environment)
        self.assertEqual(done.returncode, 2)
        told = sorted(done.stderr.splitlines())
        self.assertEqual(len(told), 2, told)
        self.assertIn(f"lynxd both: {path}:3: slots: '16' is more than", told[0])
        self.assertIn(f"lynxd both: {path}:4: once: there is no such option", told[1])
        path.write_text(f"[both]\nmodel = {model(MODEL)}\nslots = 15\nlisten = 127.0.0.1:0\n")
        done = run("lynxd", "--check-config", path, env=self.environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = run("lynxd both", "-m", model(MODEL), "--listen", "0.0.0.0:0", env=self.environment)
        self.assert_refused(done, 2, "lynxd both", "there are no keys")

    def test_a_folder_that_cannot_be_made(self):
        done = run("lynxd both", "-m", model(MODEL), "--http", "127.0.0.1:0", *ONE_THREAD,
                   env={**self.environment, "XDG_RUNTIME_DIR": "/nowhere"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot make the folder '/nowhere/lynxd.", done.stderr)


if __name__ == "__main__":
    unittest.main()
