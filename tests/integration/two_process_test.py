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
import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, FULL, SOURCE, Node, model, run

TEXT = "\n".join((SOURCE / name).read_text() for name in ("LICENSE", "include/lynx/session.h",
                                                          "include/lynx/engine.h"))
SAMPLED = ["--temp", "0.8", "--top-k", "40", "--top-p", "0.95", "--min-p", "0.05",
           "--repeat-penalty", "1.1", "--seed", "7"]
BEYOND_WINDOWS = 2600  # characters: more tokens than the 512 of Gemma 3's windows
SMOLLM2_CACHE_BYTES = 30 * 2 * 192 * 2  # of a token: layers, sides, channels, F16


def lynx_run(*arguments):
    return run("lynx run", *arguments, timeout=300)


@functools.cache
def lynx_plain(*arguments):
    """What 'lynx run --plain --json' says; several tests ask for the same."""
    got = lynx_run("--plain", *arguments)
    if got.returncode:
        raise AssertionError(got.stderr)
    return json.loads(got.stdout)


def start_node(path, *options):
    return Node(path, *options, threads=2)


def put_row(name, rate, is_encrypted, options, got, want):
    path = os.environ.get("LYNX_ROWS")
    if not path:
        return
    row = {"model": name, "link_mbps": rate,
           "transport": "tls" if is_encrypted else "tcp", "sampling": " ".join(options) or "greedy",
           "prompt_tokens": got["prompt_tokens"], "answer_tokens": len(got["tokens"]),
           "drafted": got["drafted"], "accepted": got["accepted"],
           "tokens_equal": got["tokens"] == want["tokens"],
           "cache_equal": got.get("cache_digest") == want.get("cache_digest")}
    is_new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


