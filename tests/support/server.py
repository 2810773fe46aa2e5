"""A web server on this machine that serves records as the public archive does, and fails as servers do."""

import json
import socket
import threading
from collections import Counter
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Records:
    """`files[path] = content` to serve, and how: a path's answers can be made to fail.

    Attributes:
        cut: path -> bytes after which its connection breaks, as often as `times` says.
        status: path -> statuses that it answers with first.
        asked: (path, Range header) of every request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.times: Counter = Counter()
        self.status: dict[str, list[int]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        self.url = ""

    def record(self, number: int, files: dict[str, bytes], *, checksums: dict[str, str] | None = None) -> None:
        """Serve the files of a record, and what its API says of them."""
        told = [
            {"key": name, "size": len(data), "checksum": f"md5:{(checksums or {}).get(name) or md5(data).hexdigest()}"}
            for name, data in files.items()
        ]
        known = json.loads(self.files.get(f"/api/records/{number}", b'{"files": []}'))["files"]
        self.files[f"/api/records/{number}"] = json.dumps({"id": number, "files": [*known, *told]}).encode()
        for name, data in files.items():
            self.files[f"/records/{number}/files/{name}"] = data


@contextmanager
def serving():
    """A server on a free port of this machine; yields its `Records`."""
    records = Records()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, asked = self.path, self.headers.get("Range")
            records.asked.append((path, asked))
            if records.status.get(path):
                return self.send_error(records.status[path].pop(0))
            if path not in records.files:
                return self.send_error(404)
            data, start = records.files[path], 0
            if asked and records.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if path in records.cut and records.times[path] > 0:
                records.times[path] -= 1
                self.wfile.write(data[start : start + records.cut[path]])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return None
            self.wfile.write(data[start:])
            return None

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    records.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield records
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
