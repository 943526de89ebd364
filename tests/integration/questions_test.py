#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Questions about stored documents: the tokens are those of a separate process that computes the
document anew, brings it to the stored precision and decodes plainly. Real models."""
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from folder_server import FolderServer
from programs import FULL, ONE_THREAD, SOURCE, Case, model, run

MODELS = ["smollm2-135m-f16.gguf", "gemma3-270m-f16.gguf"]
# Bytes of the documents: 500 to 6,000 tokens with LYNX_FULL=1.
SIZES = [2000, 4000, 6000, 8000, 9000, 11000, 13000, 16000, 20000, 23000] if FULL else [1500, 3300]
QUESTION = "What does the text say about numbers? Answer in two sentences."
SAMPLED = ["--temp", "0.8", "--top-p", "0.95", "--seed", "11"]


class Stored(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        texts = sorted((SOURCE / "docs").glob("*.md"))
        self.text = "\n".join(path.read_text() for path in texts)

    def document(self, size):
        path = self.folder / f"{size}.txt"
        path.write_text(self.text[size:2 * size])
        return path

    def answer(self, name, *options):
        done = run("lynx run", *self.common, "--cache", name, "-p", QUESTION, "-n", 24,
                   "--ignore-end", "--json", *options, timeout=900)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def add(self, document, *options):
        kept = run("lynx cache add", document, *self.common, *options, timeout=900)
        self.assertEqual(kept.returncode, 0, kept.stderr)

    def check_plain(self, name, how):
        """The answer, which is that of a process that computes the document itself."""
        told = self.answer(name, *how)
        right = self.answer(name, *how, "--plain")
        self.assertEqual(right["computed_tokens"], right["prompt_tokens"])
        self.assertEqual(told["tokens"], right["tokens"])
        return told

    def check_answer(self, name, size, how):
        """An answer about a stored document is that of the cache that was stored."""
        self.common = [*ONE_THREAD, "-m", model(name), "-c", "8192", "--store",
                       self.folder / "store"]
        document = self.document(size)
        self.add(document)
        if "gemma3" not in name or size < 2000:
            told = self.check_plain(document.name, how)
        else:
            # Pages of a layer with a window are whole in a store, where those of a file and of a
            # prompt begin with the window: they have codes of their own.
            told = self.answer(document.name, *how)
            self.assertEqual(told["tokens"],
                             self.answer(document.name, *how, "--method", "wait")["tokens"])
            path = self.folder / "kept.lynx"
            self.add(document, "-o", path)
            self.check_plain(path, how)
        self.assertFalse(told["is_recomputed"])
        # Only the question is computed.
        self.assertLess(told["computed_tokens"], 64)

    def test_a_file_on_a_web_server(self):
        self.common = [*ONE_THREAD, "-m", model(MODELS[0]), "-c", "4096"]
        path = self.folder / "kept.lynx"
        self.add(self.document(1200), "-o", path)
        right = self.answer(path, "--plain")["tokens"]
        server = FolderServer(self.folder)
        self.addCleanup(server.close)
        url = server.url + "/kept.lynx"
        told = self.answer(url)
        self.assertEqual(told["tokens"], right)
        self.assertFalse(told["is_recomputed"])
        self.assertTrue(any(first > 0 for first, _ in server.ranges))
        server.is_broken = True
        told = self.answer(url)
        self.assertEqual(told["tokens"], right)
        self.assertTrue(told["is_recomputed"])
        done = run("lynx run", *self.common, "--cache", url + "x", "-p", "x")
        self.assert_refused(done, 1, "lynx run", "there is no cache file")

    def test_a_file_and_what_is_wrong_with_it(self):
        self.common = [*ONE_THREAD, "-m", model(MODELS[0]), "-c", "4096"]
        path = self.folder / "kept.lynx"
        self.add(self.document(1200), "-o", path)
        right = self.answer(path, "--plain")["tokens"]
        self.assertEqual(self.answer(path)["tokens"], right)

        # Cut off behind the anchors, or damaged: what is missing is computed.
        whole = path.read_bytes()
        for broken in (whole[:len(whole) * 3 // 4],
                       whole[:-2000] + bytes([whole[-2000] ^ 1]) + whole[-1999:]):
            path.write_bytes(broken)
            told = self.answer(path)
            self.assertEqual(told["tokens"], right)
            self.assertTrue(told["is_recomputed"])

        done = run("lynx run", *self.common, "--cache", self.folder / "none.lynx", "-p", "x")
        self.assert_refused(done, 1, "lynx run", "there is no cache file")
        done = run("lynx run", *self.common, "--cache", "none", "--store", self.folder / "empty",
                   "-p", "x")
        self.assert_refused(done, 1, "lynx run", "there is no document 'none'")
        other = [*ONE_THREAD, "-m", model(MODELS[1])]
        path.write_bytes(whole)
        done = run("lynx run", *other, "--cache", path, "-p", "x")
        self.assert_refused(done, 4, "lynx run", "another model")
        for option in (["--local"], ["--method", "tokens"],
                       ["--system", "x"], ["--tokens"]):
            done = run("lynx run", *self.common, "--cache", path, "-p", "x", *option)
            self.assertEqual(done.returncode, 2, (option, done.stderr))


def add_answers():
    """A test of its own for each model and size: any of them can be run alone."""
    for name in MODELS:
        for number, size in enumerate(SIZES):
            def test(self, name=name, size=size, how=SAMPLED if number % 2 else []):
                self.check_answer(name, size, how)
            setattr(Stored, f"test_answer_{name.split('-')[0]}_{size:05}", test)


add_answers()


if __name__ == "__main__":
    unittest.main()
