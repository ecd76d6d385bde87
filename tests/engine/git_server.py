"""A forge on loopback: `git http-backend` behind HTTPS, which is how the engine fetches templates and packages.

It is reached as a proxy, under whatever name: the engine makes a package's address the name of a folder, in which
Python makes no virtual environment if it has the colon of a port.
"""

import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from local_cloud.certificates import CertificateAuthority


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


def _body(stream: _Stream, length: str | None) -> bytes:
    """Read what a client sends, whole or in chunks."""
    if length is not None:
        return stream.read(int(length))
    whole = b""
    while size := int(stream.readline(), 16):
        whole += stream.read(size)
        stream.readline()
    stream.readline()
    return whole


class _Handler(BaseHTTPRequestHandler):
    root: Path
    tls: ssl.SSLContext

    def do_CONNECT(self) -> None:
        """Be the host that the client wants to talk to."""
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.finish()
        with self.tls.wrap_socket(self.request, server_side=True) as self.request:
            self.setup()
            self.handle_one_request()
            self.finish()

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(_body(self.rfile, self.headers["Content-Length"]))

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers["Content-Type"] or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
                "HTTP_GIT_PROTOCOL": self.headers["Git-Protocol"] or "",
            },
            input=body,
            check=True,
            capture_output=True,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing."""


@contextlib.contextmanager
def served(root: Path, host: str, directory: Path) -> Iterator[dict[str, str]]:
    """Serve the repositories in `root` as those of `host`, and return what the environment of a client needs.

    `directory` gets the certificates. It ends with the block.
    """
    authority = CertificateAuthority(directory, "forge")
    pair = authority.server("forge", [host], [])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"root": root, "tls": tls}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield {"HTTPS_PROXY": f"http://127.0.0.1:{server.server_port}", "SSL_CERT_FILE": str(authority.certificate)}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
