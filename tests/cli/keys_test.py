#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""'lynx keys': files, modes, rotation, exit codes; and two processes that know each other."""
import json
import os
import pathlib
import signal
import stat
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ONE_THREAD, Node, model, run

MODEL = "smollm2-135m-f16.gguf"


class Folder(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)
        self.folder = pathlib.Path(self.home.name) / "a" / "keys"
        # The engine's probe is kept where it always is; it costs seconds.
        cache = os.environ.get("XDG_CACHE_HOME") or str(pathlib.Path.home() / ".cache")
        self.environment = {**os.environ, "HOME": self.home.name, "XDG_CONFIG_HOME": "",
                            "XDG_CACHE_HOME": cache}

    def keys(self, *words, code=0, folder=True):
        where = ["--dir", str(self.folder)] if folder else []
        done = run("lynx keys", *words, *where, env=self.environment)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def show(self):
        return json.loads(self.keys("show", "--json").stdout)

    def mode(self, name):
        return stat.S_IMODE((self.folder / name).stat().st_mode)


class Keys(Folder):
    def test_files_have_their_modes_and_are_not_overwritten(self):
        self.keys("init")
        self.keys("node", "prefill-1")
        self.assertEqual(self.mode("."), 0o700)
        self.assertEqual(self.mode("prefill-1"), 0o700)
        self.assertEqual(self.mode("ca.key"), 0o600)
        self.assertEqual(self.mode("prefill-1/node.key"), 0o600)
        self.assertEqual(sorted(p.name for p in (self.folder / "prefill-1").iterdir()),
                         ["ca.pem", "node.key", "node.pem"])
        before = (self.folder / "ca.key").read_text()
        self.assertIn("--force", self.keys("init", code=2).stderr)
        self.assertIn("--force", self.keys("node", "prefill-1", code=2).stderr)
        self.assertEqual((self.folder / "ca.key").read_text(), before)
        fingerprint = self.show()["nodes"][0]["fingerprint"]
        self.keys("node", "prefill-1", "--force")
        self.assertNotEqual(self.show()["nodes"][0]["fingerprint"], fingerprint)
        self.keys("init", "--force")
        self.assertNotEqual((self.folder / "ca.key").read_text(), before)
        self.assertFalse([p for p in self.folder.rglob("*.*") if p.suffix[1:].isdigit()])

    def test_show_tells_names_and_days(self):
        self.keys("init")
        self.keys("node", "long")
        self.keys("node", "short", "--days", "10")
        told = self.show()
        self.assertEqual([n["name"] for n in told["nodes"]], ["long", "short"])
        self.assertIn(told["nodes"][0]["days_left"], (364, 365))
        self.assertIn(told["authorities"][0]["days_left"], (3649, 3650))
        self.assertEqual(told["nodes"][0]["issuer"], told["authorities"][0]["name"])
        self.assertEqual(len(told["nodes"][0]["fingerprint"]), 95)
        words = self.keys("show")
        self.assertIn("'short' ends in less than 30 days", words.stderr)
        self.assertIn("renew by", words.stdout)

    def test_rotation_keeps_the_old_authority(self):
        self.keys("init")
        self.keys("node", "long")
        self.keys("node", "short", "--days", "10")
        old = {n["name"]: n for n in self.show()["nodes"]}
        self.keys("rotate")
        new = {n["name"]: n for n in self.show()["nodes"]}
        self.assertEqual(new["long"]["fingerprint"], old["long"]["fingerprint"])
        self.assertGreater(new["short"]["days_left"], 300)
        self.keys("rotate", "ca")
        told = self.show()
        self.assertEqual(len(told["authorities"]), 2)
        for name in ("ca.pem", "long/ca.pem", "short/ca.pem"):
            self.assertEqual((self.folder / name).read_text().count("BEGIN"), 2)
        self.assertIn("older authority", self.keys("rotate", "drop", code=2).stderr)
        self.keys("rotate")
        newest = self.show()["authorities"][0]["name"]
        self.assertEqual([n["issuer"] for n in self.show()["nodes"]], [newest] * 2)
        self.keys("rotate", "drop")
        self.assertEqual([a["name"] for a in self.show()["authorities"]], [newest])

    def test_secrets_keep_the_one_before(self):
        self.keys("psk", "first")
        self.assertEqual(self.mode("psk"), 0o600)
        self.keys("psk", "first", code=2)
        self.keys("psk", "second")
        self.keys("psk")
        lines = (self.folder / "psk").read_text().split()
        self.assertEqual(len(lines), 2)
        self.assertTrue(lines[1].startswith("second:"))
        self.assertTrue(all(len(bytes.fromhex(line.split(":")[1])) == 32 for line in lines))
        shown = self.keys("show", "--json").stdout
        self.assertEqual(json.loads(shown)["psk"][1], "second")
        self.assertNotIn(lines[1].split(":")[1], shown)

    def test_wrong_calls(self):
        for words in ([], ["fly"], ["init", "x"], ["node"], ["node", "../x"], ["node", "a b"],
                      ["rotate", "x"], ["psk", "a:b"], ["init", "--days", "0"], ["show", "--fly"]):
            self.keys(*words, code=2)
        self.keys("show", code=1)
        self.keys("node", "x", code=1)
        self.keys("--help")

    def test_default_folder(self):
        self.keys("init", folder=False)
        self.assertTrue((pathlib.Path(self.home.name) / ".config/lynx/keys/ca.key").exists())


