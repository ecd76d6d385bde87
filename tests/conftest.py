"""For every test: signals as at a terminal, and a stand-in for GitHub's and GitLab's APIs, on loopback."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests import sharing
from tests.programs import Programs

# How long an example takes says more of the machine than of the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# A mutant is judged by the same examples each time, and nobody looks at the smallest that fails.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    """Provide programs; take SIGINT again in the background: the commands that tests interrupt would ignore it, too."""
    config.pluginmanager.register(Programs())
    config.pluginmanager.register(sharing)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Forge:
    """What has been written; the tokens it accepts."""

    token = "good"  # noqa: S105  # of this stand-in
    user = 11

    def __init__(self) -> None:
        self.address = ""
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.issues: list[dict[str, Any]] = []
        self._next = 1000

    def handle(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Answer one request."""
        parts = urlsplit(path)
        asked = {key: each[0] for key, each in parse_qs(parts.query).items()}
        plain = re.sub(r"^/(repos/[^/]+/[^/]+|projects/[^/]+)/", "", parts.path)
        merge = re.fullmatch(r"merge_requests/(\d+)/notes(?:/(\d+))?", plain)
        thread = re.fullmatch(r"issues/(\d+)/(?:comments|notes)", plain)
        comment = re.fullmatch(r"issues/comments/(\d+)", plain)
        issue = re.fullmatch(r"issues(?:/(\d+))?", plain)
        if comment or (merge and merge[2]):
            number = int((comment or merge)[1 if comment else 2])  # type: ignore[index]
            [found] = [each for listed in self.comments.values() for each in listed if each["id"] == number]
            found |= body
            return 200, found
        if thread or merge:
            listed = self.comments.setdefault(int((thread or merge)[1]), [])  # type: ignore[index]
            return self._listed(method, listed, body, asked)
        if issue and issue[1]:
            [found] = [each for each in self.issues if each["number"] == int(issue[1])]
            found |= body
            if body.get("state_event") == "close":
                found["state"] = "closed"
            return 200, found
        if issue:
            opened = [each for each in self.issues if each["state"] == "open"]
            if method == "GET":
                return self._listed(method, opened, body, asked)
            return self._listed(method, self.issues, {**body, "state": "open"}, asked)
        return (200, {"id": self.user}) if plain == "/user" else (404, {"message": f"no {plain}"})

    def _listed(
        self, method: str, listed: list[dict[str, Any]], body: dict[str, Any], asked: dict[str, str]
    ) -> tuple[int, Any]:
        if method == "GET":
            size, page = int(asked["per_page"]), int(asked["page"])
            return 200, listed[size * (page - 1) : size * page]
        self._next += 1
        author = {"user": {"type": "Bot"}, "author": {"id": self.user}}
        made = {**body, **author, "id": self._next, "number": self._next, "iid": self._next}
        made |= {"html_url": f"https://forge.example/{self._next}", "web_url": f"https://forge.example/{self._next}"}
        listed.append(made)
        return 201, made


@pytest.fixture
def forge() -> Iterator[Forge]:
    """Serve a stand-in of its own to a test."""
    served = Forge()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            good = self.headers.get("Authorization") == f"Bearer {served.token}"
            if good or self.headers.get("PRIVATE-TOKEN") == served.token:
                status, answer = served.handle(self.command, self.path, body)
            else:
                status, answer = 401, {"message": "Bad credentials"}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815  # the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        served.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
