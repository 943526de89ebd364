#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the daemon adds to an answer: the same chat by 'lynxd decode' over HTTP and by 'lynx run',
in turn, with the same prefill node behind an emulated link.

    bench/serve.py FOLDER-OF-PROGRAMS MODEL [--rounds N]     rows as JSON on standard output

TTFT over HTTP is when the client has the first text; times of later tokens are those of the
answer's events, since a draft that stands counts from when it was made, as with 'lynx run'.
'first_text_late_s' is how long after the daemon knew the first token the client had its text, by
the daemon's own report of that time.
"""
import argparse
import http.client
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = 48
TEXT = (ROOT / "docs/algorithm.md").read_text()[:2400]
QUESTION = TEXT + "\n\nSum up the text above in a few sentences."


class Program:
    """A daemon until the context ends."""

    def __init__(self, *command):
        self.folder = tempfile.TemporaryDirectory()
        self.port_file = pathlib.Path(self.folder.name) / "port"
        self.process = subprocess.Popen([*map(str, command), self.port_file],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def __enter__(self):
        while not self.port_file.exists():
            if self.process.poll() is not None:
                sys.exit(f"{self.process.args[0]} ended with {self.process.returncode}")
            time.sleep(0.02)
        self.port = int(self.port_file.read_text())
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def by_http(port):
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True,
            "max_tokens": TOKENS, "temperature": 0,
            "lynx": {"method": "speculate", "stream": "optimistic"}}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    begin = time.monotonic()
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    answer = connection.getresponse()
    first, known, times = None, None, {}
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        choices = event.get("choices") or [{}]
        if first is None and choices[0].get("delta", {}).get("content"):
            first = time.monotonic() - begin
        about = event.get("lynx", {})
        if about.get("event") == "token":
            times[about["index"]] = about["t_ms"] / 1e3
        known = about.get("ttft_ms", known)
    connection.close()
    return {"ttft_s": first, "tt32t_s": times.get(31), "first_text_late_s": first - known / 1e3}


def by_run(programs, model, port):
    done = subprocess.run([programs / "lynx", "run", "-t", "1", "-m", model, "--prefill",
                           f"127.0.0.1:{port}", "-p", QUESTION, "-n", str(TOKENS), "--json",
                           "--insecure-plaintext"],
                          stdout=subprocess.PIPE, check=True)
    told = json.loads(done.stdout)
    return {"ttft_s": told["ttft_s"], "tt32t_s": told["tt32t_s"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--link-mbps", default="20")
    options = parser.parse_args()
    lynxd, shown = options.programs / "lynxd", {"run": [], "http": []}
    with Program(lynxd, "prefill", "-t", 1, "-m", options.model, "--listen", "127.0.0.1:0",
                 "--insecure-plaintext", "--link-mbps", options.link_mbps,
                 "--port-file") as prefill, \
            Program(lynxd, "decode", "-t", 1, "-m", options.model, "--prefill",
                    f"127.0.0.1:{prefill.port}", "--insecure-plaintext", "--http", "127.0.0.1:0",
                    "--http-port-file") as decode:
        by_http(decode.port)  # warm
        for _ in range(options.rounds):
            shown["run"].append(by_run(options.programs, options.model, prefill.port))
            shown["http"].append(by_http(decode.port))
    rows = []
    for column in ("ttft_s", "tt32t_s"):
        pairs = [(run[column], http_[column]) for run, http_ in zip(shown["run"], shown["http"])
                 if run[column] and http_[column]]
        rows.append({"model": options.model.stem, "link_mbps": float(options.link_mbps),
                     "figure": column, "rounds": len(pairs),
                     "run_s": round(statistics.median(a for a, _ in pairs), 4),
                     "http_s": round(statistics.median(b for _, b in pairs), 4),
                     "ratio": round(statistics.median(b / a for a, b in pairs), 4)})
    late = [http_["first_text_late_s"] for http_ in shown["http"]]
    rows.append({"model": options.model.stem, "link_mbps": float(options.link_mbps),
                 "figure": "first_text_late_s", "rounds": len(late),
                 "http_s": round(statistics.median(late), 4), "http_max_s": round(max(late), 4)})
    json.dump(rows, sys.stdout, indent=1)
    print()


main()
