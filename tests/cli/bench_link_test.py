#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynx bench link: every kind of row, on loopback. How large figures are is not asked."""
import json
import pathlib
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import Case, run


class BenchLinkTest(Case):
    def rows(self, *arguments):
        done = run("lynx bench link", *arguments, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def test_anchors(self):
        row, = self.rows("--only", "anchor", "--mbps", 1000, "--rtt-ms", 1, "--paced")
        self.assertEqual((row["scheduler"], row["page_bytes"], row["samples"]),
                         ("lynx", 262144, 120))
        self.assertGreaterEqual(row["anchor_p50_ms"], row["floor_ms"])

    def test_throughput_of_the_largest_pages(self):
        tcp, tls = self.rows("--only", "throughput")
        self.assertEqual((tcp["transport"], tls["transport"]), ("tcp", "tls"))
        for row in (tcp, tls):
            self.assertGreater(min(row["gb_per_s"], row["bare_gb_per_s"]), 0)


if __name__ == "__main__":
    unittest.main()
