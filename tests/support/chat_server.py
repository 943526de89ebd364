# SPDX-License-Identifier: MIT
"""What 'lynxd decode' says to its page, played from scripts: the first word of the last message
names one. A script's steps are chunks, pauses in seconds and names of gates, which a test opens."""
import http.server
import json
import pathlib
import socket
import threading

PAGE = pathlib.Path(__file__).resolve().parents[2] / "src/serve/page.html"
POLICY = ("default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
          "img-src data:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
          "frame-ancestors 'none'")
KEY = "right-key"
PLANE_BYTES = (9000, 9500)  # of a full page, anchor and residual
WORDS = ("The cache of your prompt is on its way , and what you read here was drafted on its "
         "anchor . Each page has a coarse anchor that comes first and a fine residual that comes "
         "behind it . When both are here , one pass over all drafts says which of them stand .")
TOKENS = [word if word in ",." else f" {word}" for word in WORDS.split()]


def event(name, t_ms, **members):
    return {"choices": [], "lynx": {"event": name, "t_ms": t_ms, **members}}


def content(text):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def token(t_ms, index, text):
    return [event("token", t_ms, index=index, text=text), content(text)]


def last(method="speculate", reason="length", why="the link is slower than the prefill", **members):
    lynx = {"method": method, "reason": why, "prefill_node": "127.0.0.1:7600",
            "is_recomputed": False, "prompt_tokens": 1000, "drafted": 0, "accepted": 0, "bytes": 0,
            "bytes_before_first_draft": 0, "prefill_ms": 0, "anchor_ms": 0, "complete_ms": 0,
            "verify_ms": 0, "ttft_ms": 0, "total_ms": 0, **members}
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "lynx": lynx}


