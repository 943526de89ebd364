#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Figures of the documents from the rows in bench/results, so that the two cannot differ.

    bench/tables.py            write the tables anew, and the plots where gnuplot is
    bench/tables.py --check    say which tables are not those of the rows

A document has a table of rows between two lines:

    <!-- rows: NAME -->
    <!-- end of rows -->
"""
import collections
import csv
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "docs/performance.md", ROOT / "docs/plan.md"]
PLOTS = ROOT / "docs/plots"
PLACE = re.compile(r"(<!-- rows: ([a-z0-9-]+) -->\n).*?(<!-- end of rows -->)", re.S)
WAYS = {"f16": "F16 cache, after the prefill", "f16_streamed": "F16 cache, streamed",
        "int8": "INT8 cache", "int4": "INT4 cache", "anchor_only": "anchor, not verified",
        "lynx": "**Lynx**", "lynx_3": "Lynx, three planes",
        "carry": "Lynx, prefill node carries on", "recompute": "recompute",
        "carry_on": "prefill node decodes on"}
PLAIN = ("f16", "f16_streamed", "int8", "recompute")


def rows_of(name):
    path = ROOT / f"bench/results/{name}.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def number(row, column):
    return float(row[column]) if row.get(column) else None


def median(rows, column):
    values = [value for value in (number(row, column) for row in rows) if value is not None]
    return statistics.median(values) if values else None


def shown(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def grouped(rows, *columns):
    groups = collections.OrderedDict()
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def table(head, lines):
    """Columns of numbers to the right."""
    numeric = [all(re.fullmatch(r"[-0-9.]*", line[i]) for line in lines)
               for i in range(len(head))]
    marks = ["--:" if is_numeric else "---" for is_numeric in numeric]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in [head, marks, *lines])


def right(rows):
    return "yes" if all(row["tokens_equal_target"] == "True" for row in rows) else "no"


def ways_table(rows, only=WAYS):
    columns = ["stall_s", "ttft_s", "tt2t_s", "tt16t_s", "tt32t_s", "tt64t_s"]
    lines = []
    for (method,), group in grouped(rows, "method").items():
        if method not in only:
            continue
        drafted = median(group, "drafted")
        lines.append([WAYS.get(method, method), *(shown(median(group, c)) for c in columns),
                      shown((median(group, "bytes_total") or 0) / 1e6),
                      f"{shown(median(group, 'accepted'), 0)} of {drafted:.0f}" if drafted else "",
                      right(group)])
    return table(["way", "stall", "1st token", "2nd", "16th", "32nd", "64th", "MB",
                  "drafts that stand", "right tokens"], lines)


def demo(model, scenario, only=WAYS):
    return ways_table([row for row in rows_of("demo")
                       if row["model"] == model and row["scenario"] == scenario], only)


def e2e_ratios():
    """Lynx by the other ways of the same point."""
    lines = []
    points = grouped(rows_of("e2e"), "model", "scenario", "concurrency", "link_mbps")
    for (model, scenario, concurrency, link), group in points.items():
        of = {method: rows for (method,), rows in grouped(group, "method").items()}
        if not {"lynx", "int8"} <= of.keys():
            continue

        def ratio(column, others):
            best = [value for value in (median(of[o], column) for o in others if o in of)
                    if value]
            own = median(of["lynx"], column)
            return shown(own / min(best)) if best and own is not None else "-"

        step = (median(of["int8"], "tt64t_s") - median(of["int8"], "tt32t_s")) / 32
        lines.append([model.removesuffix(".gguf"), scenario, concurrency, f"{float(link):g}",
                      shown(median(of["int8"], "stall_s") / step, 0),
                      ratio("stall_s", ["int8"]), ratio("tt16t_s", ["int8"]),
                      ratio("tt32t_s", ["int8"]),
                      ratio("tt32t_s", ["f16", "f16_streamed", "int8"]),
                      ratio("tt32t_s", ["recompute"]), ratio("tt32t_s", ["carry_on"])])
    return table(["model", "scenario", "at once", "Mbit/s", "INT8's stall, steps",
                  "stall / INT8", "16th / INT8", "32nd / INT8", "32nd / best plain",
                  "32nd / recompute", "32nd / decodes on"], lines)


def choices():
    """The way that the planner picks by the best of the plain ones."""
    lines = []
    rows = [row for row in rows_of("plan") if row["time"] == "tt32t_s"]
    for cell, group in grouped(rows, "model", "scenario", "concurrency", "link_mbps").items():
        of = {row["method"]: number(row, "measured_s") for row in group}
        chosen = next((row for row in group if row["chosen"] == "True"), None)
        plain = {method: of[method] for method in PLAIN if method in of}
        if not chosen or not plain:
            continue
        best = min(plain, key=plain.get)
        own = number(chosen, "measured_s")
        lines.append([cell[0].removesuffix(".gguf"), cell[1], cell[2], f"{float(cell[3]):g}",
                      WAYS[chosen["method"]].replace("*", ""), shown(own), WAYS[best],
                      shown(plain[best]), shown(own / plain[best]),
                      shown(of["lynx"] / plain[best]) if "lynx" in of else "-"])
    return table(["model", "scenario", "at once", "Mbit/s", "`lynx plan` picks", "32nd, s",
                  "best plain way", "32nd, s", "ratio", "Lynx by best plain"], lines)


def predictions():
    """How far the planner's times are from measured ones."""
    lines = []
    rows = [row for row in rows_of("plan") if row["concurrency"] == "1"]
    groups = grouped(rows, "method", "time")
    for (method, time), group in [*groups.items(), (("all", ""), rows)]:
        errors = [abs(number(row, "relative_error")) for row in group]
        if errors:
            lines.append([method, time.removesuffix("_s").upper(), str(len(errors)),
                          shown(100 * statistics.median(errors), 1), shown(100 * max(errors), 1),
                          str(sum(error <= 0.15 for error in errors))])
    return table(["method", "time", "rows", "median error, %", "largest, %", "within 15 %"], lines)


