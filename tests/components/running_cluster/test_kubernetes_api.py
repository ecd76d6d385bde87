"""What is asked of a Kubernetes API, of a server on loopback; and why one cannot be asked, each message in full."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError


def refusal(kubeconfig: str | Path) -> str:
    """Return why a kubeconfig is of no use."""
    with pytest.raises(KubernetesApiError) as refused:
        KubernetesApi.from_kubeconfig(kubeconfig)
    return str(refused.value)


USABLE = (
    ". Set KUBECONFIG to one, or take a stack's with --stack; `aws eks update-kubeconfig --name CLUSTER` writes one"
)


def test_no_usable_kubeconfig(tmp_path: Path) -> None:
    """What is wrong with it, and where one comes from."""
    assert refusal(tmp_path / "none") == (
        "there is no usable kubeconfig: Invalid kube-config file. No configuration found." + USABLE
    )
    assert refusal("{}") == (
        "there is no usable kubeconfig: Invalid kube-config file. Expected key current-context in kube-config" + USABLE
    )


def test_the_user_of_a_kubeconfig_is_kept(tmp_path: Path) -> None:
    """Whether it is a text or a file, and of the context that was chosen."""
    text = """
    clusters: [{name: c, cluster: {server: "https://127.0.0.1:9"}}]
    users: [{name: a, user: {token: one}}, {name: b, user: {token: two}}]
    contexts: [{name: x, context: {cluster: c, user: a}}, {name: y, context: {cluster: c, user: b}}]
    current-context: x
    """
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    for given in (text, file):
        for context, token in ((None, "one"), ("y", "two")):
            api = KubernetesApi.from_kubeconfig(given, context)
            assert api.user == {"token": token}
            assert list(api.client.configuration.api_key.values()) == [f"Bearer {token}"]


def stack_refusal(monkeypatch: pytest.MonkeyPatch, path: Path) -> str:
    """Return why a stack tells no kubeconfig, with only the commands of a folder."""
    monkeypatch.setenv("PATH", str(path))
    with pytest.raises(KubernetesApiError) as refused:
        KubernetesApi.from_stack("prod")
    return str(refused.value)


def test_a_stack_without_a_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What Pulumi said, and what to do instead."""
    assert stack_refusal(monkeypatch, tmp_path) == (
        "--stack needs the pulumi command: [Errno 2] No such file or directory: 'pulumi'. Install it, or use KUBECONFIG"
    )
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\necho \"error: no stack named 'prod' found\" >&2\nexit 255\n")
    program.chmod(0o755)
    assert stack_refusal(monkeypatch, tmp_path) == (
        "stack prod has no output kubeconfig: error: no stack named 'prod' found. `pulumi stack ls --all` lists the "
        "stacks there are, and one has outputs once an update of it has succeeded; until then use KUBECONFIG, as `aws "
        "eks update-kubeconfig --name CLUSTER` writes it"
    )


class Server:
    """Answers requests in turn, and keeps them."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        self.address = ""

    def api(self) -> KubernetesApi:
        """Return the API that is served here."""
        return KubernetesApi.from_kubeconfig(json.dumps({
            "clusters": [{"name": "c", "cluster": {"server": self.address}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
        }))  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve on loopback."""
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            parts = urlsplit(self.path)
            served.asked.append({
                "method": self.command, "path": parts.path, "query": dict(parse_qsl(parts.query)),
                "body": json.loads(self.rfile.read(length)) if length else None,
                "headers": {key: self.headers.get(key) for key in ("Accept", "Content-Type", "Authorization")},
            })  # fmt: skip
            status, answer = served.answers.pop(0)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        served.address = f"http://127.0.0.1:{listening.server_port}"
        try:
            yield served
        finally:
            listening.shutdown()
            thread.join()


HEADERS = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Bearer t"}
METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def test_a_request_has_all_that_it_was_given(server: Server) -> None:
    """Method, path, query, body, and what it is and wants; with the kubeconfig's token."""
    server.answers = [(200, {"a": 1}), (201, {"b": 2}), (200, b"plain")]
    api = server.api()
    assert api.get("/api/v1/pods/x", fieldSelector="a=b", limit=3) == {"a": 1}
    patch = "application/merge-patch+json"
    assert api.send("POST", "/api", {"c": 3}, query={"dryRun": "All"}, content=patch, accept="text/y") == {"b": 2}
    assert api.request("DELETE", "/api/v1/pods/x", {"d": 4}) == b"plain"
    api.close()
    assert server.asked == [
        {
            "method": "GET", "path": "/api/v1/pods/x", "query": {"fieldSelector": "a=b", "limit": "3"}, "body": None,
            "headers": HEADERS,
        },
        {
            "method": "POST", "path": "/api", "query": {"dryRun": "All"}, "body": {"c": 3},
            "headers": {**HEADERS, "Content-Type": "application/merge-patch+json", "Accept": "text/y"},
        },
        {"method": "DELETE", "path": "/api/v1/pods/x", "query": {}, "body": {"d": 4}, "headers": HEADERS},
    ]  # fmt: skip


