#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real processes on two machines' worth of network, which fails: the tokens stay the same.

Three network namespaces of our own, a prefill node - a router - a decode node, joined by veth
pairs; what fails, fails at the router. Needs root, ip and tc. LYNX_FULL=1: the link is also down
for 30 s.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, FULL, ONE_THREAD, SOURCE, Node, model, run

MODEL = "smollm2-135m-q8_0.gguf"
TEXT = (SOURCE / "include/lynx/session.h").read_text()[:1500]
ROUTER, PREFILL, DECODE = ("r", "p", "d")
PREFILL_ADDRESS, DECODE_ADDRESS = "198.18.1.2", "198.18.2.2"
PORT = 7600
# Classic BPF: true for one packet in a hundred.
ONE_PERCENT = "4,32 0 0 4294963256,37 0 1 42949673,6 0 0 0,6 0 0 4294967295"


def call(command, check=True):
    return subprocess.run(command.split(), check=check, capture_output=True, text=True)


class Network:
    """p - r - d, each a namespace. The router's device towards d is 'rd', towards p 'rp'."""

    def __init__(self):
        self.prefix = f"lynx{os.getpid()}"
        self.names = {which: self.prefix + which for which in (ROUTER, PREFILL, DECODE)}
        try:
            self.build()
        except subprocess.CalledProcessError as error:
            self.close()
            raise unittest.SkipTest(f"no network namespaces here: {error.stderr.strip()}")

    def build(self):
        for name in self.names.values():
            call(f"ip netns add {name}")
            call(f"ip -n {name} link set lo up")
        for which, subnet in ((PREFILL, 1), (DECODE, 2)):
            name, router = self.names[which], self.names[ROUTER]
            call(f"ip link add eth netns {name} type veth peer name r{which} netns {router}")
            call(f"ip -n {name} address add 198.18.{subnet}.2/24 dev eth")
            call(f"ip -n {router} address add 198.18.{subnet}.1/24 dev r{which}")
            call(f"ip -n {name} link set eth up")
            call(f"ip -n {router} link set r{which} up")
            call(f"ip -n {name} route add default via 198.18.{subnet}.1")
        call(f"ip netns exec {self.names[ROUTER]} sysctl -qw net.ipv4.ip_forward=1")
        call(f"tc -n {self.names[ROUTER]} qdisc add dev rd root {self.shape(1000)}")

    @staticmethod
    def shape(mbit):
        # A packet larger than the burst would wait for ever when the rate changes: 64 KiB.
        return f"tbf rate {mbit}mbit burst 100kb latency 50ms"

    def set_rate(self, mbit):
        call(f"tc -n {self.names[ROUTER]} qdisc replace dev rd root {self.shape(mbit)}")

    def set_link(self, state):
        call(f"ip -n {self.names[ROUTER]} link set rd {state}")

    def set_black_hole(self, is_on):
        """Packets vanish both ways; the links stay up."""
        verb = "add" if is_on else "del"
        for address in (PREFILL_ADDRESS, DECODE_ADDRESS):
            call(f"ip -n {self.names[ROUTER]} route {verb} blackhole {address}/32")

    def lose_packets(self):
        """One in a hundred of those to the decode node goes nowhere."""
        router = self.names[ROUTER]
        call(f"ip -n {router} link add name void type veth peer name nowhere")
        for device in ("void", "nowhere"):
            call(f"ip -n {router} link set {device} up")
        call(f"tc -n {router} qdisc add dev rd clsact")
        done = subprocess.run(
            ["tc", "-n", router, "filter", "add", "dev", "rd", "egress", "bpf", "bytecode",
             ONE_PERCENT, "action", "mirred", "egress", "redirect", "dev", "void"],
            capture_output=True, text=True)
        if done.returncode:
            raise unittest.SkipTest(f"this kernel cannot lose packets: {done.stderr.strip()}")

    def sent(self, device):
        shown = call(f"ip -n {self.names[ROUTER]} -s -j link show {device}")
        return json.loads(shown.stdout)[0]["stats64"]["tx"]

    def received(self):
        """Bytes that left towards the decode node."""
        return self.sent("rd")["bytes"]

    def command(self, which, *arguments):
        return ["ip", "netns", "exec", self.names[which], *map(str, arguments)]

    def close(self):
        for name in self.names.values():
            call(f"ip netns delete {name}", check=False)


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
            raise unittest.SkipTest("needs root, ip and tc (package iproute2)")
        cls.prompt = ["-m", model(MODEL), *ONE_THREAD, "-p", TEXT, "--raw-prompt", "-n", 48, "--json",
                      "--cache-digest"]
        plain = run("lynx run", "--plain", *cls.prompt, timeout=120)
        cls.want = json.loads(plain.stdout)

    def setUp(self):
        self.network = Network()
        self.addCleanup(self.network.close)
        self.prefill = None
        self.addCleanup(self.kill_prefill)

    def kill_prefill(self):
        if self.prefill:
            self.prefill.close()

    def start_prefill(self, *options):
        self.prefill = Node(model(MODEL), "--insecure-plaintext", *options,
                            prefix=self.network.command(PREFILL), host=f"0.0.0.0:{PORT}")

    def start_run(self, *options):
        self.errors = tempfile.TemporaryFile("w+") # a pipe that nobody reads would stop it
        self.addCleanup(self.errors.close)
        run = subprocess.Popen(
            self.network.command(DECODE, BIN / "lynx", "run", "--prefill",
                                 f"{PREFILL_ADDRESS}:{PORT}", "--insecure-plaintext",
                                 "--verbose", *self.prompt, *options),
            stdout=subprocess.PIPE, stderr=self.errors, text=True)
        for clean_up in (run.stdout.close, run.wait, run.kill):
            self.addCleanup(clean_up)
        return run

    def await_bytes(self, run, count):
        """Until so many bytes have left for the decode node."""
        start, limit = self.network.received(), time.monotonic() + 60
        while self.network.received() - start < count:
            self.assertIsNone(run.poll(), "it ended before anything could fail")
            self.assertLess(time.monotonic(), limit)
            time.sleep(0.01)

    def outputs(self, run, timeout):
        output, _ = run.communicate(timeout=timeout)
        self.errors.seek(0)
        return output, self.errors.read()

    def finish(self, run, timeout=60):
        output, errors = self.outputs(run, timeout)
        self.assertEqual(run.returncode, 0, errors)
        got = json.loads(output)
        self.assertEqual(got["tokens"], self.want["tokens"], errors)
        self.assertTrue(got["is_verified"])
        if not got["is_recomputed"] and got["complete_s"]:
            self.assertEqual(got["cache_digest"], self.want["cache_digest"])
        return got, errors

    def totals(self):
        """What the prefill node says at its end."""
        _, _, log = self.prefill.stop()
        found = re.search(r"resumed (\d+), sent again (\d+) bytes", log)
        self.assertIsNotNone(found, log)
        return int(found[1]), int(found[2]), log

    def check_outage(self, seconds, begin, end, *options):
        """The transfer is cut for a while and goes on where it was."""
        self.network.set_rate(10)
        self.start_prefill("--timeout", "3")
        run = self.start_run("--patience", "60", "--timeout", "3", *options)
        self.await_bytes(run, 1_000_000)
        begin()
        time.sleep(seconds)
        end()
        got, errors = self.finish(run, timeout=60 + seconds)
        self.assertFalse(got["is_recomputed"], errors)
        resumed, again, log = self.totals()
        print(f"\n{self.id().split('.')[-1]}: {got['bytes_total']} bytes, resumed {resumed}, "
              f"sent again {again} bytes", flush=True)
        self.assertLess(again, got["bytes_total"] / 2)
        return resumed, errors, log

    def check_link_down(self, seconds, *options):
        return self.check_outage(seconds, lambda: self.network.set_link("down"),
                                 lambda: self.network.set_link("up"), *options)

    def test_link_down_for_1_s(self):
        self.check_link_down(1)

    def test_link_down_while_the_prefill_node_carries_on(self):
        self.check_link_down(1, "--method", "carry")

    def test_link_down_for_5_s(self):
        resumed, errors, log = self.check_link_down(5)
        self.assertGreaterEqual(resumed, 1)
        self.assertRegex(errors, "connection 0 broke: .*3000 ms")
        self.assertIn("connection 0 ended: ", log)

    def test_link_down_for_5_s_on_two_lanes(self):
        resumed, errors, _ = self.check_link_down(5, "--lanes", "2")
        self.assertGreaterEqual(resumed, 1)
        self.assertIn("connection 0 broke: ", errors)

    @unittest.skipUnless(FULL, "LYNX_FULL=1 only")
    def test_link_down_for_30_s(self):
        resumed, _, _ = self.check_link_down(30)
        self.assertGreaterEqual(resumed, 1)

    def test_black_hole_for_5_s(self):
        resumed, errors, _ = self.check_outage(5, lambda: self.network.set_black_hole(True),
                                               lambda: self.network.set_black_hole(False))
        self.assertGreaterEqual(resumed, 1)
        self.assertIn("connection 0 broke: ", errors)

    def test_black_hole_for_good(self):
        """Without a prefill node the prompt is computed here, or the run fails if it must."""
        for options, code in (((), 0), (("--on-loss", "fail"), 3)):
            with self.subTest(options=options):
                self.network.set_rate(10)
                self.start_prefill("--timeout", "2")
                run = self.start_run("--patience", "2", "--timeout", "2", *options)
                self.await_bytes(run, 500_000)
                self.network.set_black_hole(True)
                if code == 0:
                    got, errors = self.finish(run)
                    self.assertTrue(got["is_recomputed"])
                else:
                    _, errors = self.outputs(run, 60)
                    self.assertEqual(run.returncode, code, errors)
                self.assertIn("no connection to the prefill node for 2.0 s", errors)
                self.network.set_black_hole(False)
                self.kill_prefill()

    def test_rate_falls_in_mid_transfer(self):
        self.start_prefill()
        run = self.start_run()
        self.await_bytes(run, 200_000)
        self.network.set_rate(10)
        got, errors = self.finish(run)
        self.assertFalse(got["is_recomputed"], errors)
        resumed, again, _ = self.totals()
        self.assertEqual((resumed, again), (0, 0))

    def test_one_percent_of_loss(self):
        self.network.set_rate(50)
        self.network.lose_packets()
        self.start_prefill()
        got, errors = self.finish(self.start_run())
        self.assertFalse(got["is_recomputed"], errors)
        self.assertGreater(self.network.sent("void")["packets"], 5)
        resumed, again, _ = self.totals()
        self.assertEqual((resumed, again), (0, 0))

    def test_killed_prefill_node(self):
        """Killed at a random moment and started anew: the request is known no more."""
        self.network.set_rate(10)
        self.start_prefill()
        run = self.start_run()
        self.await_bytes(run, random.randrange(100, 2_000_000))
        self.kill_prefill()
        self.start_prefill()
        got, errors = self.finish(run)
        self.assertTrue(got["is_recomputed"], errors)
        self.assertIn("does not know this request any more", errors)

    def test_killed_decode_node(self):
        """The prefill node says so and serves the next one."""
        self.network.set_rate(10)
        self.start_prefill("--resume", "1")
        run = self.start_run()
        self.await_bytes(run, random.randrange(100, 2_000_000))
        for child in call(f"ip netns pids {self.network.names[DECODE]}").stdout.split():
            os.kill(int(child), signal.SIGKILL)
        run.wait(timeout=10)
        got, errors = self.finish(self.start_run())
        self.assertFalse(got["is_recomputed"], errors)
        _, _, log = self.totals()
        self.assertRegex(log, "connection 0 ended: .*(closed|reset)")


if __name__ == "__main__":
    unittest.main()
