# SPDX-License-Identifier: MIT
"""A web server of a folder that answers range requests and takes PUT and DELETE."""
import functools
import http.server
import pathlib
import re
import threading


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def file(self):
        return pathlib.Path(self.translate_path(self.path))

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.requests.append(("GET", self.path))
        if not self.file().is_file():
            self.send_error(404)
            return
        body = self.file().read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked.group(1)) if asked else 0
        last = min(int(asked.group(2) or len(body) - 1) if asked else len(body) - 1, len(body) - 1)
        self.server.ranges.append((first, last))
        if self.server.is_broken and last > len(body) * 3 // 4:
            self.send_error(500)
            return
        part = body[first:last + 1]
        if asked:
            self.answer(206, part, Content_Range=f"bytes {first}-{last}/{len(body)}")
        else:
            self.answer(200, part)

    def do_PUT(self):
        self.server.requests.append(("PUT", self.path))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.file().parent.mkdir(parents=True, exist_ok=True)
        self.file().write_bytes(body)
        self.answer(201)

    def do_DELETE(self):
        self.server.requests.append(("DELETE", self.path))
        self.file().unlink(missing_ok=True)
        self.answer(200)


class FolderServer(http.server.ThreadingHTTPServer):
    """'requests' and 'ranges' so far; 'is_broken': no more than the anchors of an object."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.requests, self.ranges, self.is_broken = [], [], False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever)
        self.thread.start()

    def close(self):
        self.shutdown()
        self.thread.join()
        self.server_close()