def stored():
    """Lynx by the other cache files of the same point."""
    lines = []
    points = grouped(rows_of("stored"), "model", "server", "tokens_asked", "link_mbps")
    for (model, server, _, link), group in points.items():
        of = {method: rows for (method,), rows in grouped(group, "method").items()}
        if not {"f16", "int8", "all_planes", "lynx"} <= of.keys():
            continue

        def ratio(column, other):
            return shown(median(of["lynx"], column) / median(of[other], column))

        lines.append([model, server, f"{median(of['lynx'], 'prompt_tokens'):.0f}", link,
                      *(shown(median(of[method], "first_own_token_s"))
                        for method in ("f16", "int8", "lynx")),
                      ratio("first_own_token_s", "f16"), ratio("tt16t_s", "int8"),
                      ratio("tt32t_s", "int8"), ratio("tt16t_s", "all_planes"),
                      f"{median(of['lynx'], 'accepted'):.0f} of "
                      f"{median(of['lynx'], 'drafted'):.0f}", right(of["lynx"])])
    return table(["model", "server", "tokens", "Mbit/s", "F16, s", "INT8, s", "Lynx, s",
                  "first / F16", "16th / INT8", "32nd / INT8", "16th / all planes",
                  "drafts that stand", "right tokens"], lines)


def disk():
    names = {"save": "save", "restore_disk": "restore, from the disk",
             "restore_memory": "restore, from memory"}
    lines = []
    for (model, tokens, op), group in grouped(rows_of("disk"), "model", "tokens", "op").items():
        own, other = median(group, "lynx_s"), median(group, "llama_s")
        lines.append([model, tokens, names[op], shown(own * 1e3, 1), shown(other * 1e3, 1),
                      shown(own / other),
                      shown(median(group, "lynx_bytes") / median(group, "llama_bytes"))])
    return table(["model", "tokens", "", "Lynx, ms", "llama.cpp, ms", "ratio", "size ratio"],
                 lines)


def codec():
    """Of each machine and set of instructions, of which not every machine has each."""
    groups = grouped([row for row in rows_of("codec") if row["table"] != "reference"],
                     "machine", "table", "profile", "layout", "side")
    lines = []
    for (processor, *key), group in groups.items():
        of = {row["op"]: row for row in group}
        lines.append([processor.split(",")[0], shown(median(group, "memcpy_gb_per_s"), 1), *key,
                      *(shown(number(of[op], "ratio")) if op in of else "-"
                        for op in ("encode", "decode_anchor", "decode_full"))])
    return table(["processor", "memcpy, GB/s", "kernels", "profile", "layout", "side", "encode",
                  "decode anchor", "decode all"], lines)