class Connections(Folder):
    """One prefill node with keys; who may ask it?"""

    def start(self, *options, **more):
        self.node = Node(model(MODEL), "-c", 512, *options, env=self.environment, **more)
        self.addCleanup(self.node.close)

    def ask(self, *options, address=None):
        return run("lynx run", "-m", model(MODEL), "--prefill", address or self.node.address, "-c",
                   512, *ONE_THREAD, "-p", "One two three", "--raw-prompt", "-n", 2, "--json",
                   *options, env=self.environment, timeout=120)

    def test_certificates(self):
        for words in (["init"], ["node", "prefill"], ["node", "decode"], ["node", "guest"]):
            self.keys(*words)
        self.start("--keys", self.folder / "prefill", "--allow-node", "decode")
        decode = ["--keys", self.folder / "decode"]
        done = self.ask(*decode, "--peer-name", "prefill")
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.ask(*decode, "--peer-name", "another")
        self.assertEqual(done.returncode, 6, done.stderr)
        self.assertIn("'prefill', not 'another'", done.stderr)
        done = self.ask("--keys", self.folder / "guest")
        self.assertEqual(done.returncode, 6, done.stderr)
        done = self.ask("--on-loss", "fail")
        self.assertEqual(done.returncode, 3, done.stderr)
        # Read again: the same files serve.
        self.node.process.send_signal(signal.SIGHUP)
        self.assertEqual(self.ask(*decode).returncode, 0)
        code, _, log = self.node.stop()
        self.assertIn("'guest' is not on this node's list", log)
        self.assertIn("plaintext", log)
        self.assertIn("read again", log)
        self.assertEqual(code, 0)

    def test_secrets_over_a_local_socket(self):
        self.keys("psk", "one")
        self.start("--psk", self.folder / "psk", host=f"unix:{self.folder}/socket")
        self.assertEqual(self.ask("--psk", self.folder / "psk").returncode, 0)
        (self.folder / "psk").chmod(0o644)
        done = self.ask("--psk", self.folder / "psk")
        self.assertEqual(done.returncode, 6, done.stderr)
        self.assertIn("chmod 600", done.stderr)

    def test_plaintext_needs_a_word(self):
        done = self.ask(address="192.0.2.1:1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--insecure-plaintext", done.stderr)
        done = self.ask("--insecure-plaintext", "--psk", "x", address="127.0.0.1:1")
        self.assertEqual(done.returncode, 2)


if __name__ == "__main__":
    unittest.main()
