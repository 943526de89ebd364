#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A web server with faults. 'range_server.py LOG [CERTIFICATE KEY]' writes its port, then serves
until its standard input ends. The path is /FAULT/SIZE: SIZE bytes of a pattern, with that fault.
LOG gets a line for each request."""
import http.server
import os
import socket
import ssl
import sys
import threading
import time

LOCK = threading.Lock()
COUNTS = {}
STORED = {}


def pattern(size):
    return bytes((i * 131 + (i >> 8) * 17) & 255 for i in range(size))


PATTERNS = {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    def handle_expect_100(self):
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def note(self):
        with LOCK:
            self.server.log.write(
                f"{self.command} {self.path} range={self.headers.get('Range')} "
                f"authorization={self.headers.get('Authorization')} "
                f"host={self.headers.get('Host')} connection={self.client_address[1]}\n")
            self.server.log.flush()
            COUNTS[self.path] = COUNTS.get(self.path, 0) + 1
            return COUNTS[self.path]

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        headers = {"Content-Length": len(body), **{k.replace("_", "-"): v
                                                   for k, v in headers.items()}}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def end(self):
        """Cut the connection."""
        self.wfile.flush()
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def whole(self, size):
        with LOCK:
            if size not in PATTERNS:
                PATTERNS[size] = pattern(size)
            return PATTERNS[size]

    def wanted(self, size):
        """First byte and the one behind the last."""
        text = self.headers.get("Range")
        if not text:
            return 0, size
        first, last = text.removeprefix("bytes=").split("-")
        return int(first), min(int(last) + 1, size)

    def do_GET(self):
        count = self.note()
        _, fault, *rest = self.path.split("?")[0].split("/")
        name = rest[-1] if rest else "0"
        if self.path in STORED:
            data = STORED[self.path]
        else:
            data = self.whole(int(name) if name.isdigit() else 0)
        first, end = self.wanted(len(data))
        if first >= len(data) and fault != "gone":
            self.answer(416, Content_Range=f"bytes */{len(data)}")
            return
        part = {"status": 206, "body": data[first:end], "ETag": '"one"',
                "Content_Range": f"bytes {first}-{end - 1}/{len(data)}"}
        getattr(self, "fault_" + fault, self.fault_plain)(part, data, first, end, count)

    def fault_plain(self, part, *_):
        self.answer(**part)

    def fault_ok(self, part, *_):
        self.answer(**{**part, "status": 200})

    def fault_dated(self, part, *_):
        self.answer(**{**part, "ETag": None, "Last_Modified": "Wed, 25 Nov 2026 09:11:15 GMT"})

    def fault_few(self, part, data, first, end, _):
        """Less than was asked for, as a server may."""
        end = min(end, first + 50000)
        self.answer(**{**part, "body": data[first:end],
                       "Content_Range": f"bytes {first}-{end - 1}/{len(data)}"})

    def fault_cut(self, part, data, first, end, count):
        if count % 2 == 0:
            self.answer(**part)
            return
        body = part.pop("body")
        self.answer(**{**part, "body": b"", "Content_Length": len(body)})
        self.wfile.write(body[:len(body) // 2])
        self.end()

    def fault_hangs(self, part, *_):
        body = part.pop("body")
        self.answer(**{**part, "body": b"", "Content_Length": len(body)})
        self.wfile.write(body[:len(body) // 2])
        self.wfile.flush()
        self.server.over.wait(60)

    def fault_later_hangs(self, part, data, first, *_):
        (self.fault_hangs if first else self.fault_plain)(part)

    def fault_silent(self, *_):
        self.server.over.wait(60)

    def fault_busy(self, part, data, first, end, count):
        if count <= 2:
            self.answer(503, b"busy", Retry_After=0)
        else:
            self.answer(**part)

    def fault_down(self, *_):
        self.answer(503, b"down")

    def fault_ignores(self, part, data, *_):
        self.answer(200, data)

    def fault_endless(self, part, data, *_):
        """Without ranges and without a length."""
        self.answer(200, b"", Content_Length=None, Connection="close")
        block = bytes(1 << 16)
        try:
            while not self.server.over.is_set():
                self.wfile.write(block)
        except OSError:
            self.close_connection = True

    def fault_shifted(self, part, data, first, end, _):
        if first > 0:
            part["Content_Range"] = f"bytes {first + 1}-{end}/{len(data) + 1}"
        self.answer(**part)

    def fault_short_claim(self, part, data, first, end, _):
        part["Content_Range"] = f"bytes {first}-{end - 2}/{len(data)}"
        self.answer(**part)

    def fault_no_claim(self, part, *_):
        self.answer(**{**part, "Content_Range": None})

    def fault_changes(self, part, data, first, end, count):
        self.answer(**{**part, "ETag": '"one"' if count == 1 else '"two"'})

    def fault_grows(self, part, data, first, end, count):
        total = len(data) + (count > 1)
        self.answer(**{**part, "Content_Range": f"bytes {first}-{end - 1}/{total}"})

    def fault_vanishes(self, part, data, first, end, count):
        self.answer(**part) if count == 1 else self.answer(404)

    def fault_refuses_later(self, part, data, first, end, count):
        self.answer(**part) if count == 1 else self.answer(412)

    def fault_gone(self, *_):
        self.answer(404, b"no")

    def fault_denied(self, *_):
        self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")

    def fault_packed(self, part, *_):
        self.answer(**{**part, "Content_Encoding": "gzip"})

    def fault_huge(self, part, data, first, end, _):
        self.answer(**{**part, "Content_Range": f"bytes {first}-{end - 1}/{10 ** 30}"})

    def fault_huge_body(self, part, data, *_):
        self.answer(200, b"", Content_Length=10 ** 15)
        self.end()

    def fault_head(self, *_):
        """Headers without end."""
        self.wfile.write(b"HTTP/1.1 206 Partial Content\r\n")
        try:
            while not self.server.over.is_set():
                self.wfile.write(b"X-Header: " + b"x" * 100 + b"\r\n")
        except OSError:
            pass
        self.close_connection = True

    def fault_garbage(self, *_):
        self.wfile.write(b"HTTP/1.1 2x6 Partial\r\nContent-Length: 0\r\n\r\n")
        self.end()

    def redirect(self, target):
        self.answer(302, b"elsewhere", Location=target)

    def fault_here(self, *_):
        self.redirect(self.path.replace("/here/", "/plain/"))

    def fault_away(self, *_):
        host = self.headers["Host"].replace("127.0.0.1", "localhost")
        self.redirect(f"http://{host}{self.path.replace('/away/', '/plain/')}")

    def fault_loop(self, *_):
        self.redirect(self.path)

    def fault_file(self, *_):
        self.redirect("file:///etc/passwd")

    def fault_password(self, *_):
        self.redirect(f"http://a:b@{self.headers['Host']}/plain/1000")

    def fault_downgrade(self, *_):
        self.redirect(f"http://{self.headers['Host']}/plain/1000")

    def fault_basic(self, part, *_):
        # me:secret
        if self.headers.get("Authorization") == "Basic bWU6c2VjcmV0":
            self.answer(**part)
        else:
            self.answer(401, b"who?", WWW_Authenticate='Basic realm="r"')

    def fault_bearer(self, part, *_):
        self.answer(**part) if self.headers.get("Authorization") == "Bearer t0ken" else \
            self.answer(401, b"who?")

    def fault_signed(self, part, *_):
        self.answer(**part) if self.path.endswith("?signature=hush") else self.answer(403)

    def do_PUT(self):
        count = self.note()
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        if self.path.startswith("/busy/") and count <= 2:
            self.answer(503)
        elif self.path.startswith("/full/"):
            self.answer(507)
        elif self.path.startswith("/fixed/"):
            self.answer(405)
        elif self.path.startswith("/denied/"):
            self.answer(403)
        else:
            STORED[self.path] = body
            self.answer(201)

    def do_DELETE(self):
        self.note()
        if self.path.startswith("/fixed/"):
            self.answer(405)
        else:
            self.answer(204 if STORED.pop(self.path, None) is not None else 404)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # clients go as they like


def main():
    server = Server(("127.0.0.1", 0), Handler)
    server.log = open(sys.argv[1], "w")
    server.over = threading.Event()
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    server.over.set()
    time.sleep(0.05)
    os._exit(0)


main()