def engine():
    groups = grouped(rows_of("engine"), "model", "command", "slots")
    return table(["model", "threads", "slots", "tokens/s", "to one slot"],
                 [[model, re.search(r"-t (\d+)", command).group(1), slots,
                   shown(median(group, "tokens_per_s"), 1), shown(median(group, "ratio"))]
                  for (model, command, slots), group in groups.items()])


def guess():
    return table(["model", "prompts", "cache", "way", "tokens a step", "ms a token", "to without",
                  "largest", "step"],
                 [[row["model"], f"{row['prompts']}, {row['kind']}", row["cache"],
                   row.get("way") or "guesses", shown(number(row, "tokens_per_step")),
                   shown(number(row, "token_ms"), 1),
                   shown(number(row, "ratio")), shown(number(row, "ratio_most")),
                   shown(number(row, "step_ratio"))]
                  for row in rows_of("guess") if row["kind"] != "batch"])


def serve():
    names = {"ttft_s": "first text", "tt32t_s": "32nd token"}
    return table(["model", "", "lynx run, s", "lynxd decode, s", "ratio"],
                 [[row["model"], names[row["figure"]], shown(number(row, "run_s")),
                   shown(number(row, "http_s")), shown(number(row, "ratio"))]
                  for row in rows_of("serve") if row["figure"] in names])


def serve_late():
    return table(["model", "median, ms", "most, ms"],
                 [[row["model"], shown(1e3 * number(row, "http_s"), 1),
                   shown(1e3 * number(row, "http_max_s"), 1)]
                  for row in rows_of("serve") if row["figure"] == "first_text_late_s"])


def link_anchors():
    lines = []
    rows = [row for row in rows_of("link") if row["op"] == "anchor"]
    for (mbps, rtt, scheduler, transport), group in grouped(
            rows, "link_mbps", "rtt_ms", "scheduler", "transport").items():
        lines.append([f"{float(mbps):g}", rtt, scheduler.replace("_", " "), transport,
                      *(shown(median(group, c)) for c in
                        ("floor_ms", "anchor_p50_ms", "anchor_max_ms", "link_use"))])
    return table(["Mbit/s", "round trip, ms", "scheduler", "transport", "floor, ms", "p50, ms",
                  "max, ms", "link in use"], lines)


def link_throughput():
    rows = [row for row in rows_of("link") if row["op"] == "throughput"]
    return table(["transport", "GB/s", "bare loop, GB/s", "ratio", "CPU s per GB"],
                 [[transport, *(shown(median(group, c)) for c in
                                ("gb_per_s", "bare_gb_per_s", "ratio", "cpu_s_per_gb"))]
                  for (transport,), group in grouped(rows, "transport").items()])


def interval(row, column, digits):
    low, high = (shown(number(row, column.removesuffix("_mean") + end), digits)
                 for end in ("_low", "_high"))
    return f"{shown(number(row, column), digits)} ({low} - {high})"


def codecs(texts):
    rows = [row for row in rows_of("eval") if row["set"] == texts]
    return table(["model", "codec", "planes", "bits a value", "KL", "top-1", "accepted of 62",
                  "all 62", "vNMSE of attention"],
                 [[row["model"], row["codec"], row["planes"],
                   shown(number(row, "bits_at_8000")), interval(row, "kl", 5),
                   shown(number(row, "top1"), 4), interval(row, "accepted_mean", 1),
                   shown(number(row, "accepted_all")), f"{number(row, 'vnmse_attention'):.1e}"]
                  for row in rows])


def tasks():
    rows = [row for row in rows_of("task") if row["part"] == "all"]
    return table(["model", "task", "codec", "bits a value", "right", "of", "accuracy", "kept"],
                 [[row["model"], row["task"], row["codec"], shown(number(row, "bits_per_value")),
                   row["correct"], row["items"], interval(row, "accuracy", 2),
                   f"{row['kept']} of {row['f16_correct']}"] for row in rows])


