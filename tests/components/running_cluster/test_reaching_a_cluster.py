"""As whom a stack's cluster is asked, and which servers are trusted to be it."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3.connection
from urllib3.util.ssl_ import create_urllib3_context

from components.running_cluster.kubeconfig import kubeconfig
from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError
from local_cloud.certificates import CertificateAuthority

STACK = """#!/bin/sh
case "$*" in
"stack output kubeconfig --show-secrets --stack prod") cat {kubeconfig} ;;
"config --json --stack prod") {config} ;;
*) echo "unexpected: $*" >&2; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ('echo \'{"aws:region": {"value": "eu-central-1"}}\'', []),
        ('echo \'{"aws:profile": {"value": "shop"}, "x:profile": {"value": "no"}}\'', ["--profile", "shop"]),
        ("exit 255", []),
    ],
)
def test_a_stacks_cluster_is_asked_as_the_stack_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, options: list[str]
) -> None:
    """With the identity of its `aws:` configuration; outside the project's folder with that of the environment."""
    exported = tmp_path / "exported"
    exported.write_text(
        kubeconfig(cluster_name="shop", region="eu-central-1", endpoint="https://e", certificate_authority="Y2E=")
    )
    for name, text in {"pulumi": STACK.format(kubeconfig=exported, config=config), "aws": AWS}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    asked = KubernetesApi.from_stack("prod").user["exec"]["args"]
    assert asked == [
        *options, "--region", "eu-central-1", "eks", "get-token", "--cluster-name", "shop", "--output", "json",
    ]  # fmt: skip


AWS = """#!/bin/sh
echo '{"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": {"token": "t"}}'
"""


class Version(BaseHTTPRequestHandler):
    """Answers every request with a version."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"major": "1"}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Keep quiet."""


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """Make a certificate authority without key identifiers, as EKS' can be."""
    return CertificateAuthority(tmp_path, "old")


@pytest.fixture
def server(authority: CertificateAuthority) -> Iterator[int]:
    """Serve an API on the port that is yielded, whose certificate is the authority's, for 127.0.0.1 only."""
    pair = authority.server("server", ["kubernetes"], ["127.0.0.1"])
    with ThreadingHTTPServer(("127.0.0.1", 0), Version) as serving:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        serving.socket = context.wrap_socket(serving.socket, server_side=True)
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join()


def api(authority: CertificateAuthority, server: str) -> KubernetesApi:
    """Return the API of a kubeconfig that trusts the authority; a failed connection is not tried again."""
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": str(authority.certificate)}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    made = KubernetesApi.from_kubeconfig(json.dumps(config))
    made.client.rest_client.pool_manager.connection_pool_kw["retries"] = False
    return made


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13's strictness about extensions, on any Python."""

    def create(*_args: object, **_more: object) -> ssl.SSLContext:
        context = create_urllib3_context()
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(urllib3.connection, "create_urllib3_context", create)
    monkeypatch.setattr("urllib3.util.ssl_.create_urllib3_context", create)


@pytest.mark.usefixtures("strict")
def test_an_authority_without_key_identifiers_is_trusted(authority: CertificateAuthority, server: int) -> None:
    """Python 3.13 would refuse it, to the letter of RFC 5280; chain and name are what counts."""
    asked = api(authority, f"https://127.0.0.1:{server}")
    assert asked.get("/version") == {"major": "1"}
    del asked.client.rest_client.pool_manager.connection_pool_kw["ssl_context"]
    asked.close()
    with pytest.raises(KubernetesApiError, match="Missing Authority Key Identifier"):
        asked.get("/version")


@pytest.mark.usefixtures("strict")
def test_chain_and_name_of_a_server_are_verified(authority: CertificateAuthority, server: int, tmp_path: Path) -> None:
    """A certificate of another authority, or for another name, is refused."""
    (tmp_path / "other").mkdir()
    other = CertificateAuthority(tmp_path / "other", "other")
    with pytest.raises(KubernetesApiError, match="certificate verify failed"):
        api(other, f"https://127.0.0.1:{server}").get("/version")
    with pytest.raises(KubernetesApiError, match=r"certificate is not valid for 'localhost'|doesn't match 'localhost'"):
        api(authority, f"https://localhost:{server}").get("/version")
