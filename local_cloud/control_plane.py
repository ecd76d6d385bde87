"""Kubernetes control planes: one etcd for all, and one real kube-apiserver per EKS cluster."""

import base64
import ipaddress
import json
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from local_cloud import processes
from local_cloud.certificates import CertificateAuthority, KeyPair, signing_key
from local_cloud.kubernetes_client import KubernetesClient
from local_cloud.namespaces import NamespaceController

_READY_WITHIN = 60.0  # seconds; two are usual, a loaded two-core machine has been seen to take ten
_POLL = 0.1  # seconds
_SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

# Revoking an access entry must be seen soon, yet a burst of requests should cost one look-up.
_IDENTITY_CACHE = "2s"


class ControlPlaneError(RuntimeError):
    """A control plane did not come up; the message ends with what its log said last."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def client_context(authority: Path, client: KeyPair) -> ssl.SSLContext:
    """Trust one authority and present one client certificate."""
    context = ssl.create_default_context(cafile=str(authority))
    context.load_cert_chain(client.certificate, client.key)
    return context


class Etcd:
    """The store behind every control plane; each cluster has its own key prefix in it."""

    def __init__(self, binary: Path, directory: Path) -> None:
        directory.mkdir(parents=True)
        authority = CertificateAuthority(directory, "local cloud etcd")
        server = authority.server("server", ["localhost"], ["127.0.0.1"])
        self.authority = authority.certificate
        self.client = authority.client("client", "kube-apiserver")
        self.url = f"https://127.0.0.1:{free_port()}"
        peer_url = f"http://127.0.0.1:{free_port()}"  # etcd insists on a peer address, also with no peers
        self._log = directory / "etcd.log"
        self._process = processes.start_child(
            [
                binary,
                f"--data-dir={directory / 'data'}",
                f"--listen-client-urls={self.url}",
                f"--advertise-client-urls={self.url}",
                f"--listen-peer-urls={peer_url}",
                f"--initial-advertise-peer-urls={peer_url}",
                f"--initial-cluster=default={peer_url}",
                f"--cert-file={server.certificate}",
                f"--key-file={server.key}",
                "--client-cert-auth",
                f"--trusted-ca-file={self.authority}",
                "--unsafe-no-fsync",  # nothing here is worth more than the process that holds it
                "--log-level=warn",
            ],
            self._log,
        )
        self._http = httpx.Client(base_url=self.url, verify=client_context(self.authority, self.client))

    def wait_until_ready(self) -> None:
        """Return when etcd answers, or say why it does not."""
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self._http.get("/health").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(_POLL)
        raise ControlPlaneError(f"etcd did not become ready: {processes.last_lines(self._log)}")

    def delete_prefix(self, prefix: str) -> None:
        """Forget all keys that begin with `prefix`."""
        first = prefix.encode()
        past_last = first[:-1] + bytes([first[-1] + 1])
        key_range = {
            "key": base64.b64encode(first).decode(),
            "range_end": base64.b64encode(past_last).decode(),
        }
        self._http.post("/v3/kv/deleterange", json=key_range).raise_for_status()

    def stop(self) -> None:
        """End etcd."""
        self._http.close()
        processes.stop_child(self._process)


@dataclass(frozen=True)
class ApiServerSettings:
    """What one cluster asks of its API server."""

    identifier: str
    """Unique among clusters past and present: names the etcd prefix and the directory."""
    service_cidr: str
    """The cluster's service CIDR; its first address is the `kubernetes` Service."""
    issuer: str
    """The cluster's OIDC issuer, which service account tokens name."""
    token_review_url: str
    """Where bearer tokens are judged."""


class ApiServer:
    """One real kube-apiserver, alone: no scheduler, no kubelet, and only the controllers of namespaces."""

    def __init__(self, binary: Path, directory: Path, etcd: Etcd, settings: ApiServerSettings) -> None:
        directory.mkdir(parents=True)
        self._etcd = etcd
        self._prefix = f"/clusters/{settings.identifier}/"
        authority = CertificateAuthority(directory, f"local cloud cluster {settings.identifier}")
        first_service_address = str(next(ipaddress.ip_network(settings.service_cidr).hosts()))
        server = authority.server(
            "server",
            ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
            ["127.0.0.1", first_service_address],
        )
        administrator = authority.client("eks", "eks:control-plane", ["system:masters"])
        token_key = signing_key(directory / "service-account.key")
        webhook = directory / "token-webhook.json"
        webhook.write_text(json.dumps(_webhook_configuration(settings.token_review_url)))
        self.certificate_authority = authority.certificate.read_bytes()
        self._log = directory / "kube-apiserver.log"
        port = free_port()
        self.endpoint = f"https://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] = processes.start_child(
            [
                binary,
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={port}",
                "--endpoint-reconciler-type=none",  # a loopback address is not a valid endpoint
                f"--etcd-servers={etcd.url}",
                f"--etcd-prefix={self._prefix}",
                f"--etcd-cafile={etcd.authority}",
                f"--etcd-certfile={etcd.client.certificate}",
                f"--etcd-keyfile={etcd.client.key}",
                f"--tls-cert-file={server.certificate}",
                f"--tls-private-key-file={server.key}",
                f"--client-ca-file={authority.certificate}",
                f"--service-account-issuer={settings.issuer}",
                f"--service-account-signing-key-file={token_key}",
                f"--service-account-key-file={token_key}",
                f"--service-cluster-ip-range={settings.service_cidr}",
                "--authorization-mode=Node,RBAC",
                f"--authentication-token-webhook-config-file={webhook}",
                "--authentication-token-webhook-version=v1",
                f"--authentication-token-webhook-cache-ttl={_IDENTITY_CACHE}",
                "--allow-privileged=true",  # aws-node's and kube-proxy's pods are
                "--profiling=false",
                f"--cert-dir={directory}",
            ],
            self._log,
        )
        context = client_context(authority.certificate, administrator)
        self.client = KubernetesClient(self.endpoint, context)
        self._namespaces = NamespaceController(KubernetesClient(self.endpoint, context))

    def wait_until_ready(self) -> None:
        """Return when the API server is ready and has made its own namespaces, or say why it has not."""
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.client.is_ready() and all(
                    self.client.exists("v1", "Namespace", name) for name in _SYSTEM_NAMESPACES
                ):
                    self._namespaces.start()
                    return
            except httpx.HTTPError:
                pass
            time.sleep(_POLL)
        raise ControlPlaneError(f"kube-apiserver did not become ready: {processes.last_lines(self._log)}")

    def stop(self) -> None:
        """End the API server, leaving its objects in etcd."""
        self._namespaces.stop()
        self.client.close()
        processes.stop_child(self._process, grace=1.0)

    def destroy(self) -> None:
        """End the API server and forget its objects."""
        self.stop()
        self._etcd.delete_prefix(self._prefix)


def _webhook_configuration(url: str) -> dict[str, object]:
    """Return the kubeconfig by which an API server finds its token webhook."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "eks", "cluster": {"server": url}}],
        "users": [{"name": "api-server"}],
        "contexts": [{"name": "webhook", "context": {"cluster": "eks", "user": "api-server"}}],
        "current-context": "webhook",
    }
