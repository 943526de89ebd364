# SPDX-License-Identifier: MIT
"""A decode node under test, and clients of it that say exactly what they are told."""
import hashlib
import http.client
import json
import os
import pathlib
import re
import socket
import sys

from programs import BIN, SOURCE, Daemon

# Where tools/setup.sh puts the 'openai' package.
LIST = SOURCE / "tools" / "clients.txt"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
CLIENTS = CACHE / "lynx" / f"clients-{hashlib.sha256(LIST.read_bytes()).hexdigest()[:12]}"

CHAT = "/v1/chat/completions"


def import_openai():
    """The package, or None."""
    sys.path.insert(0, str(CLIENTS))  # the versions that it was tried with
    try:
        import openai
        return openai
    except ImportError:
        return None


class DecodeNode(Daemon):
    """lynxd decode, or another command that answers clients, with one thread of the engine."""

    def __init__(self, path, *options, command="decode", threads=1, env=None):
        super().__init__([BIN / "lynxd", command, "-m", path, "-t", threads, "--http",
                          "127.0.0.1:0", *options], "--http-port-file", env)
        self.path = path

    def request(self, method, path, body=None, headers=None, timeout=120):
        """Status, headers and body (decoded if it is JSON)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if isinstance(body, dict):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.headers.get_content_type() == "application/json":
            data = json.loads(data)
        return answer.status, answer.headers, data

    def ask(self, prompt, path=CHAT, timeout=120, **members):
        """The answer to one question, which must succeed."""
        status, _, data = self.request("POST", path, question(prompt, path, **members),
                                       timeout=timeout)
        if status != 200:
            raise AssertionError(f"{status}: {data}")
        return data

    def stream(self, prompt, path=CHAT, **members):
        """The events of a streamed answer, without [DONE], which must be the last."""
        with self.open(question(prompt, path, stream=True, **members), path) as stream:
            return list(stream.events())

    def open(self, body, path=CHAT, timeout=120, receive_bytes=None):
        return Stream(self.port, path, body, timeout, receive_bytes)

    def metrics(self):
        """Values by name with labels."""
        text = self.request("GET", "/metrics")[2].decode()
        return {name: float(value) for name, value in
                re.findall(r"(?m)^([a-z_]+(?:\{.*\})?) (\S+)$", text)}


def question(prompt, path=CHAT, **members):
    members = {"temperature": 0, **members}
    if path == CHAT:
        return {"messages": [{"role": "user", "content": prompt}], **members}
    return {"prompt": prompt, **members}


class Stream:
    """A streamed answer over a socket of its own, which keeps at most about 'receive_bytes'."""

    def __init__(self, port, path, body, timeout, receive_bytes):
        self.socket = socket.socket()
        self.socket.settimeout(timeout)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        data = json.dumps(body).encode()
        self.socket.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" %
                            (path.encode(), len(data), data))
        self.response = http.client.HTTPResponse(self.socket)

    def events(self):
        """JSON of each event; comments are skipped. The stream must end with [DONE] unless an error
        was its last event."""
        self.response.begin()
        if self.response.status != 200:
            raise AssertionError(f"{self.response.status}: {self.response.read()}")
        last = None
        while line := self.response.readline():
            line = line.decode().rstrip("\n")
            if line.startswith("data: "):
                last = line[6:]
                if last != "[DONE]":
                    last = json.loads(last)
                    yield last
        if last != "[DONE]" and not (isinstance(last, dict) and "error" in last):
            raise AssertionError(f"the stream ends with {last}")

    def close(self):
        self.response.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def text_of(events):
    """What a client shows of a streamed answer."""
    text = ""
    for event in events:
        for choice in event["choices"]:
            text += choice.get("text") or choice.get("delta", {}).get("content") or ""
    return text


def end_of(events):
    """The chunk with the reason of the end."""
    return next(e for e in events if e["choices"] and e["choices"][0]["finish_reason"])
