#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Predictions and choices of 'lynx plan' against measured rows of 'lynx bench e2e' or 'lynx demo'.

    bench/predict.py --profile HERE.json [--at-once HALF.json] [--json] ROWS.csv
    bench/predict.py --profile HERE.json --calibrate MBPS [--json] ROWS.csv

The profile is what 'lynx plan -m MODEL --measure' wrote for the rows' model. With --calibrate the
rows at that link rate give the rates of the machine instead, and only the others are predicted:
use it where the profile is of another time. How many drafts stand in one row is luck. Of several requests at once the planner
foretells the middle one, from the profile of a node with half of the cores, as it had them; they
are left out without one. They show what it picks, and are no part of the summary. Rows of methods
that the planner has not are left out. 'measured_s' is the median over documents and rounds; what
is foretold is an expectation, with drafts that stand or do not, so that errors are to the mean.
"""
import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess

LYNX = pathlib.Path(os.environ.get("LYNX_BIN") or pathlib.Path(__file__).parent.parent /
                    "build/release/bin") / "lynx"
METHODS = {"lynx": "lynx", "f16": "f16", "f16_streamed": "f16_streamed", "int8": "int8",
           "int4": "int4", "recompute": "recompute", "carry": "carry",
           "carry_on": "tokens"}
PLAIN = ("f16", "f16_streamed", "int8", "recompute")
CELL = ("scenario", "link_mbps", "prompt_limit")
TIMES = ("ttft_s", "tt32t_s")


def number(row, name):
    try:
        return float(row.get(name) or "nan")
    except ValueError:
        return float("nan")


def at_once(row):
    return int(row.get("concurrency") or 1)


def median(values):
    values = [value for value in values if value == value]
    return statistics.median(values) if values else None


def exact_step(row):
    """Milliseconds, where tokens were a step apart: behind the pass."""
    if number(row, "drafted") < 31:
        return 1e3 * (number(row, "tt64t_s") - number(row, "tt32t_s")) / 32
    return float("nan")


def draft_step(row):
    """The same while drafts stand."""
    if number(row, "accepted") >= 16:
        return 1e3 * (number(row, "tt16t_s") - number(row, "tt2t_s")) / 14
    return float("nan")


def calibrate(rows):
    """Options of 'lynx plan' from measured rows."""
    def of(*methods):
        return [row for row in rows if row["method"] in methods]

    def rate(chosen):
        return median(number(r, "prompt_tokens") / number(r, "prefill_s") for r in chosen
                      if number(r, "prefill_s") > 0)

    def step(chosen):
        return median(1e3 * (number(r, "tt64t_s") - number(r, "tt32t_s")) / 32 for r in chosen)

    drafted = [row for row in of("lynx") if number(row, "drafted") > 0]
    figures = {
        "--prefill-rate": rate([r for r in rows if r["method"] != "recompute"]),
        "--local-prefill-rate": rate(of("recompute")),
        "--step-ms": step(of("int4", *PLAIN)),
        "--prefill-step-ms": step(of("carry_on")),
        "--exact-step-ms": median(map(exact_step, of("lynx"))),
        "--draft-step-ms": median(map(draft_step, of("lynx"))),
        "--row-ms": median(number(r, "verify_ms") / (number(r, "drafted") + 1) for r in drafted),
        "--pass-ms": 0 if drafted else None,
    }
    return {name: value for name, value in figures.items() if value is not None}


def plan(rows, profile, figures, methods):
    """What the planner says of a cell: all methods, and its choice among 'methods'."""
    words = ["--profile", profile, "--json", "--link-mbps", rows[0]["link_mbps"], "--prompt",
             str(round(median(number(row, "prompt_tokens") for row in rows))), "--answer", "64",
             "--methods", ",".join(methods)]
    if rows[0]["scenario"] == "stored":
        words.append("--stored")
    delay = number(rows[0], "delay_ms")
    if delay == delay:
        words += ["--rtt-ms", str(2 * delay)]
    for name, value in {**figures, "--at-once": at_once(rows[0])}.items():
        words += [name, str(value)]
    done = subprocess.run([LYNX, "plan", *words], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def cells_of(rows):
    cells = {}
    for row in rows:
        cell = (*(row.get(name) for name in CELL), at_once(row))
        cells.setdefault(cell, []).append(row)
    return cells


def predictions(rows, profiles, figures):
    """One for each time of each method of each cell; 'chosen' is the way that the planner picks
    among those that were measured and give right tokens, by the 32nd one."""
    names = (*CELL, "concurrency")
    for cell, of_cell in cells_of(rows).items():
        measured = list(dict.fromkeys(row["method"] for row in of_cell))
        choices = [METHODS[m] for m in measured if m == "lynx" or m in PLAIN]
        said = plan(of_cell, profiles[at_once(of_cell[0]) > 1], figures, choices)
        times = {method["method"]: method for method in said["methods"]}
        for method in measured:
            own = [row for row in of_cell if row["method"] == method]
            for name in TIMES:
                values = [number(r, name) for r in own if number(r, name) == number(r, name)]
                real, predicted = median(values), times[METHODS[method]][name]
                # A stored cache's first token is there in milliseconds: nothing to predict.
                if predicted is not None and real is not None and real > 0.05:
                    yield {**dict(zip(names, cell)), "method": method, "time": name,
                           "measured_s": real, "measured_mean_s": statistics.mean(values),
                           "predicted_s": predicted,
                           "relative_error": predicted / statistics.mean(values) - 1,
                           "chosen": METHODS[method] == said["choice"]}


def put_summary(found):
    found = [row for row in found if row["concurrency"] == 1]
    if not found:
        print("no row of one request at a time is left to predict")
        return
    print(f"{'method':14} {'time':8} {'count':>5} {'median':>8} {'most':>8} {'within 15 %':>12}")
    keys = [*dict.fromkeys((row["method"], row["time"]) for row in found), (None, None)]
    for method, name in keys:
        errors = [abs(row["relative_error"]) for row in found
                  if method is None or (row["method"], row["time"]) == (method, name)]
        within = sum(e <= 0.15 for e in errors) / len(errors)
        print(f"{method or 'all':14} {name or '':8} {len(errors):5} "
              f"{statistics.median(errors) * 100:6.1f} % {max(errors) * 100:6.1f} % "
              f"{within * 100:10.0f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", type=pathlib.Path)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--at-once", metavar="FILE",
                        help="profile for rows of several requests at once")
    parser.add_argument("--calibrate", type=float, metavar="MBPS")
    parser.add_argument("--stands", type=float, metavar="P",
                        help="chance that a draft stands if those before it do")
    parser.add_argument("--step-tokens", type=float, metavar="X",
                        help="tokens that an exact step gives, with guesses")
    parser.add_argument("--draft-max", type=int, default=62, metavar="N",
                        help="as it was measured (62; of lynx demo: 40)")
    parser.add_argument("--model", help="of the table's models")
    parser.add_argument("--json", action="store_true", help="every prediction")
    options = parser.parse_args()
    rows = [row for row in csv.DictReader(options.rows.open())
            if row["method"] in METHODS and options.model in (None, row.get("model")) and
            (options.at_once or at_once(row) == 1)]
    known = [row for row in rows
             if number(row, "link_mbps") == options.calibrate and at_once(row) == 1]
    figures = {"--draft-max": options.draft_max, **(calibrate(known) if known else {})}
    if options.calibrate and (options.step_tokens or options.at_once):
        parser.error("rows that calibrate have guesses in their steps, and all cores: leave "
                     "--step-tokens and --at-once out")
    for name in ("stands", "step_tokens"):
        if getattr(options, name):
            figures["--" + name.replace("_", "-")] = getattr(options, name)
    others = [row for row in rows if row not in known]
    profiles = (options.profile, options.at_once)
    found = list(predictions(others, profiles, figures))
    if not found:
        parser.error("no row is left to predict")
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in figures.items():
        print(f"{name} {value:.6g}")
    put_summary(found)


main()