class TwoProcesses(unittest.TestCase):
    def setUp(self):
        """A secret that both processes know."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        secret = pathlib.Path(folder.name) / "psk"
        secret.touch(mode=0o600)
        secret.write_text(f"test:{'5a' * 32}\n")
        self.secret = ["--psk", secret]

    def check(self, name, prompts, rate, is_encrypted=True, lanes=1, codec="range",
              digest=("--cache-digest",)):
        path = model(name)
        secret = self.secret if is_encrypted else []
        drafted = accepted = reviews = 0
        with start_node(path, "--link-mbps", rate / lanes, *secret) as node:
            for size, options in prompts:
                text = TEXT[:size]
                common = ["-m", path, "-p", text, "--raw-prompt", "-n", 64, *digest, "--json",
                          "--codec", codec, *options]
                got = lynx_run("--prefill", node.address, "--lanes", lanes, *secret, *common)
                self.assertEqual(got.returncode, 0, got.stderr)
                got, want = json.loads(got.stdout), lynx_plain(*common)
                put_row(name, rate, is_encrypted, options, got, want)
                self.assertEqual(got["tokens"], want["tokens"], f"{size} characters, {options}")
                self.assertEqual(got.get("cache_digest"), want.get("cache_digest"))
                self.assertEqual(got["exactness"], "exact")
                self.assertFalse(got["is_recomputed"])
                drafted += got["drafted"]
                accepted += got["accepted"]
                reviews += got["reviews"]
            code, _, log = node.stop()
            self.assertEqual(code, 0, log)
        # Without drafts, or, with many prompts, without a wrong one, nothing was tested. Links
        # are slow enough that a prefill on a busy machine is over long before all pages are here.
        self.assertGreater(drafted, 0)
        if len(prompts) > 2:
            self.assertGreater(accepted, 0)
            self.assertGreater(drafted, accepted)
        return reviews

    def prompts(self, longest=1400):
        sizes = [1, 40, 900, longest]
        if FULL:
            sizes = [1, 2, 15, 60, 200, 500, 900, 1100, 1700, 2600, 5000, 9000, 15000]
        return [(size, options) for size in sizes for options in ([], SAMPLED)]

    def test_smollm2_f16(self):
        self.check("smollm2-135m-f16.gguf", self.prompts(), 10)

    def test_smollm2_q8(self):
        self.check("smollm2-135m-q8_0.gguf", self.prompts()[-2 if not FULL else 0:], 8)

    def test_two_lanes(self):
        self.check("smollm2-135m-f16.gguf", self.prompts()[-2:], 8, lanes=2)

    def test_layers_are_verified_as_they_come(self):
        """Without a digest of the cache, which would need all of it first."""
        for name, longest in (("smollm2-135m-f16.gguf", 1400),
                              ("gemma3-270m-f16.gguf", BEYOND_WINDOWS)):
            self.check(name, self.prompts(longest)[-2:], 5, digest=())

    def test_three_planes(self):
        """Each plane of the rest takes four seconds: on a slow machine, too, all drafts are there
        before one comes, so that a review of them pays."""
        prompts = [(400, options) for options in ([], SAMPLED)]
        self.assertGreater(self.check("smollm2-135m-f16.gguf", prompts, 0.6, codec="range-3"), 0)

    def test_plaintext(self):
        self.check("smollm2-135m-f16.gguf", self.prompts()[-1:], 8, is_encrypted=False)

    def test_gemma3_f16(self):
        self.check("gemma3-270m-f16.gguf", self.prompts(BEYOND_WINDOWS)[-3 if not FULL else 0:], 8)

    def test_blob_access_gives_the_same_tokens(self):
        path = model("smollm2-135m-f16.gguf")
        with start_node(path, "--link-mbps", 20) as node:
            common = ["-m", path, "-p", TEXT[:2000], "--raw-prompt", "-n", 32, "--json"]
            got = lynx_run("--prefill", node.address, "--cache-access", "blob", *common)
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertEqual(json.loads(got.stdout)["tokens"], lynx_plain(*common)["tokens"])

    def test_a_recorded_exchange_can_be_read(self):
        path = model("smollm2-135m-f16.gguf")
        with tempfile.TemporaryDirectory() as folder:
            recording = pathlib.Path(folder) / "exchange.bin"
            with start_node(path) as node:
                got = lynx_run("--prefill", node.address, "-m", path, "-p", TEXT[:900],
                               "--raw-prompt", "-n", 4, "--record", recording)
                self.assertEqual(got.returncode, 0, got.stderr)

            def inspect(*arguments):
                return run("lynx inspect", *arguments, recording)

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
        with start_node(path, "--link-mbps", 10) as node:
            # An anchor so coarse that drafts on it are wrong.
            common = ["-m", path, "-p", TEXT[:1400], "--raw-prompt", "-n", 64, "--json",
                      "--cache-digest", "--ignore-end", "--codec", "range:k=2+6,v=2+6"]
            want = lynx_plain(*common)
            flipped = lynx_run("--prefill", node.address, "--flip-residual-bit", *common)
            self.assertNotEqual(json.loads(flipped.stdout)["cache_digest"],
                                want["cache_digest"])
            skipped = lynx_run("--prefill", node.address, "--skip-verify", *common)
            self.assertNotEqual(json.loads(skipped.stdout)["tokens"], want["tokens"])


class CarryOn(unittest.TestCase):
    """The prefill node decodes on while the cache travels."""

    def check(self, path, node, size, options, tokens=48):
        """What was reported, and what the tokens would be on a cache that passed no codec."""
        common = ["-m", path, "-p", TEXT[:size], "--raw-prompt", "-n", tokens, "--json",
                  "--cache-digest", "--ignore-end", *options]
        got = lynx_run("--prefill", node.address, "--method", "carry", *common)
        self.assertEqual(got.returncode, 0, got.stderr)
        got = json.loads(got.stdout)
        want = lynx_plain(*common)
        raw = json.loads(lynx_run("--local", *common).stdout)
        self.assertEqual(got["tokens"], want["tokens"], f"{size} characters, {options}")
        self.assertEqual(got["carried_other"], 0)
        self.assertFalse(got["is_recomputed"])
        if got["complete_s"]:
            self.assertEqual(got["cache_digest"], want["cache_digest"])
        return got, raw["tokens"]

    def test_tokens_are_those_of_a_plain_process(self):
        """On a slow link to the end, on a fast one until the decode node takes over. Some tokens
        are other ones on the cache as the prefill left it: to leave it so would be seen here."""
        path = model("smollm2-135m-f16.gguf")
        carried, other = [], 0
        for rate, prompts in (8, [(900, []), (900, SAMPLED)]), (40, [(300, SAMPLED)]):
            with start_node(path, "--link-mbps", rate) as node:
                for size, options in prompts:
                    got, raw = self.check(path, node, size, options)
                    carried.append(got["carried"])
                    first = slice(got["carried"] + 1)
                    other += got["tokens"][first] != raw[first]
        self.assertGreater(max(carried), 4)
        self.assertLess(min(carried), 47)
        self.assertGreater(other, 0)

    def test_layers_with_windows(self):
        path = model("gemma3-270m-f16.gguf")
        with start_node(path, "--link-mbps", 8) as node:
            got, _ = self.check(path, node, BEYOND_WINDOWS, SAMPLED, tokens=16)
        self.assertGreater(got["carried"], 0)

    def test_another_request_ends_it(self):
        """The first one goes on with drafts behind what was carried."""
        path = model("smollm2-135m-f16.gguf")
        common = ["-m", path, "-p", TEXT[:900], "--raw-prompt", "-n", 200, "--json",
                  "--ignore-end"]
        with start_node(path, "--link-mbps", 2) as node:
            with subprocess.Popen([BIN / "lynx", "run", "--prefill", node.address, "--method",
                                   "carry", *map(str, common)], stdout=subprocess.PIPE,
                                  text=True) as first:
                node.await_condition(lambda: "a decode node with" in node.log())
                second = lynx_run("--prefill", node.address, "-m", path, "-p", "One two three",
                                  "-n", 4, "--method", "tokens", "--json")
                self.assertEqual(second.returncode, 0, second.stderr)
                self.assertIsNone(first.poll())
                got = json.loads(first.communicate(timeout=300)[0])
        self.assertEqual(got["tokens"], lynx_plain(*common)["tokens"])
        self.assertLess(got["carried"], 199)
        self.assertGreater(got["drafted"], 0)


def peak_bytes(process):
    """The most memory that it had."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def run_and_measure(*arguments):
    """What 'lynx run --json' says, and the most memory that it had."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([BIN / "lynx", "run", "--json", *map(str, arguments)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=errors, text=True)
        with process.stdout:
            output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise AssertionError(errors.read())
    return json.loads(output), usage.ru_maxrss * 1024


class Memory(unittest.TestCase):
    def test_neither_side_needs_more_than_the_planes(self):
        """Beyond the model, the engine's cache and its prefill, which plain processes have as well.
        The link is slow, so that the prefill node has to keep most of what it made."""
        path = model("smollm2-135m-f16.gguf")
        common = ["-m", path, "-c", 5000, "--raw-prompt", "-n", 8]
        prompt = ["-p", TEXT[:15000]]
        _, plain = run_and_measure("--plain", *common, "-p", "One two three")
        _, plain_prefill = run_and_measure("--plain", *common, *prompt)
        with start_node(path, "-c", 5000, "--link-mbps", 30) as node:
            got, receiver = run_and_measure("--prefill", node.address, *common, *prompt)
            sender = peak_bytes(node.process)
        cache = got["prompt_tokens"] * SMOLLM2_CACHE_BYTES
        print(f"\nreceiver {(receiver - plain) / cache:.2f}, sender "
              f"{(sender - plain_prefill) / cache:.2f} of the F16 cache ({cache >> 20} MiB) beyond "
              f"plain processes ({plain >> 20} and {plain_prefill >> 20} MiB)", flush=True)
        most = 0.6 * cache + (64 << 20)
        self.assertLessEqual(receiver - plain, most)
        self.assertLessEqual(sender - plain_prefill, most)


class Failures(unittest.TestCase):
    def test_other_weights_are_refused_unless_asked_for(self):
        f16, q8 = model("smollm2-135m-f16.gguf"), model("smollm2-135m-q8_0.gguf")
        with start_node(f16, "--allow-other-weights") as node:
            common = ["-m", q8, "--prefill", node.address, "-p", "One two three", "-n", 4]
            refused = lynx_run(*common)
            self.assertEqual(refused.returncode, 4, refused.stderr)
            self.assertIn("--allow-other-weights", refused.stderr)
            allowed = lynx_run(*common, "--allow-other-weights")
            self.assertEqual(allowed.returncode, 0, allowed.stderr)

    def test_other_model_is_refused(self):
        with start_node(model("gemma3-270m-f16.gguf")) as node:
            refused = lynx_run("-m", model("smollm2-135m-f16.gguf"), "--prefill", node.address,
                               "-p", "One two three", "--allow-other-weights")
            self.assertEqual(refused.returncode, 4, refused.stderr)
            self.assertIn("differ", refused.stderr)

    def start_run_and_wait(self, node, path, *options):
        """A run whose first connection is made: the prefill node has said so."""
        decoder = subprocess.Popen(
            [BIN / "lynx", "run", "-m", path, "--prefill", node.address, "-p", TEXT[:1500],
             "--raw-prompt", "-n", "16", "--patience", "1", *options], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        for clean_up in (decoder.stdout.close, decoder.stderr.close, decoder.wait, decoder.kill):
            self.addCleanup(clean_up)
        node.await_condition(lambda: "a decode node with" in node.log())
        return decoder

    def test_killed_prefill_node(self):
        """The prompt is computed here instead, unless the run must fail then."""
        path = model("smollm2-135m-q8_0.gguf")
        want = lynx_plain("-m", path, "-p", TEXT[:1500], "--raw-prompt", "-n", 16, "--json")
        for options, code in (["--json"], 0), (["--on-loss", "fail"], 3):
            with self.subTest(options=options):
                with start_node(path, "--link-mbps", 2) as node:
                    decoder = self.start_run_and_wait(node, path, *options)
                    node.stop(signal.SIGKILL)
                output, errors = decoder.communicate(timeout=120)
                self.assertEqual(decoder.returncode, code, errors)
                self.assertRegex(errors, r"no connection to the prefill node for [13]\.0 s: ")
                if code == 0:
                    got = json.loads(output)
                    self.assertTrue(got["is_recomputed"])
                    self.assertEqual(got["tokens"], want["tokens"])

    def test_killed_decode_node(self):
        path = model("smollm2-135m-f16.gguf")
        with start_node(path, "--link-mbps", 2, "--once") as node:
            decoder = self.start_run_and_wait(node, path)
            decoder.kill()
            decoder.wait()
            node.process.wait(timeout=60)
            self.assertEqual(node.stop()[0], 3)

    def test_usage(self):
        for arguments in (["--local"], ["-m", "x.gguf"], ["-m", "/nowhere.gguf", "--local"],
                          ["--temp", "-1"], ["-m", "x", "--prefill", "nonsense", "-p", "x"]):
            failed = lynx_run(*arguments)
            self.assertIn(failed.returncode, (1, 2), failed.stderr)
            self.assertEqual(failed.stdout, "")
            self.assertTrue(failed.stderr.startswith("lynx run: "), failed.stderr)


if __name__ == "__main__":
    unittest.main()
