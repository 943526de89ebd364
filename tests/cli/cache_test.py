#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynx cache: documents kept with a real model, listed, checked, removed."""
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ONE_THREAD, SOURCE, Case, model, run

MODEL = "smollm2-135m-q8_0.gguf"


class Cache(Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)
        self.store = ["--store", self.path / "store"]
        text = (SOURCE / "docs/format.md").read_text()
        self.first, self.second = self.path / "first.txt", self.path / "second one.txt"
        self.first.write_text(text[:3600])
        self.second.write_text(text[:2600] + text[9000:10000])

    def cache(self, command, *arguments, code=0):
        done = run(f"lynx cache {command}", *arguments, timeout=300)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def add(self, *arguments):
        done = self.cache("add", *arguments, "-m", model(MODEL), *ONE_THREAD, "--json")
        return json.loads(done.stdout)

    def test_documents(self):
        first = self.add(self.first, *self.store)
        self.assertEqual(first["computed_tokens"], first["tokens"])
        again = self.add(self.first, *self.store)
        self.assertEqual((again["computed_tokens"], again["bytes_written"]), (0, 0))
        # The second begins in the same way: only the rest is computed.
        second = self.add(self.second, *self.store)
        self.assertEqual(second["name"], "second-one.txt")
        self.assertEqual(second["stored_tokens"], 512)
        self.assertEqual(second["computed_tokens"], second["tokens"] - 512)

        rows = json.loads(self.cache("ls", *self.store, "--json").stdout)["documents"]
        self.assertEqual({row["name"] for row in rows}, {"first.txt", "second-one.txt"})
        for row in rows:
            self.assertEqual(row["tokens_here"], row["tokens"])
        self.assertIn("first.txt", self.cache("ls", *self.store).stdout)
        shown = json.loads(self.cache("show", "first.txt", *self.store, "--json").stdout)
        self.assertEqual([part["first_token"] for part in shown["parts"]], [0, 256, 512])
        self.assertEqual(self.cache("verify", *self.store).stdout, "no fault\n")

        self.cache("rm", "first.txt", *self.store)
        rows = json.loads(self.cache("ls", *self.store, "--json").stdout)["documents"]
        self.assertEqual([row["name"] for row in rows], ["second-one.txt"])
        self.assertEqual(rows[0]["tokens_here"], rows[0]["tokens"])
        done = self.cache("rm", "first.txt", *self.store, code=1)
        self.assertIn("there is no document 'first.txt'", done.stderr)
        self.cache("gc", "--limit", "1", *self.store)
        rows = json.loads(self.cache("ls", *self.store, "--json").stdout)["documents"]
        self.assertEqual(rows[0]["tokens_here"], 0)

    def test_one_file(self):
        target = self.path / "one cache.lynx"
        done = self.add(self.first, "-o", target)
        self.assertEqual(target.stat().st_size, done["bytes_written"])
        shown = json.loads(self.cache("show", target, "--json").stdout)
        self.assertEqual(shown["tokens"], done["tokens"])
        self.assertEqual(len(shown["parts"]), 1)
        self.cache("verify", target)
        content = bytearray(target.read_bytes())
        content[-5] ^= 4
        target.write_bytes(content)
        told = self.cache("verify", target, code=5).stdout
        self.assertIn("does not match its digest", told)
        target.write_bytes(content[:-1000])
        shown = json.loads(self.cache("show", target, "--json").stdout)
        self.assertGreater(shown["parts"][0]["planes_missing"], 0)
        self.assertIn("cut off", self.cache("verify", target, code=5).stdout)

    def test_keys(self):
        key = self.path / "key"
        key.write_text("0123456789abcdef" * 4 + "\n")
        key.chmod(0o644)
        done = self.cache("ls", *self.store, "--key", key, code=6)
        self.assertIn("chmod 600", done.stderr)
        key.chmod(0o600)
        self.add(self.first, *self.store, "--key", key)
        self.assertIn("first.txt", self.cache("ls", *self.store, "--key", key).stdout)
        self.cache("verify", *self.store, "--key", key)
        names = " ".join(map(str, (self.path / "store").rglob("*")))
        self.assertNotIn("first", names)
        for path in (self.path / "store").rglob("*.lynx*"):
            self.assertNotIn(b"Smollm", path.read_bytes())
        self.assertNotIn("first.txt", self.cache("ls", *self.store).stdout)
        key.write_text("short\n")
        self.assertIn("openssl rand -hex 32", self.cache("ls", *self.store, "--key", key,
                                                        code=2).stderr)

    def test_what_is_wrong_is_said(self):
        for words, code, text in (
                (("add",), 2, "no file"),
                (("add", "-"), 2, "pass --name"),
                (("add", self.first, "--name", "a/b"), 2, "no name of a document"),
                (("add", self.first, "--codec", "range:tail=64"), 2, "say tail=0"),
                (("add", self.first, "--limit", "lots"), 2, "20G"),
                (("show", "none", *self.store), 1, "there is no document 'none'"),
                (("show", self.path / "none.lynx"), 1, "there is no file"),
                (("show", self.first), 5, "not a cache file"),
                (("verify", "--repair", self.first), 2, "--repair is for a store"),
                (("nonsense",), 2, "unknown command 'nonsense'")):
            with self.subTest(words=words):
                done = run("lynx cache", *words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
