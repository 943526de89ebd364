#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynx cache: documents kept with a real model, listed, checked, removed."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from folder_server import FolderServer
from programs import BIN, ONE_THREAD, SOURCE, Case, model, run
from terminal import run_on_terminal

MODEL = "smollm2-135m-q8_0.gguf"
KEY_ID, SECRET = "TESTKEYIDTESTKEY", "not/a+secret/in=tests/0123456789"


class Cache(Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name)
        self.store = ["--store", self.path / "store"]
        text = ((SOURCE / "LICENSE").read_text() * 12)[40:]  # which does not change
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
        self.cache("gc", "--max-size", "1", *self.store)
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

    def serve(self):
        folder = self.path / "www"
        folder.mkdir()
        server = FolderServer(folder)
        self.addCleanup(server.close)
        return server

    def copy(self, *words):
        return json.loads(self.cache(*words, "--json").stdout)["copied"]

    def test_push_and_pull(self):
        self.add(self.first, *self.store)
        self.add(self.second, *self.store)
        share, other = self.path / "share", ["--store", self.path / "other"]
        pushed = self.copy("push", "first.txt", "--to", share, *self.store)[0]
        self.assertEqual((pushed["name"], pushed["objects_written"], pushed["objects_present"]),
                         ("first.txt", 4, 0))
        self.assertEqual(pushed["tokens"], pushed["tokens_copied"])
        # The second shares 512 tokens, two segments.
        pushed = self.copy("push", "--all", "--to", share, *self.store)[0]
        self.assertEqual((pushed["objects_written"], pushed["objects_present"]), (2, 4))
        self.assertEqual(self.cache("verify", "--store", share).stdout, "no fault\n")

        code, written, _ = run_on_terminal(
            ["sh", "-c", '"$@" 2>&1', "sh", BIN / "lynx", "cache", "pull", "second-one.txt",
             "--from", share, *other], 80)
        self.assertEqual(code, 0, written)
        self.assertIn("\rsecond-one.txt: ", written)
        self.assertIn("0 B were there", written)
        for path in (self.path / "other").rglob("*.lynx*"):
            twin = share / path.relative_to(self.path / "other")
            self.assertEqual(path.read_bytes(), twin.read_bytes())
        done = self.cache("pull", "first.txt", "none", "--from", share, *other, code=1)
        self.assertIn("first.txt: ", done.stdout)
        self.assertIn("there is no document 'none'", done.stderr)
        self.assertNotIn("\r", done.stderr)
        rows = json.loads(self.cache("ls", *other, "--json").stdout)["documents"]
        self.assertEqual([row["tokens_here"] for row in rows], [row["tokens"] for row in rows])
        self.assertEqual(len(rows), 2)

        # What is broken at the source does not come; a smaller limit holds.
        third = ["--store", self.path / "third"]
        path = max(share.rglob("*.lynx"), key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[-9] ^= 8
        path.write_bytes(content)
        done = self.cache("pull", "--all", "--from", share, *third, code=5)
        self.assertIn("does not match its digest", done.stderr)
        self.assertEqual(self.cache("verify", *third).stdout, "no fault\n")
        self.cache("pull", "--all", "--from", self.path / "other", "--max-size", "100K", *third)
        self.assertLess(sum(path.stat().st_size for path in (self.path / "third").rglob("*.lynx*")),
                        100 * 1024)

    def test_a_web_server_in_between(self):
        """Push by PUT, pull by ranges; a run reads what it has read before from this machine."""
        server = self.serve()
        url = server.url + "/team"
        self.add(self.first, *self.store)
        self.copy("push", "first.txt", "--to", url, *self.store)
        self.assertEqual(self.copy("push", "first.txt", "--to", url, *self.store)[0]
                         ["objects_written"], 0)
        other = ["--store", self.path / "other"]
        pulled = self.copy("pull", "first.txt", "--from", url, *other)[0]
        self.assertEqual((pulled["objects_written"], pulled["tokens_copied"]), (4, pulled["tokens"]))
        self.assertEqual(self.cache("verify", *other).stdout, "no fault\n")
        done = self.cache("pull", "--all", "--from", url, *other, code=1)
        self.assertIn("cannot list", done.stderr)

        front = self.path / "front"

        def answer(*options):
            server.requests.clear()
            done = run("lynx run", "-m", model(MODEL), *ONE_THREAD, "--cache", "first.txt",
                       "-p", "What is it?", "-n", 4, "--json", *options, timeout=300)
            self.assertEqual(done.returncode, 0, done.stderr)
            told = json.loads(done.stdout)
            self.assertFalse(told["is_recomputed"])
            self.assertLess(told["computed_tokens"], 64)
            return told["tokens"], sum("/segments/" in path for _, path in server.requests)

        tokens, asked = answer("--store", url, "--store-cache", "none")
        self.assertGreater(asked, 2)
        self.assertEqual(answer("--store", url, "--store-cache", front), (tokens, asked))
        self.assertEqual(len(list(front.rglob("*.lynx"))), 3)
        self.assertEqual(answer("--store", url, "--store-cache", front), (tokens, 0))
        # Another address has a folder of its own.
        self.assertEqual(answer("--store", url + "/", "--store-cache", front), (tokens, 0))
        self.assertEqual(answer("--store", url.replace("127.0.0.1", "localhost"), "--store-cache",
                                front, "--store-cache-size", "1K"), (tokens, asked))
        self.assertEqual(len(list(front.rglob("*.lynx"))), 3)
        # What is broken here is read from there.
        path = max(front.rglob("*.lynx"), key=lambda path: path.stat().st_size)
        content = bytearray(path.read_bytes())
        content[-9] ^= 8
        path.write_bytes(content)
        again, asked = answer("--store", url, "--store-cache", front)
        self.assertEqual(again, tokens)
        self.assertGreater(asked, 0)

    @unittest.skipUnless(os.path.exists(os.environ.get("LYNX_RCLONE", "")), "no rclone")
    def test_an_s3_server_in_between(self):
        """Somebody else's server: what is pushed is listed, pulled and answered from there."""
        buckets = self.path / "buckets"
        (buckets / "caches").mkdir(parents=True)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        server = subprocess.Popen(
            [os.environ["LYNX_RCLONE"], "serve", "s3", "--auth-key", f"{KEY_ID},{SECRET}",
             "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "writes", "--cache-dir",
             self.path / "vfs", "--config", "/dev/null", buckets],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        with socket.socket() as one:
            while one.connect_ex(("127.0.0.1", port)):
                self.assertIsNone(server.poll())
                time.sleep(0.05)
        settings = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET,
                    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        with unittest.mock.patch.dict(os.environ, settings):
            url = "s3://caches/team"
            self.add(self.first, *self.store)
            self.assertEqual(self.copy("push", "--all", "--to", url, *self.store)[0]
                             ["objects_written"], 4)
            self.assertIn("first.txt", self.cache("ls", "--store", url).stdout)
            self.assertEqual(self.cache("verify", "--store", url).stdout, "no fault\n")
            pulled = self.copy("pull", "first.txt", "--from", url, "--store", self.path / "other")[0]
            self.assertEqual((pulled["objects_written"], pulled["tokens_copied"]),
                             (4, pulled["tokens"]))
            answers = []
            for store in (url, self.path / "store"):
                done = run("lynx run", "-m", model(MODEL), *ONE_THREAD, "--cache", "first.txt",
                           "--store", store, "--store-cache", "none", "-p", "What is it?", "-n", 8,
                           "--json", timeout=300)
                self.assertEqual(done.returncode, 0, done.stderr)
                answers.append(json.loads(done.stdout)["tokens"])
            self.assertEqual(*answers)
            self.cache("rm", "first.txt", "--store", url)
            self.assertNotIn("first.txt", self.cache("ls", "--store", url).stdout)
            os.environ["AWS_SECRET_ACCESS_KEY"] = "another"
            done = self.cache("ls", "--store", url, code=6)
            self.assertIn("SignatureDoesNotMatch", done.stderr)
            self.assertNotIn("another", done.stderr)

    def test_a_file_from_a_web_server(self):
        server = self.serve()
        source = self.path / "www/report.lynx"
        self.add(self.first, "-o", source)
        whole = source.read_bytes()
        url = server.url + "/report.lynx?signature=secret"
        done = run("lynx cache pull", url, cwd=self.path)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.path / "report.lynx").read_bytes(), whole)
        # What arrived before is not fetched again.
        target = self.path / "again.lynx"
        (self.path / "again.lynx.part").write_bytes(whole[:100000])
        server.ranges.clear()
        copied = self.copy("pull", url, "-o", target)[0]
        self.assertEqual((copied["bytes"], copied["bytes_kept"]), (len(whole), 100000))
        self.assertEqual(target.read_bytes(), whole)
        self.assertTrue(all(first == 0 or first >= 65536 for first, _ in server.ranges))
        self.assertNotIn((65536, len(whole) - 1), server.ranges)
        done = self.cache("pull", server.url + "/none.lynx?signature=secret", code=1)
        self.assertIn("there is no cache file", done.stderr)
        self.assertNotIn("secret", done.stderr)
        source.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        done = self.cache("pull", url, "-o", self.path / "broken.lynx", code=5)
        self.assertIn("broken where it comes from", done.stderr)
        self.assertNotIn("secret", done.stderr)
        self.assertFalse((self.path / "broken.lynx").exists())

    def test_what_is_wrong_is_said(self):
        for words, code, text in (
                (("add",), 2, "no file"),
                (("add", "-"), 2, "pass --name"),
                (("add", self.first, "--name", "a/b"), 2, "no name of a document"),
                (("add", self.first, "--codec", "range:tail=64"), 2, "say tail=0"),
                (("add", self.first, "--max-size", "lots"), 2, "20G"),
                (("add", self.first, "--store-cache-size", "0"), 2, "--store-cache none"),
                (("pull",), 2, "name the documents, or pass --all"),
                (("pull", "a"), 2, "pass --from PLACE"),
                (("push", "--all"), 2, "pass --to PLACE"),
                (("pull", "a", "--all", "--from", "x"), 2, "--all goes without names"),
                (("pull", "a", "--from", "ftp://x", *self.store), 2, "s3:// are known"),
                (("pull", "a.lynx", "--from", "x"), 2, "goes without --from"),
                (("pull", "a", "b.lynx", "--from", "x", "-o", "c"), 2, "goes without --from"),
                (("pull", "a", "--from", "x", "-o", "c"), 2, "--output is for one cache file"),
                (("pull", "a", "--from", self.path / "no", *self.store), 1,
                 "there is no document 'a'"),
                (("push", "a", "--to", "http://127.0.0.1:1/x", *self.store), 1,
                 "there is no document 'a'"),
                (("show", "none", *self.store), 1, "there is no document 'none'"),
                (("show", self.path / "none.lynx"), 1, "there is no file"),
                (("show", self.first), 5, "not a cache file"),
                (("show", SOURCE / "tests/golden/store/older-codec.lynx"), 5,
                 "'lynx cache add' stores it anew"),
                (("show", SOURCE / "tests/golden/store/newer.lynx"), 4,
                 "anew by 'lynx cache add'"),
                (("verify", "--repair", self.first), 2, "--repair is for a store"),
                (("nonsense",), 2, "unknown command 'nonsense'")):
            with self.subTest(words=words):
                done = run("lynx cache", *words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
