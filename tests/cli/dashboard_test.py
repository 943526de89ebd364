#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Grafana dashboard asks for metrics that exist."""
import json
import pathlib
import re
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import SOURCE

NAMES = SOURCE / "docs/http.md"
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


class Dashboard(unittest.TestCase):
    def setUp(self):
        self.board = json.loads((SOURCE / "packaging/grafana/lynx.json").read_text())
        self.asked = {HISTOGRAM.sub("", name) for panel in self.board["panels"]
                      for target in panel.get("targets", [])
                      for name in re.findall(r"lynx_[a-z_]+", target["expr"])}

    @unittest.skipUnless(NAMES.exists(), "lynxd has no metrics in this tree")
    def test_its_metrics_are_those_of_the_documents(self):
        listed = set(re.findall(r"(?m)^\| `(lynx_[a-z_]+)` \|", NAMES.read_text()))
        self.assertTrue(listed)
        self.assertTrue(self.asked)
        self.assertLessEqual(self.asked, listed)

    def test_panels_do_not_overlap(self):
        taken = set()
        for panel in self.board["panels"]:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24)
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    taken.add((x, y))

    def test_parentheses_of_queries_match(self):
        for panel in self.board["panels"]:
            for target in panel.get("targets", []):
                for pair in ("()", "{}", "[]"):
                    self.assertEqual(*map(target["expr"].count, pair), target["expr"])


if __name__ == "__main__":
    unittest.main()