def test_a_request_may_take_half_a_minute(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that hangs ends no sooner, and does not hang for ever; a lost connection is tried twice more."""
    server.answers = [(200, {})]
    api = server.api()
    original, seconds = api.client.call_api, []

    def call_api(*asked: Any, _request_timeout: Any = None) -> Any:
        seconds.append(_request_timeout)
        return original(*asked, _request_timeout=_request_timeout)

    monkeypatch.setattr(api.client, "call_api", call_api)
    assert api.get("/x") == {}
    assert seconds == [30]
    assert api.client.configuration.retries == 2


def test_as_many_connections_are_kept_as_are_asked_for(tmp_path: Path) -> None:
    """Else as many as the client library likes."""
    usual = KubernetesApi.from_kubeconfig(CONTEXTS).client.configuration.connection_pool_maxsize
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(CONTEXTS)
    assert KubernetesApi.from_kubeconfig(kubeconfig).client.configuration.connection_pool_maxsize == usual
    made = KubernetesApi.from_kubeconfig(kubeconfig, connections=usual + 7)
    assert made.client.configuration.connection_pool_maxsize == usual + 7


def test_what_is_not_there_is_none_and_what_fails_is_told(server: Server) -> None:
    """With what the API says, and its status; text that is no Status is cut."""
    api = server.api()
    server.answers = [
        (404, {"message": "no such pod"}), (403, {"message": "forbidden"}), (400, b"x" * 201), (500, {"kind": "?"}),
        (399, {"fine": True}), (503, b"\xff" + b"x"), (400, [1]),
    ]  # fmt: skip
    assert api.get("/p") is None
    for said, status in (
        ("GET /p: the Kubernetes API says: forbidden", 403),
        (f"GET /p: the Kubernetes API says: {'x' * 200}", 400),
        ('GET /p: the Kubernetes API says: {"kind": "?"}', 500),
    ):
        with pytest.raises(KubernetesApiError) as refused:
            api.get("/p")
        assert (str(refused.value), refused.value.status) == (said, status)
    assert api.get("/p") == {"fine": True}
    for said in ("\N{REPLACEMENT CHARACTER}x", "[1]"):
        with pytest.raises(KubernetesApiError, match="the Kubernetes API says: ") as refused:
            api.get("/p")
        assert str(refused.value).endswith(f"says: {said}")


def test_an_api_that_is_not_there_is_told(server: Server) -> None:
    """Without a status, as there was no reply."""
    api = server.api()
    server.address = ""
    api.client.configuration.host = "http://127.0.0.1:9"
    api.client.rest_client.pool_manager.connection_pool_kw["retries"] = False
    with pytest.raises(KubernetesApiError, match=r"^GET /p: the Kubernetes API does not answer: .") as refused:
        api.get("/p")
    assert refused.value.status == 0


def test_a_list_comes_a_page_at_a_time(server: Server) -> None:
    """Five hundred objects each, until there are no more; an empty list of metadata is null."""
    api = server.api()
    server.answers = [
        (200, {"metadata": {"continue": "more"}, "items": [1, 2]}),
        (200, {"metadata": {"continue": ""}, "items": [3]}),
        (200, {"metadata": {}, "items": None}),
    ]
    assert list(api.items("/pods", labelSelector="a")) == [1, 2, 3]
    assert list(api.items("/nodes", metadata_only=True)) == []
    assert [(each["method"], each["path"], each["query"]) for each in server.asked] == [
        ("GET", "/pods", {"limit": "500", "labelSelector": "a"}),
        ("GET", "/pods", {"limit": "500", "labelSelector": "a", "continue": "more"}),
        ("GET", "/nodes", {"limit": "500"}),
    ]
    assert [each["headers"]["Accept"] for each in server.asked] == ["application/json"] * 2 + [METADATA]


CONTEXTS = """
clusters: [{name: c, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: a, user: {token: one}}, {name: b, user: {token: two}}]
contexts: [{name: x, context: {cluster: c, user: a}}, {name: y, context: {cluster: c, user: b}}]
current-context: x
"""


def test_the_kubeconfig_of_the_variable_is_read_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kubectl does: several files are one, of which the first that says something counts; one may be missing."""
    whole, first = tmp_path / "whole", tmp_path / "first"
    whole.write_text(CONTEXTS)
    first.write_text("current-context: y\nkind: Config\n")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{whole}")
    assert KubernetesApi.from_kubeconfig().user == {"token": "two"}
    monkeypatch.setenv("KUBECONFIG", str(whole))
    assert KubernetesApi.from_kubeconfig().user == {"token": "one"}
    assert KubernetesApi.from_kubeconfig(context="y").user == {"token": "two"}


@pytest.mark.parametrize("credentials", ["token: t", "username: u, password: p", "client-certificate-data: eA=="])
def test_any_credentials_will_do(credentials: str) -> None:
    """And none will not: the client would go on as nobody."""
    text = CONTEXTS.replace("token: one", credentials)
    assert KubernetesApi.from_kubeconfig(text).user == dict(each.split(": ") for each in credentials.split(", "))
    with pytest.raises(KubernetesApiError) as refused:
        KubernetesApi.from_kubeconfig(CONTEXTS.replace("token: one", "tokenless: true"))
    assert str(refused.value) == (
        "the kubeconfig gives no credentials: its command (on EKS `aws eks get-token`) failed or is not there; run it "
        "by hand to see why"
    )


@pytest.mark.parametrize("text", ["[", "a string", "- 1"])
def test_what_is_no_kubeconfig_is_told_as_one(text: str) -> None:
    """And not as a traceback."""
    assert refusal(text).startswith("there is no usable kubeconfig: ")


def test_a_stacks_kubeconfig_is_asked_of_pulumi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the stack that was named, secrets and all; a context and a number of connections go on to it."""
    (tmp_path / "kubeconfig").write_text(json.dumps(yaml.safe_load(CONTEXTS)))
    program = tmp_path / "pulumi"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "$1" = stack ] || exit 255\ncat {tmp_path}/kubeconfig\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    api = KubernetesApi.from_stack("prod", "y", connections=11)
    assert (tmp_path / "asked").read_text() == (
        "stack output kubeconfig --show-secrets --stack prod\nconfig --json --stack prod\n"
    )
    assert api.user == {"token": "two"}
    assert api.client.configuration.connection_pool_maxsize == 11
