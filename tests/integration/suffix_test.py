#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A decode node that has the beginning of a prompt in a store is sent only the pages behind it.

Real models, two processes, TLS. What travels is looked up in recordings of both runs: the planes
of the pages behind the stored ones are the same as when all pages are sent, byte for byte in
number, and no other plane travels. Tokens and the digest of the cache are the same, too."""
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ONE_THREAD, SOURCE, Case, Node, model, run

MODELS = ["smollm2-135m-f16.gguf", "gemma3-270m-f16.gguf"]
PAGE_TOKENS = 256
PAGE_HEAD = 72  # bytes of a PAGE frame before its chunk
QUESTION = "What does the text say about numbers? Answer in two sentences."
SAMPLED = ["--temp", "0.8", "--top-p", "0.95", "--seed", "11"]


class Suffix(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        secret = self.folder / "psk"
        secret.touch(mode=0o600)
        secret.write_text(f"test:{'5a' * 32}\n")
        self.secret = ["--psk", secret]
        self.document = self.folder / "document.txt"
        self.document.write_text((SOURCE / "docs/format.md").read_text()[:3300])
        self.store = self.folder / "store"

    def done(self, command, *arguments):
        done = run(command, *arguments, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def keep(self, *options):
        self.done("lynx cache add", self.document, *self.common, "--store", self.store, *options)

    def frames(self, recording):
        return json.loads(self.done("lynx inspect", recording, "--json").stdout)

    def answer(self, node, name, *options):
        """What 'lynx run' reports, and the frames that the prefill node sent."""
        recording = self.folder / name
        done = self.done("lynx run", *self.common, *self.secret, "--prefill", node.address,
                         "--store", self.store, "-n", 32, "--ignore-end", "--json",
                         "--cache-digest", "--record", recording, *options)
        return json.loads(done.stdout), self.frames(recording)

    def check_wire(self, got, frames, whole):
        """Planes in 'frames' are those of 'whole' behind the held pages; bytes are counted."""
        held = got["held_tokens"]
        self.assertEqual(held % PAGE_TOKENS, 0)
        self.assertEqual([frame["left_out"] for frame in frames if frame["type"] == "ACCEPT"],
                         [held])

        def planes(frames, first):
            return {(frame["page"], frame["layer"], frame["side"], frame["plane"]):
                    frame["plane_bytes"] for frame in frames
                    if frame["type"] == "PAGE" and frame["page"] >= first}

        sent = planes(frames, 0)
        self.assertEqual(sent, planes(whole, held // PAGE_TOKENS))
        self.assertLess(len(sent), len(planes(whole, 0)))
        # Nothing else of any size: planes, their heads, and a few control messages.
        heads = PAGE_HEAD * sum(frame["type"] == "PAGE" for frame in frames)
        rest = got["bytes_total"] - sum(sent.values()) - heads
        self.assertGreaterEqual(rest, 0)
        self.assertLess(rest, 4096)

    def check_equal(self, got, want):
        self.assertEqual(got["tokens"], want["tokens"])
        self.assertEqual(got["cache_digest"], want["cache_digest"])
        self.assertEqual((got["computed_tokens"], got["is_recomputed"]), (0, False))

    def test_a_document(self):
        """Equal to the transfer of everything, as the document was computed in one prefill. Where
        a window cuts a page, that of the document holds more tokens and has other codes: then
        drafts and waiting give the same on it (docs/format.md, F-71)."""
        for number, name in enumerate(MODELS):
            with self.subTest(model=name):
                path = model(name)
                self.common = [*ONE_THREAD, "-m", path, "-c", 4096]
                self.store = self.folder / name
                how = ["--cache", self.document.name, "-p", QUESTION, *(SAMPLED * number)]
                self.keep("--fresh")
                with Node(path, "-c", 4096, "--link-mbps", 20, *self.secret) as node:
                    got, frames = self.answer(node, "held", *how)
                    self.assertIn(f"left out {got['held_tokens']} tokens", node.log())
                    waited, _ = self.answer(node, "waited", *how, "--method", "wait")
                    # The segments go, the document stays: everything is sent.
                    self.done("lynx cache gc", "--max-size", 1, "--store", self.store)
                    want, whole = self.answer(node, "whole", *how)
                self.assertGreaterEqual(got["held_tokens"], 2 * PAGE_TOKENS)
                self.assertEqual(want["held_tokens"], 0)
                self.check_wire(got, frames, whole)
                self.check_equal(waited, got)
                if number == 0:
                    self.check_equal(got, want)
                self.assertLess(got["bytes_total"], want["bytes_total"] / 2)
                print(f"\n{name}: {got['prompt_tokens']} tokens, {got['held_tokens']} held: "
                      f"{got['bytes_total']} bytes instead of {want['bytes_total']}", flush=True)

    def test_any_prompt_that_begins_like_it(self):
        """By the store alone, sealed; the text of the prompt goes on where the document ends."""
        path = model(MODELS[0])
        self.common = [*ONE_THREAD, "-m", path, "-c", 4096]
        key = self.folder / "key"
        key.touch(mode=0o600)
        key.write_text("0123456789abcdef" * 4 + "\n")
        self.keep("--fresh", "--raw-prompt", "--key", key)
        how = ["--raw-prompt", "-f", self.document, "-p", QUESTION]
        with Node(path, "-c", 4096, *self.secret) as node:
            got, frames = self.answer(node, "held", *how, "--key", key)
            want, whole = self.answer(node, "whole", *how)  # nothing can be found without the key
        self.assertGreaterEqual(got["held_tokens"], 2 * PAGE_TOKENS)
        self.check_wire(got, frames, whole)
        self.check_equal(got, want)

    def test_a_damaged_store_costs_a_transfer(self):
        path = model(MODELS[0])
        self.common = [*ONE_THREAD, "-m", path, "-c", 4096]
        self.keep("--fresh")
        for segment in (self.store / "segments").rglob("*.lynx"):
            content = bytearray(segment.read_bytes())
            content[-100] ^= 1
            segment.write_bytes(content)
        how = ["--cache", self.document.name, "-p", QUESTION]
        with Node(path, "-c", 4096, *self.secret) as node:
            got, _ = self.answer(node, "held", *how)
            self.done("lynx cache gc", "--max-size", 1, "--store", self.store)
            want, _ = self.answer(node, "whole", *how)
        self.assertEqual(got["held_tokens"], 0)
        self.check_equal(got, want)

    def test_other_weights_are_sent_everything(self):
        """The name of what is held says of which weights it is."""
        path, other = model(MODELS[0]), model("smollm2-135m-q8_0.gguf")
        self.common = [*ONE_THREAD, "-m", other, "-c", 4096]
        self.keep("--fresh")
        how = ["--cache", self.document.name, "-p", QUESTION, "--allow-other-weights"]
        with Node(path, "-c", 4096, "--allow-other-weights", *self.secret) as node:
            got, frames = self.answer(node, "held", *how)
            self.assertIn("everything is sent", node.log())
        self.assertEqual(got["held_tokens"], 0)
        self.assertEqual([frame["left_out"] for frame in frames if frame["type"] == "ACCEPT"],
                         [0])
        self.assertIn(0, [frame["page"] for frame in frames if frame["type"] == "PAGE"])

    def test_what_does_not_go_together(self):
        for words, told in (
                (["--cache", "x", "--prefill", "127.0.0.1:1", "--method", "carry"], "--cache goes"),
                (["--store", "x", "--prefill", "127.0.0.1:1", "--method", "tokens"],
                 "--store goes"),
                (["--cache", "x", "--prefill", "127.0.0.1:1", "--plain"], "--prefill does not go"),
                (["--cache", "x", "--record", "y"], "--record needs a prefill node")):
            with self.subTest(words=words):
                done = run("lynx run", "-m", "none.gguf", "-p", "x", *words)
                self.assert_usage(done, "lynx run", told)


if __name__ == "__main__":
    unittest.main()