TABLES = {"readme": lambda: demo("gemma3-270m-f16", "stored",
                                 ("f16", "int8", "lynx", "recompute")),
          "demo-stored": lambda: demo("gemma3-270m-f16", "stored"),
          "demo-cold": lambda: demo("gemma3-270m-f16", "cold"),
          "e2e": e2e_ratios, "choices": choices, "predictions": predictions,
          "codec": codec, "engine": engine, "guess": guess,
          "link-anchors": link_anchors, "link-throughput": link_throughput, "serve": serve,
          "serve-late": serve_late,
          "stored": stored, "disk": disk, "codecs": lambda: codecs("apart"),
          "codecs-tuning": lambda: codecs("tuning"), "tasks": tasks}


# ---- plots ---------------------------------------------------------------------------------

STYLE = """set terminal svg size 720,400 font 'sans-serif,12' background '#ffffff'
set output '{output}'
set key outside right
set grid lc rgb '#dddddd'
set border 3
set xtics nomirror
set ytics nomirror
"""
COLOURS = {"f16_streamed": "#888888", "int8": "#2b6cb0", "int4": "#90cdf4", "lynx": "#c05621",
           "recompute": "#2f855a", "carry_on": "#6b46c1"}


def plot(name, commands):
    PLOTS.mkdir(exist_ok=True)
    script = STYLE.format(output=PLOTS / f"{name}.svg") + commands
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def plot_e2e():
    rows = [row for row in rows_of("e2e") if row["concurrency"] == "1"]
    for (model, scenario), group in grouped(rows, "model", "scenario").items():
        data, lines = "", []
        for (method,), of in grouped(group, "method").items():
            if method not in COLOURS:
                continue
            points = sorted((float(link), median(same, "tt32t_s"))
                            for (link,), same in grouped(of, "link_mbps").items())
            data += f"${method} << END\n"
            data += "".join(f"{x} {y}\n" for x, y in points if y is not None) + "END\n"
            title = WAYS[method].replace("*", "")
            lines.append(f"${method} with linespoints pt 7 ps 0.5 lw 2 "
                         f"lc rgb '{COLOURS[method]}' title '{title}'")
        name = model.removesuffix(".gguf")
        plot(f"tt32t-{name}-{scenario}",
             f"set title '{name}, cache {scenario}: 32nd valid token' noenhanced\n"
             "set logscale xy\nset xlabel 'link, Mbit/s'\nset ylabel 'seconds'\n"
             + data + "plot " + ", \\\n ".join(lines) + "\n")


def plot_codecs():
    for (model,), group in grouped([r for r in rows_of("eval")
                                    if r["planes"] == "1" and r["set"] == "apart"],
                                   "model").items():
        points = sorted((float(row["kl"]), row["bits_at_8000"], row["codec"]) for row in group
                        if float(row["kl"]) > 0)
        data = "".join(f"$c{i} << END\n{bits} {kl}\nEND\n"
                       for i, (kl, bits, _) in enumerate(points))
        dots = [f"$c{i} with points pt {5 + 2 * (i % 5)} lc {i + 1} title '{codec}' noenhanced"
                for i, (_, _, codec) in enumerate(points)]
        name = re.sub(r"[^a-z0-9]+", "-", model.lower())
        plot(f"kl-{name}", f"set title '{model}: what a decoder loses on each codec'\n"
             "set logscale y\nset yrange [0.00005:*]\nset xlabel 'bits a value on the wire'\n"
             "set ylabel 'mean KL to the F16 cache'\nset xrange [3.5:9]\n"
             "set key inside right top\n"
             + data + "plot " + ", \\\n ".join(dots) + "\n")


# ---- the documents -------------------------------------------------------------------------

def renew(text, path):
    def fill(match):
        if match.group(2) not in TABLES:
            sys.exit(f"{path}: there is no table '{match.group(2)}'")
        return match.group(1) + TABLES[match.group(2)]() + match.group(3)
    return PLACE.sub(fill, text)


def main():
    is_check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not is_check:
        sys.exit(__doc__)
    stale = []
    for path in DOCUMENTS:
        text = path.read_text()
        new = renew(text, path)
        if new != text:
            stale.append(path)
        if not is_check:
            path.write_text(new)
    if is_check:
        for path in stale:
            print(f"{path.relative_to(ROOT)}: not the rows of bench/results; run bench/tables.py")
        sys.exit(bool(stale))
    if shutil.which("gnuplot"):
        plot_e2e()
        plot_codecs()
    else:
        print("no gnuplot: the plots stay as they are", file=sys.stderr)


main()
