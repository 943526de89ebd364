#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real models, two processes, one paced link: the tokens are those of a plain process.

The target of each prompt is asked of 'lynx run --plain': a process that prefills, passes the cache
through the codec and decodes step by step, without drafts and without a link. The digests of both
caches are compared, too: a wrong bit does not have to change a token. LYNX_FULL=1 runs more
prompts (26 for each model, up to 4,000 tokens); without it a part. LYNX_ROWS=file.csv: a row for
each prompt.
"""
import csv
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

BIN = pathlib.Path(os.environ["LYNX_BIN"])
MODELS = pathlib.Path(os.environ["LYNX_TEST_MODELS"])
SOURCE = pathlib.Path(__file__).resolve().parents[2]
FULL = os.environ.get("LYNX_FULL") == "1"
TEXT = "\n".join((SOURCE / name).read_text() for name in ("LICENSE", "include/lynx/session.h",
                                                          "include/lynx/engine.h"))
SAMPLED = ["--temp", "0.8", "--top-k", "40", "--top-p", "0.95", "--min-p", "0.05",
           "--repeat-penalty", "1.1", "--seed", "7"]


def run(*arguments, timeout=300):
    return subprocess.run([BIN / "lynx", "run", *map(str, arguments)], capture_output=True,
                          text=True, timeout=timeout)


def put_row(name, rate, options, got, want):
    path = os.environ.get("LYNX_ROWS")
    if not path:
        return
    row = {"model": name, "link_mbps": rate, "sampling": " ".join(options) or "greedy",
           "prompt_tokens": got["prompt_tokens"], "answer_tokens": len(got["tokens"]),
           "drafted": got["drafted"], "accepted": got["accepted"],
           "tokens_equal": got["tokens"] == want["tokens"],
           "cache_equal": got["cache_digest"] == want["cache_digest"]}
    is_new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


class Node:
    """A prefill node on a free port of loopback."""

    def __init__(self, model, *options):
        self.folder = tempfile.TemporaryDirectory()
        port = pathlib.Path(self.folder.name) / "port"
        self.process = subprocess.Popen(
            [BIN / "lynxd", "prefill", "-m", model, "--listen", "127.0.0.1:0", "--port-file",
             port, *map(str, options)], stderr=subprocess.PIPE, text=True)
        while not port.exists():
            if self.process.poll() is not None:
                raise RuntimeError(self.process.stderr.read())
            time.sleep(0.02)
        self.address = f"127.0.0.1:{port.read_text().strip()}"

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.log = self.process.communicate(timeout=60)[1]
        self.folder.cleanup()
        return self.process.returncode


def model(name):
    path = MODELS / name
    if not path.exists():
        raise unittest.SkipTest(f"{path} is not there; run 'make models'")
    return path


class TwoProcesses(unittest.TestCase):
    def check(self, name, prompts, rate, secrets=(), lanes=1):
        path = model(name)
        drafted = accepted = 0
        node = Node(path, "--link-mbps", rate / lanes, *secrets)
        try:
            for size, options in prompts:
                text = TEXT[:size]
                common = ["-m", path, "-p", text, "--raw-prompt", "-n", 64, "--cache-digest",
                          "--json", *options]
                got = run("--prefill", node.address, "--lanes", lanes, *secrets, *common)
                self.assertEqual(got.returncode, 0, got.stderr)
                want = run("--plain", *common)
                self.assertEqual(want.returncode, 0, want.stderr)
                got, want = json.loads(got.stdout), json.loads(want.stdout)
                put_row(name, rate, options, got, want)
                self.assertEqual(got["tokens"], want["tokens"], f"{size} characters, {options}")
                self.assertEqual(got["cache_digest"], want["cache_digest"])
                self.assertEqual(got["exactness"], "exact")
                self.assertFalse(got["is_recomputed"])
                drafted += got["drafted"]
                accepted += got["accepted"]
        finally:
            self.assertEqual(node.stop(), 0, getattr(node, "log", ""))
        # Without drafts, or, with many prompts, without a wrong one, nothing was tested.
        self.assertGreater(drafted, 0)
        if len(prompts) > 2:
            self.assertGreater(accepted, 0)
            self.assertGreater(drafted, accepted)

    def prompts(self):
        sizes = [1, 40, 900, 2600]
        if FULL:
            sizes = [1, 2, 15, 60, 200, 500, 900, 1100, 1700, 2600, 5000, 9000, 15000]
        return [(size, options) for size in sizes for options in ([], SAMPLED)]

    def test_smollm2_f16(self):
        self.check("smollm2-135m-f16.gguf", self.prompts(), 20)

    def test_smollm2_q8(self):
        self.check("smollm2-135m-q8_0.gguf", self.prompts()[-2 if not FULL else 0:], 20)

    def test_two_lanes(self):
        self.check("smollm2-135m-f16.gguf", self.prompts()[-2:], 20, lanes=2)

    def test_encrypted(self):
        with tempfile.TemporaryDirectory() as folder:
            secret = pathlib.Path(folder) / "psk"
            secret.touch(mode=0o600)
            secret.write_text(f"test:{'5a' * 32}\n")
            self.check("smollm2-135m-f16.gguf", self.prompts()[-1:], 20,
                       secrets=["--psk", secret])

    def test_gemma3_f16(self):
        self.check("gemma3-270m-f16.gguf", self.prompts()[-3 if not FULL else 0:], 8)

    def test_blob_access_gives_the_same_tokens(self):
        path = model("smollm2-135m-f16.gguf")
        node = Node(path, "--link-mbps", 20)
        try:
            common = ["-m", path, "-p", TEXT[:2000], "--raw-prompt", "-n", 32, "--json"]
            got = run("--prefill", node.address, "--cache-access", "blob", *common)
            self.assertEqual(got.returncode, 0, got.stderr)
            want = run("--plain", *common)
            self.assertEqual(json.loads(got.stdout)["tokens"], json.loads(want.stdout)["tokens"])
        finally:
            node.stop()

    def test_a_recorded_exchange_can_be_read(self):
        path = model("smollm2-135m-f16.gguf")
        node = Node(path)
        with tempfile.TemporaryDirectory() as folder:
            recording = pathlib.Path(folder) / "exchange.bin"
            try:
                got = run("--prefill", node.address, "-m", path, "-p", TEXT[:900], "--raw-prompt",
                          "-n", 4, "--record", recording)
                self.assertEqual(got.returncode, 0, got.stderr)
            finally:
                node.stop()

            def inspect(*arguments):
                return subprocess.run([BIN / "lynx", "inspect", *arguments, recording],
                                      capture_output=True, text=True, timeout=60)

            shown = inspect("--json")
            self.assertEqual(shown.returncode, 0, shown.stderr)
            types = [frame["type"] for frame in json.loads(shown.stdout)]
            self.assertEqual(types[0], "HELLO")
            self.assertIn("PAGE", types)
            # A flipped bit is told with its place.
            data = bytearray(recording.read_bytes())
            data[len(data) // 2] ^= 1
            recording.write_bytes(data)
            damaged = inspect()
            self.assertEqual(damaged.returncode, 5)
            self.assertIn("checksum", damaged.stderr)
            recording.write_bytes(data[:-5])
            self.assertEqual(inspect().returncode, 5)

    def test_mutations_are_caught(self):
        path = model("smollm2-135m-f16.gguf")
        node = Node(path, "--link-mbps", 10)
        try:
            common = ["-m", path, "-p", TEXT[:2600], "--raw-prompt", "-n", 64, "--json",
                      "--cache-digest", "--ignore-end"]
            want = json.loads(run("--plain", *common).stdout)
            flipped = run("--prefill", node.address, "--flip-residual-bit", *common)
            self.assertNotEqual(json.loads(flipped.stdout)["cache_digest"],
                                want["cache_digest"])
            skipped = run("--prefill", node.address, "--skip-verify", *common)
            self.assertNotEqual(json.loads(skipped.stdout)["tokens"], want["tokens"])
        finally:
            node.stop()


class Failures(unittest.TestCase):
    def test_other_weights_are_refused_unless_asked_for(self):
        f16, q8 = model("smollm2-135m-f16.gguf"), model("smollm2-135m-q8_0.gguf")
        node = Node(f16, "--allow-other-weights")
        try:
            common = ["-m", q8, "--prefill", node.address, "-p", "One two three", "-n", 4]
            refused = run(*common)
            self.assertEqual(refused.returncode, 4, refused.stderr)
            self.assertIn("--allow-other-weights", refused.stderr)
            allowed = run(*common, "--allow-other-weights")
            self.assertEqual(allowed.returncode, 0, allowed.stderr)
        finally:
            node.stop()

    def test_other_model_is_refused(self):
        node = Node(model("gemma3-270m-f16.gguf"))
        try:
            refused = run("-m", model("smollm2-135m-f16.gguf"), "--prefill", node.address, "-p",
                          "One two three", "--allow-other-weights")
            self.assertEqual(refused.returncode, 4, refused.stderr)
            self.assertIn("differ", refused.stderr)
        finally:
            node.stop()

    def start_run_and_wait(self, node, path, *options):
        """A run whose first connection is made: the prefill node has said so."""
        decoder = subprocess.Popen(
            [BIN / "lynx", "run", "-m", path, "--prefill", node.address, "-p", TEXT[:1500],
             "--raw-prompt", "-n", "16", "--patience", "1", *options], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        for clean_up in (decoder.stdout.close, decoder.stderr.close, decoder.wait, decoder.kill):
            self.addCleanup(clean_up)
        for line in node.process.stderr:
            if "a decode node with" in line:
                return decoder
        self.fail("nobody connected")

    def test_killed_prefill_node(self):
        """The prompt is computed here instead, unless the run must fail then."""
        path = model("smollm2-135m-q8_0.gguf")
        want = run("--plain", "-m", path, "-p", TEXT[:1500], "--raw-prompt", "-n", 16, "--json")
        for options, code in (["--json"], 0), (["--on-loss", "fail"], 3):
            with self.subTest(options=options):
                node = Node(path, "--link-mbps", 2)
                decoder = self.start_run_and_wait(node, path, *options)
                node.stop(signal.SIGKILL)
                output, errors = decoder.communicate(timeout=120)
                self.assertEqual(decoder.returncode, code, errors)
                self.assertRegex(errors, r"no connection to the prefill node for [13]\.0 s: ")
                if code == 0:
                    got = json.loads(output)
                    self.assertTrue(got["is_recomputed"])
                    self.assertEqual(got["tokens"], json.loads(want.stdout)["tokens"])

    def test_killed_decode_node(self):
        path = model("smollm2-135m-f16.gguf")
        node = Node(path, "--link-mbps", 2, "--once")
        decoder = self.start_run_and_wait(node, path)
        decoder.kill()
        decoder.wait()
        node.process.wait(timeout=60)
        self.assertEqual(node.stop(), 3)

    def test_usage(self):
        for arguments in (["--local"], ["-m", "x.gguf"], ["-m", "/nowhere.gguf", "--local"],
                          ["--temp", "-1"], ["-m", "x", "--prefill", "nonsense", "-p", "x"]):
            failed = run(*arguments)
            self.assertIn(failed.returncode, (1, 2), failed.stderr)
            self.assertEqual(failed.stdout, "")
            self.assertTrue(failed.stderr.startswith("lynx run: "), failed.stderr)


if __name__ == "__main__":
    unittest.main()
