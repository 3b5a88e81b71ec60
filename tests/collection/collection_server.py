"""A web server on 127.0.0.1 that lays files out as the SuiteSparse collection does, and misbehaves.

It serves what a test puts into ``files``; switches make it ignore ranges, break connections off, or
announce checksums. ``log`` keeps every request with the bytes that were sent for it.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from scipy import sparse
from scipy.io import mmwrite


@dataclass
class Request:
    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


@dataclass
class Server:
    """The state that tests set and look at."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes after which next answers break off
    wrong_range: bool = False
    log: list[Request] = field(default_factory=list)

    def add(self, name: str, archive: bytes) -> bytes:
        self.files[f"/MM/{name}.tar.gz"] = archive
        return archive

    @property
    def sent(self) -> int:
        return sum(request.sent for request in self.log)


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server until the block ends."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            request = Request(self.path, self.headers["Range"], self.headers["If-Range"])
            state.log.append(request)
            data = state.files.get(self.path)
            if data is None:
                request.status = 404
                self.send_error(404)
                return
            start = 0
            same = request.if_range in (None, state.headers.get("ETag"))
            if request.range and state.ranges and same:
                start = int(re.fullmatch(r"bytes=(\d+)-", request.range)[1])
                if start >= len(data):
                    request.status = 416
                    self.send_error(416)
                    return
            request.status = 206 if start else 200
            self.send_response(request.status)
            if start:
                first = start - 1 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            if state.length:
                self.send_header("Content-Length", str(len(data) - start))
            for key, value in state.headers.items():
                self.send_header(key, value)
            self.end_headers()
            body = data[start:]
            if state.cuts:
                body = body[: state.cuts.pop(0)]
            self.wfile.write(body)
            request.sent = len(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def matrix_market(value, **options) -> bytes:
    """Return the text of a matrix or a dense block."""
    buffer = io.BytesIO()
    mmwrite(buffer, value, precision=17, **options)
    return buffer.getvalue()


def archive(members: dict[str, bytes], *extra: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a .tar.gz of regular files, then of any other members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info, data in extra:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def matrix(n: int = 300, rng: int = 918273645) -> sparse.csr_array:
    """Return a symmetric matrix whose archive is some 20 kB."""
    A = sparse.random_array((n, n), density=5 / n, rng=np.random.default_rng(rng))
    return (A + A.T + 20 * sparse.eye_array(n)).tocsr()
