#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynxd decode --store: what is computed once is loaded later, with the same tokens, by whichever
daemon, and whatever is wrong with the store."""
import concurrent.futures
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from folder_server import FolderServer
from programs import ONE_THREAD, SOURCE, Case, Node, model, run
from serving import CHAT, DecodeNode, question

MODEL = "smollm2-135m-q8_0.gguf"
PAGE = 256
TEXT = (SOURCE / "docs/format.md").read_text()[:3000]
FIRST, SECOND = "What is a page?", "Which words are in capitals, and why?"
COMPLETIONS = "/v1/completions"


class Stored(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.store = self.folder / "store"

    def start(self, *options, store=None, **more):
        node = DecodeNode(model(MODEL), "--store", store or self.store, "--slots", 2, *options,
                          **more)
        self.addCleanup(node.close)
        return node

    def ask(self, node, prompt, **members):
        answer = node.ask(prompt, max_tokens=12, logprobs=True, timeout=300, **members)
        tokens = [token["token"] for token in answer["choices"][0]["logprobs"]["content"]]
        return tokens, answer["lynx"]

    def await_written(self, node):
        """Everything that was to be kept is in the store."""
        node.await_condition(lambda: node.metrics()["lynx_store_waiting_bytes"] == 0)

    def segments(self):
        return sorted((self.store / "segments").rglob("*.lynx"))

    def assert_rest_is_computed(self, told, reused):
        self.assertEqual((told["reused_tokens"], told["computed_tokens"]),
                         (reused, told["prompt_tokens"] - reused))

    def test_the_beginning_is_computed_once(self):
        node = self.start()
        first, told = self.ask(node, TEXT + "\n\n" + FIRST)
        self.assert_rest_is_computed(told, 0)
        kept = (told["prompt_tokens"] - 1) // PAGE * PAGE
        self.assertGreater(kept, 2 * PAGE)
        self.assertEqual(told["kept_tokens"], kept)
        self.await_written(node)
        metrics = node.metrics()
        self.assertGreater(metrics["lynx_store_written_bytes_total"], told["kept_bytes"])
        self.assertEqual(metrics["lynx_computed_tokens_total"], told["prompt_tokens"])
        self.assertEqual((metrics["lynx_store_hits_total"], metrics["lynx_store_misses_total"]),
                         (0, 1))
        # The same question: all whole pages are loaded, and the answer is the same.
        again, told = self.ask(node, TEXT + "\n\n" + FIRST)
        self.assertEqual(again, first)
        self.assert_rest_is_computed(told, kept)
        self.assertEqual(told["kept_tokens"], 0)
        self.assertGreater(told["bytes"], 0)
        # What 'lynx run' makes of such a cache.
        want = run("lynx run", *ONE_THREAD, "-m", model(MODEL), "--plain", "--cached-tokens", kept,
                   "-n", 12, "-p", TEXT + "\n\n" + FIRST, "--json", timeout=300)
        self.assertEqual("".join(first), json.loads(want.stdout)["text"])
        # Another question behind the same text: less than a page of the text is computed again.
        shared = (told["prompt_tokens"] - 20) // PAGE * PAGE
        second, told = self.ask(node, TEXT + "\n\n" + SECOND)
        self.assert_rest_is_computed(told, shared)
        before = node.metrics()["lynx_computed_tokens_total"]

        self.assertEqual(node.stop(signal.SIGTERM)[0], 0)
        node = self.start()
        for want, prompt in ((first, FIRST), (second, SECOND)):
            got, told = self.ask(node, TEXT + "\n\n" + prompt)
            self.assertEqual(got, want)
            self.assert_rest_is_computed(told, shared)
        metrics = node.metrics()
        self.assertLess(metrics["lynx_computed_tokens_total"], before / 2)
        self.assertEqual(metrics["lynx_store_hits_total"], 2)
        self.assertEqual(metrics["lynx_store_reused_tokens_total"], 2 * shared)
        # Who does not want it neither loads nor keeps.
        _, told = self.ask(node, TEXT, lynx={"store": False})
        self.assert_rest_is_computed(told, 0)
        self.assertEqual(told["kept_tokens"], 0)
        self.assertNotIn("page", node.log())

    def add(self, *options):
        path = self.folder / "text"
        path.write_text(TEXT)
        done = run("lynx cache add", path, "--name", "report", "--store", self.store, "-m",
                   model(MODEL), *ONE_THREAD, "--json", *options, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)["tokens"]

    def test_documents_by_name(self):
        tokens = self.add()
        self.assertNotEqual(tokens % PAGE, 0)
        node = self.start()
        for prompt in (FIRST, SECOND):
            before = node.metrics()["lynx_computed_tokens_total"]
            answer, told = self.ask(node, prompt, lynx={"document": "report"})
            self.assert_rest_is_computed(told, tokens)
            self.assertLess(told["computed_tokens"], 40)
            self.assertEqual(node.metrics()["lynx_computed_tokens_total"] - before,
                             told["computed_tokens"])
            want = run("lynx run", *ONE_THREAD, "-m", model(MODEL), "--cache", "report", "--store",
                       self.store, "-n", 12, "-p", prompt, "--json", timeout=300)
            self.assertEqual("".join(answer), json.loads(want.stdout)["text"])
        # Its cache is gone, its tokens are not: computed once more, and kept up to its end.
        for path in self.segments():
            path.unlink()
        lost, told = self.ask(node, SECOND, lynx={"document": "report"})
        self.assertEqual(lost, answer)
        self.assertEqual((told["reused_tokens"], told["kept_tokens"]), (0, tokens))
        self.await_written(node)
        again, told = self.ask(node, SECOND, lynx={"document": "report"})
        self.assertEqual(again, answer)
        self.assert_rest_is_computed(told, tokens)

    def test_documents_on_a_web_server(self):
        """It cannot list: what ends where no segment must is found by the document alone."""
        tokens = self.add()
        web = FolderServer(self.folder)
        self.addCleanup(web.close)
        node = self.start(store=web.url + "/store")
        answer, told = self.ask(node, FIRST, lynx={"document": "report"})
        self.assert_rest_is_computed(told, tokens)
        want, _ = self.ask(self.start(), FIRST, lynx={"document": "report"})
        self.assertEqual(answer, want)

    def test_documents_that_cannot_be_used(self):
        self.add("--raw-prompt")
        node = self.start()
        for members, status, param, code, words in (
                ({"document": "nothing"}, 404, "lynx.document", "document_not_found", "'nothing'"),
                ({"document": "../x"}, 400, "lynx.document", None, "letters"),
                ({"document": 3}, 400, "lynx.document", None, "string"),
                ({"document": "report"}, 400, "lynx.document", None, "not stored for a chat"),
                ({"store": 1}, 400, "lynx.store", None, "true or false"),
                ({"cache": "x"}, 400, "lynx.cache", None, "document")):
            got, _, told = node.request("POST", CHAT, question("x", lynx=members))
            self.assertEqual(got, status, told)
            error = told["error"]
            self.assertEqual((error["param"], error["code"], error["type"]),
                             (param, code, "invalid_request_error"))
            self.assertIn(words, error["message"])
        # A text goes on with it.
        answer = node.ask(" And", COMPLETIONS, max_tokens=2, lynx={"document": "report"})
        self.assertGreater(answer["lynx"]["reused_tokens"], 2 * PAGE)
        bare = DecodeNode(model(MODEL), "--slots", 1)
        self.addCleanup(bare.close)
        got, _, told = bare.request("POST", CHAT, question("x", lynx={"document": "report"}))
        self.assertEqual((got, told["error"]["param"]), (400, "lynx.document"))
        self.assertIn("no store", told["error"]["message"])

    def test_two_daemons_on_one_store(self):
        nodes = [self.start(), self.start()]
        prompts = [f"{TEXT}\n\n{FIRST}", f"{TEXT[700:]}\n\n{FIRST}"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            firsts = list(pool.map(lambda i: self.ask(nodes[i // 2], prompts[i % 2])[0], range(4)))
        self.assertEqual(firsts[:2], firsts[2:])
        for node in nodes:
            self.await_written(node)
        for node in nodes:
            for prompt, want in zip(prompts, firsts):
                got, told = self.ask(node, prompt)
                self.assertEqual(got, want)
                self.assertGreaterEqual(told["reused_tokens"], 2 * PAGE)
        done = run("lynx cache verify", "--store", self.store)
        self.assertEqual(done.stdout, "no fault\n")

    def test_broken_pages_are_computed_again(self):
        node = self.start()
        first, told = self.ask(node, TEXT + FIRST)
        kept = told["kept_tokens"]
        self.await_written(node)
        paths = self.segments()
        for path in (paths[0], paths[-1]):
            size = path.stat().st_size
            for at in (size - 1, size // 4, 100):  # a residual, an anchor, the header
                with self.subTest(path=path.name[:12], at=at):
                    whole = path.read_bytes()
                    content = bytearray(whole)
                    content[at] ^= 1
                    path.write_bytes(content)
                    got, told = self.ask(node, TEXT + FIRST)
                    # Without its header a segment is not there: what it held is computed behind
                    # the stored pages before it, and may give another answer.
                    if at != 100:
                        self.assertEqual(got, first)
                    self.await_written(node)
                    # It was made good meanwhile.
                    again, told = self.ask(node, TEXT + FIRST)
                    self.assertEqual(again, got)
                    self.assert_rest_is_computed(told, kept)
                    path.write_bytes(whole)
        self.assertGreater(node.metrics()['lynx_store_failures_total{what="load"}'], 0)
        self.assertEqual(node.metrics()["lynx_recomputed_total"], 0)
        self.assertIn("does not match its digest", node.log())
        self.assertEqual(run("lynx cache verify", "--store", self.store).stdout, "no fault\n")

    def test_a_full_disk_and_one_that_is_read_only(self):
        self.store.mkdir()
        size = "size=3m"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", self.store],
                                 capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest("cannot mount a small disk")
        self.addCleanup(subprocess.run, ["umount", "-l", self.store], check=True)
        node = self.start("--store-size", 0)
        prompts = [TEXT + FIRST, "First, " + TEXT + FIRST]
        answers = [self.ask(node, prompt)[0] for prompt in prompts]
        self.await_written(node)
        self.assertGreater(node.metrics()['lynx_store_failures_total{what="write"}'], 0)
        self.assertIn("make room", node.log())
        self.assertEqual([self.ask(node, prompt)[0] for prompt in prompts], answers)
        self.assertEqual(run("lynx cache verify", "--store", self.store).returncode, 0)
        subprocess.run(["mount", "-o", "remount,ro", self.store], check=True)
        node = self.start()
        self.assertEqual([self.ask(node, prompt)[0] for prompt in prompts], answers)
        self.await_written(node)
        self.assertGreater(node.metrics()['lynx_store_failures_total{what="write"}'], 0)

    def test_a_limit_is_held(self):
        node = self.start("--store-size", "6M")
        for i in range(3):
            self.ask(node, f"Number {i}: " + TEXT)
            self.await_written(node)
        metrics = node.metrics()
        self.assertGreater(metrics["lynx_store_evicted_bytes_total"], 0)
        size = sum(path.stat().st_size for path in self.segments())
        self.assertEqual(size, metrics["lynx_store_bytes"])
        self.assertLessEqual(size, 6 << 20)
        _, told = self.ask(node, "Number 2: " + TEXT)
        self.assertGreater(told["reused_tokens"], 0)

    def test_an_encrypted_store(self):
        key = self.folder / "key"
        key.write_text("0123456789abcdef" * 4)
        key.chmod(0o600)
        first = self.start("--store-key", key)
        want, _ = self.ask(first, TEXT)
        self.await_written(first)
        for path in self.segments():
            self.assertNotIn(b"Smollm", path.read_bytes())
        got, told = self.ask(self.start("--store-key", key), TEXT)
        self.assertEqual(got, want)
        self.assertGreater(told["reused_tokens"], 0)
        got, told = self.ask(self.start(), TEXT)
        self.assertEqual((got, told["reused_tokens"]), (want, 0))

    def test_a_folder_in_front_of_a_web_server(self):
        """The second daemon loads from the folder what the first one wrote through it."""
        (self.folder / "web").mkdir()
        web = FolderServer(self.folder / "web")
        self.addCleanup(web.close)
        front = self.folder / "front"
        first = self.start("--store-cache", front, store=web.url + "/store")
        want, _ = self.ask(first, TEXT)
        self.await_written(first)
        kept = list(front.rglob("*.lynx"))
        self.assertGreater(len(kept), 0)
        web.ranges.clear()
        second = self.start("--store-cache", front, store=web.url + "/store")
        got, told = self.ask(second, TEXT)
        self.assertEqual(got, want)
        self.assertGreater(told["reused_tokens"], 0)
        self.assertLess(sum(last - first + 1 for first, last in web.ranges), told["bytes"] / 10)
        for path in kept:  # without the folder it is read from the server, and put there again
            path.unlink()
        third = self.start("--store-cache", front, store=web.url + "/store")
        got, told = self.ask(third, TEXT)
        self.assertEqual(got, want)
        self.assertGreaterEqual(sum(last - first + 1 for first, last in web.ranges), told["bytes"])
        third.await_condition(lambda: list(front.rglob("*.lynx")))

    def test_a_store_that_is_not_there(self):
        node = self.start(store="http://user:secret@127.0.0.1:9/store?token=secret")
        first, told = self.ask(node, TEXT)
        self.assertEqual(told["reused_tokens"], 0)
        self.assertEqual(self.ask(node, TEXT)[0], first)
        metrics = node.metrics()
        self.assertGreater(metrics['lynx_store_failures_total{what="find"}'], 0)
        log = node.log()
        self.assertIn("the store cannot be asked", log)
        self.assertNotIn("secret", log)

    def test_pages_of_a_prefill_node_are_kept(self):
        psk = self.folder / "psk"
        run("lynx keys", "psk", "test", "--dir", self.folder)
        with Node(model(MODEL), "--psk", psk) as prefill:
            node = self.start("--prefill", prefill.address, "--psk", psk)
            first, told = self.ask(node, TEXT + FIRST, lynx={"method": "wait"})
            self.assertEqual((told["method"], told["reused_tokens"]), ("wait", 0))
            self.assertGreaterEqual(told["kept_tokens"], 2 * PAGE)
            kept = told["kept_tokens"]
            self.await_written(node)
            second, told = self.ask(node, TEXT + FIRST, lynx={"method": "wait"})
            self.assert_rest_is_computed(told, kept)
            self.assertIsNone(told["prefill_node"])
            self.assertEqual(second[0], first[0])

    def test_pages_with_recent_tokens_are_not_kept(self):
        """All planes of the last 16 tokens come with the first one, which no store has so."""
        run("lynx keys", "psk", "test", "--dir", self.folder)
        secret = ["--psk", self.folder / "psk"]
        with Node(model(MODEL), *secret) as prefill:
            node = self.start("--prefill", prefill.address, *secret)

            def count(size):
                return len(node.request("POST", "/tokenize", {"content": TEXT[:size]})[2]["tokens"])

            size = next(size for size in range(1600, len(TEXT), 20) if 2 <= count(size) % PAGE < 12)
            ask = {"path": COMPLETIONS, "max_tokens": 12, "lynx": {"method": "wait"}}
            told = node.ask(TEXT[:size], **ask)["lynx"]
            self.assertIn(told["prompt_tokens"] % PAGE, range(1, 16))
            kept = told["prompt_tokens"] // PAGE * PAGE - PAGE
            self.assertEqual(told["kept_tokens"], kept)
            self.await_written(node)
            self.assert_rest_is_computed(node.ask(TEXT[:size], **ask)["lynx"], kept)
            self.assertEqual(node.metrics()['lynx_store_failures_total{what="load"}'], 0)

    def test_a_prefill_node_sends_what_is_behind(self):
        """Of a long rest behind a document; the cache is the one that a whole transfer gives."""
        tokens = self.add("--fresh")
        held = tokens // PAGE * PAGE
        self.assertGreater(held, PAGE)
        rest = (SOURCE / "docs/format.md").read_text()[3000:5000] + FIRST
        run("lynx keys", "psk", "test", "--dir", self.folder)
        secret = ["--psk", self.folder / "psk"]
        with Node(model(MODEL), *secret) as prefill:
            node = self.start("--prefill", prefill.address, *secret)
            got, told = self.ask(node, rest, lynx={"document": "report"})
            self.assertEqual((told["reused_tokens"], told["computed_tokens"]), (held, 0))
            self.assertEqual(told["prefill_node"], prefill.address)
            self.assertIn("a prefill node sends the rest", told["reason"])
            self.assertIn(f"left out {held} tokens", prefill.log())
            self.await_written(node)
            metrics = node.metrics()
            self.assertEqual(metrics["lynx_store_reused_tokens_total"], held)
            self.assertGreater(metrics["lynx_store_read_bytes_total"], 0)
            whole = {"document": "report", "store": False, "method": "wait"}
            want, all_told = self.ask(node, rest, lynx=whole)
            self.assertEqual((all_told["reused_tokens"], all_told["method"]), (0, "wait"))
            self.assertEqual(got, want)
            behind = (told["prompt_tokens"] - held) / told["prompt_tokens"]
            self.assertLess(told["bytes"], (behind + 0.05) * all_told["bytes"])
            # A short rest is computed here.
            _, told = self.ask(node, FIRST, lynx={"document": "report"})
            self.assert_rest_is_computed(told, tokens)
            self.assertIsNone(told["prefill_node"])
            # Without the pages all of them are sent.
            for path in self.segments():
                content = bytearray(path.read_bytes())
                content[-100] ^= 1
                path.write_bytes(content)
            node = self.start("--prefill", prefill.address, *secret)
            got, told = self.ask(node, rest, lynx={"document": "report"})
            self.assertEqual((got, told["reused_tokens"]), (want, 0))
            self.assertEqual(told["prefill_node"], prefill.address)
            metrics = node.metrics()
            self.assertEqual(metrics['lynx_store_failures_total{what="load"}'], 1)
            self.assertEqual(metrics["lynx_recomputed_total"], 0)

    def test_both(self):
        node = self.start(command="both")
        first, told = self.ask(node, TEXT + FIRST)
        kept = told["kept_tokens"]
        self.await_written(node)
        self.assertGreaterEqual(kept, 2 * PAGE)
        _, told = self.ask(node, TEXT + FIRST)
        self.assertEqual(told["reused_tokens"], kept)

    def test_options(self):
        base = ["-m", model(MODEL)]
        for words, text in ((["--store-size", "1G"], "need --store"),
                            (["--store", self.store, "--store-size", "lots"], "20G"),
                            (["--store", self.store, "--store-min", "0"], "nothing that this"),
                            (["--store", self.store, "--store-cache", "x"], "is a folder"),
                            (["--store-cache", "x"], "need --store"),
                            (["--store", "http://x/y", "--store-cache-size", "1G"],
                             "needs --store-cache"),
                            (["--store", self.store, "--codec", "range:tail=64"], "say tail=0")):
            self.assert_usage(run("lynxd decode", *base, *words), "lynxd decode", text)
        ini = self.folder / "lynxd.ini"
        ini.write_text(f"[decode]\nmodel = {model(MODEL)}\nstore = ftp://x/y\nstore-key = none\n")
        done = run("lynxd", "--check-config", ini)
        self.assertEqual(done.returncode, 2)
        self.assertIn("none", done.stderr)
        ini.write_text(f"[decode]\nmodel = {model(MODEL)}\nstore = {self.store}\nstore-size = 5G\n")
        self.assertEqual(run("lynxd", "--check-config", ini).returncode, 0)


if __name__ == "__main__":
    unittest.main()