def batches(pages, layers, plane, number):
    """A plane of every page, in 'number' lists."""
    names = [[page, layer, side, plane] for page in range(pages) for layer in range(layers)
             for side in (0, 1)]
    size = -(-len(names) // number)
    return [names[at:at + size] for at in range(0, len(names), size)]


def transfer(tokens, drafts, accepted, pages=4, layers=30, tempo=0.05, lists=10):
    """The whole of a request: 'drafts' are what is drafted from index 1 on."""
    ms, total = tempo * 1000, 0
    yield event("start", 0, method="speculate", prompt_tokens=pages * 250, pages=pages,
                layers=layers, planes=2)
    yield "start"
    now = 0.0
    for part in range(1, 5):
        now += ms
        yield tempo
        yield event("prefill", now, done=part * pages * 250 // 4, total=pages * 250)
    yield from token(now, 0, tokens[0])
    prefill_ms = now
    for names in batches(pages, layers, 0, lists):
        now += ms
        yield tempo
        total += len(names) * PLANE_BYTES[0]
        yield event("planes", now, bytes=total, list=names)
    yield event("anchor", now)
    anchor_ms, anchor_bytes = now, total
    yield "anchor"
    waiting = list(enumerate(drafts, 1))
    each = -(-len(waiting) // lists)
    for names in batches(pages, layers, 1, lists):
        for index, text in waiting[:each]:
            now += ms / each
            yield tempo / each
            yield event("draft", now, index=index, text=text)
        waiting = waiting[each:]
        total += len(names) * PLANE_BYTES[1]
        yield event("planes", now, bytes=total, list=names)
        if names[0][0] >= pages // 2 and not waiting[each * (lists // 2 - 1):]:
            yield "half"
    yield event("complete", now)
    complete_ms = now
    yield "complete"
    yield event("verify", now, drafts=len(drafts))
    now += 3 * ms
    yield 3 * tempo
    yield event("verified", now, accepted=accepted, drafts=len(drafts))
    for index in range(1, accepted + 1):
        yield from token(now, index, drafts[index - 1])
    yield "verified"
    for index in range(accepted + 1, len(tokens)):
        yield from token(now, index, tokens[index])
        now += ms
        yield tempo
    yield last(drafted=len(drafts), accepted=accepted, bytes=total, total_ms=now,
               bytes_before_first_draft=anchor_bytes, prefill_ms=prefill_ms, ttft_ms=prefill_ms,
               anchor_ms=anchor_ms, complete_ms=complete_ms, verify_ms=3 * ms)


def good():
    return transfer(TOKENS, TOKENS[1:41], 40)


def withdrawn():
    wrong = [" <b>never</b>" if index % 2 else " wrongly" for index in range(28)]
    return transfer(TOKENS, TOKENS[1:13] + wrong, 12)


def lost():
    yield event("start", 0, method="speculate", prompt_tokens=1000, pages=4, layers=30, planes=2)
    yield event("prefill", 100, done=1000, total=1000)
    yield event("planes", 200, bytes=540000, list=batches(4, 30, 0, 4)[0])
    yield 0.1
    yield event("lost", 300, text="127.0.0.1:7600 closed the connection")
    yield "lost"
    yield event("prefill", 400, done=500, total=1000)
    yield event("prefill", 600, done=1000, total=1000)
    for index, text in enumerate(TOKENS):
        yield from token(610 + 10 * index, index, text)
    yield last(is_recomputed=True, bytes=540000, total_ms=1300)


def relay():
    """The first node is lost while its cache is drafted on; another one sends it all again."""
    yield event("start", 0, method="speculate", prompt_tokens=250, pages=1, layers=30, planes=2)
    yield from token(10, 0, TOKENS[0])
    yield event("planes", 20, bytes=540000, list=batches(1, 30, 0, 1)[0])
    yield event("anchor", 20)
    for index in (1, 2, 3):
        yield event("draft", 20 + index, index=index, text=" astray")
    yield "anchor"
    yield event("lost", 30, text="127.0.0.1:7600 closed the connection")
    yield event("planes", 40, bytes=9000, list=[[0, 0, 0, 0]])
    yield "lost"
    yield event("planes", 50, bytes=1110000, list=batches(1, 30, 0, 1)[0][1:] +
                batches(1, 30, 1, 1)[0])
    yield event("anchor", 50)
    yield event("complete", 50)
    for index, text in enumerate(TOKENS[1:], 1):
        yield from token(50 + index, index, text)
    yield last(bytes=1110000, total_ms=200)


def reviewed():
    """Three planes: a review withdraws four of six drafts, others are made behind the two."""
    yield event("start", 0, method="speculate", prompt_tokens=250, pages=1, layers=30, planes=3)
    yield from token(10, 0, TOKENS[0])
    yield event("planes", 20, bytes=540000, list=batches(1, 30, 0, 1)[0])
    yield event("anchor", 20)
    for index, text in enumerate(TOKENS[1:3] + 4 * [" astray"], 1):
        yield event("draft", 20 + index, index=index, text=text)
    yield event("planes", 40, bytes=720000, list=batches(1, 30, 1, 1)[0])
    yield event("review", 40, drafts=6)
    yield "review"
    yield event("reviewed", 50, kept=2, drafts=6)
    for index, text in enumerate(TOKENS[3:6], 3):
        yield event("draft", 50 + 10 * (index - 3), index=index, text=text)
    yield "reviewed"
    yield event("planes", 80, bytes=960000, list=batches(1, 30, 2, 1)[0])
    yield event("complete", 80)
    yield event("verify", 80, drafts=5)
    yield event("verified", 90, accepted=5, drafts=5)
    for index, text in enumerate(TOKENS[1:], 1):
        yield from token(90 + index, index, text)
    yield last(drafted=5, accepted=5, bytes=960000, total_ms=200)


def local():
    yield event("start", 0, method="local", prompt_tokens=12, pages=1, layers=30, planes=2)
    yield event("prefill", 20, done=12, total=12)
    for index, text in enumerate(TOKENS[:20]):
        yield from token(30 + 10 * index, index, text)
        yield 0.01
    yield last(method="local", reason="stop", prefill_node=None, total_ms=230,
               why="a short prompt is prefilled faster than it travels")


def html():
    texts = ["<img src=x onerror=alert(1)>", "<script>alert(2)</script>", " &amp; <b>bold</b>"]
    return transfer(texts, texts[1:], 2, pages=1, layers=2, tempo=0.01, lists=2)


def big():
    return transfer(TOKENS * 20, (TOKENS * 20)[1:201], 200, pages=32, layers=60, tempo=0.01,
                    lists=60)


def cut():
    yield from token(10, 0, TOKENS[0])
    yield "cut"


def failing():
    yield from token(10, 0, TOKENS[0])
    yield {"error": {"message": "the engine failed", "type": "server_error", "param": None,
                     "code": None}}


SCRIPTS = {script.__name__: script for script in
           (good, withdrawn, reviewed, lost, relay, local, html, big, cut, failing)}
REFUSALS = {"busy": (429, "rate_limit_error", "the queue is full"),
            "renamed": (404, "invalid_request_error", "there is no model 'a'"),
            "loading": (503, "server_error", "the model is being loaded"),
            "long": (400, "invalid_request_error", "the prompt has 9000 tokens, 8192 fit")}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.play.connections.add(self.connection)

    def finish(self):
        self.server.play.connections.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass  # the browser has left

    def log_message(self, *_):
        pass

    def reply(self, status, kind, body, **headers):
        self.send_response(status)
        self.close_connection = True
        headers = {"Content-Type": kind, "Content-Length": len(body), "Connection": "close",
                   **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, kind, message, **headers):
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
        self.reply(status, "application/json", json.dumps(body).encode(), **headers)

    def is_refused(self):
        play = self.server.play
        if not play.wants_key or self.headers.get("Authorization") == f"Bearer {KEY}":
            return False
        self.error(401, "authentication_error", "an API key is needed")
        return True

    def do_GET(self):
        if self.path == "/":
            self.reply(200, "text/html; charset=utf-8", PAGE.read_bytes(),
                       Content_Security_Policy=POLICY)
        elif self.path != "/v1/models":
            self.error(404, "invalid_request_error", "there is nothing here")
        elif not self.is_refused():
            body = {"object": "list", "data": [{"id": "smollm2-135m", "object": "model"}]}
            self.reply(200, "application/json", json.dumps(body).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.is_refused():
            return
        play, name = self.server.play, body["messages"][-1]["content"].split()[0]
        play.bodies.append(body)
        if name in play.refuse_once:
            play.refuse_once.remove(name)
            status, kind, message = REFUSALS[name]
            headers = {"Retry_After": 2} if status == 429 else {}
            self.error(status, kind, message, **headers)
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.play_script(play, SCRIPTS.get(name, good)())
        except OSError:
            play.cancelled.set()

    def play_script(self, play, script):
        for step in script:
            if step == "cut" and step in play.gates:
                return
            if isinstance(step, str):
                play.reached[step].set()
                while not play.gates.get(step, play.opened).wait(0.02):
                    self.wfile.write(b": wait\n\n")
            elif isinstance(step, float):
                if play.is_slow and threading.Event().wait(step):
                    return
            else:
                chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                         "model": "smollm2-135m", **step}
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")


class ChatServer:
    """A server on loopback. 'gates': names at which scripts wait until their event is set;
    'reached': events set as scripts come there; 'is_slow': pauses are kept."""

    def __init__(self):
        self.connections = set()
        self.opened = threading.Event()
        self.opened.set()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.play = self
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.reset()
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def reset(self, gates=(), is_slow=False, wants_key=False):
        for gate in getattr(self, "gates", {}).values():
            gate.set()
        self.gates = {name: threading.Event() for name in gates}
        self.reached = {name: threading.Event() for name in
                        ("start", "anchor", "half", "complete", "verified", "review",
                         "reviewed", "lost", "cut")}
        self.is_slow, self.wants_key = is_slow, wants_key
        self.refuse_once = set(REFUSALS)
        self.bodies, self.cancelled = [], threading.Event()

    def close(self):
        self.reset()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()
        # A browser connects ahead of its requests: a thread may wait for one.
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself
