"""Nodes without machines on a real API server: somebody plays their kubelets, and answers as probes would."""

import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes.client import ApiClient
from kubernetes.config import new_client_from_config
from reports import CLUSTER, DOWN_SECONDS, Behaviour, printed, watched

from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from components.running_cluster.kubernetes_api import KubernetesApiError
from local_cloud.certificates import CertificateAuthority
from local_cloud.cluster_objects.definitions import custom_resource_definitions
from local_cloud.control_plane import ApiServer, ApiServerSettings, Etcd
from tests.aws_node import container
from tests.waiting import eventually
from tools import locate
from verify.cluster import POLICIES, Cluster
from verify.installation import Manifest
from verify.probe import LABEL, security_group_policy

SYSTEM = "/api/v1/namespaces/kube-system"
POLICY_PATH = f"{POLICIES}/namespaces/kube-system/securitygrouppolicies"


_POLL_SECONDS = 0.25
"""Pause between two looks: each lists every probe there is, and that is most of what looking at many nodes takes."""


class Kubelets:
    """Every node's kubelet: one server for logs and exec, one thread for the states."""

    def __init__(self, cluster: Cluster, directory: Path, behaviour: Callable[[str], Behaviour]) -> None:
        self._cluster, self._behaviour = cluster, behaviour
        self.padding = 0
        """Bytes by which every report is longer than it need be."""
        self._logs: dict[str, tuple[dict[str, str], float, tuple[str, ...]]] = {}
        self.crashed: dict[str, float] = {}
        """When each node's cache was made to crash."""
        self.commands: list[list[str]] = []
        """What was run in containers."""
        self.behind: dict[str, tuple[str, ...]] = {}
        """Each pod behind security groups that there was, and its groups."""
        self.made: dict[str, Manifest] = {}
        """Each probe that there was, as it was made, unless `forgetful`."""
        self.forgetful = False
        """Whether to keep none: the probes of hundreds of nodes are more than a run holds, whose memory is measured."""
        self.most = 0
        """Probes that were there at one time, at most."""
        self._over = threading.Event()
        kubelets = self

        class Kubelet(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the base class' name
                url = urlsplit(self.path)
                what, _, pod, container = url.path.strip("/").split("/")
                if what == "exec":
                    kubelets.execute(self, pod, container, parse_qs(url.query)["command"])
                    return
                body = kubelets.log(pod).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # the base class' name
                """Say nothing."""

        directory.mkdir()
        keys = CertificateAuthority(directory, "kubelets").server("kubelet", ["localhost"], ["127.0.0.1"])
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Kubelet)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(keys.certificate, keys.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._threads = [threading.Thread(target=each) for each in (self._server.serve_forever, self._work)]
        for each in self._threads:
            each.start()

    def log(self, pod: str) -> str:
        """Return what a probe or a watcher has printed."""
        variables, begun, groups = self._logs[pod]
        node, role = variables["NODE"], variables["ROLE"]
        if role != "watch":
            return printed(variables, self._behaviour(node), groups) + " " * self.padding
        crashed = self.crashed.get(node)
        return watched(
            variables, self._behaviour(node), time.monotonic() - begun, None if crashed is None else crashed - begun
        )

    def execute(self, request: BaseHTTPRequestHandler, pod: str, container: str, command: list[str]) -> None:
        """Run a command in a container: whatever it is, the cache crashes, and with it the connection ends."""
        self.commands.append([pod, container, *command])
        self.crashed[pod.removeprefix("cache-")] = time.monotonic()
        key = request.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
        request.protocol_version = "HTTP/1.1"
        request.send_response(101)
        for name, value in {
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Protocol": "v4.channel.k8s.io",
            "Sec-WebSocket-Accept": base64.b64encode(hashlib.sha1(key.encode()).digest()).decode(),  # noqa: S324  # RFC 6455
        }.items():  # fmt: skip
            request.send_header(name, value)
        request.end_headers()
        said = b"\x03" + json.dumps({"status": "Failure", "message": "exit status 137"}).encode()
        request.wfile.write(bytes([0x82, len(said)]) + said + b"\x88\x00")
        request.close_connection = True

    def _work(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            pods = list(self._cluster.items(f"{SYSTEM}/pods", labelSelector=LABEL))
            self.most = max(self.most, len(pods))
            for pod in pods:
                with suppress(KubernetesApiError):  # somebody was faster: the next turn sees it
                    self._tend(pod, self._behaviour(pod["spec"]["nodeName"]))
            for node, since in list(self.crashed.items()):
                due = self._behaviour(node) in {"healthy", "lossy"} and time.monotonic() > since + DOWN_SECONDS
                if due and self.restarts(node) == 0:
                    self._restart(node)

    def _tend(self, pod: Manifest, kind: Behaviour) -> None:
        """Do what a kubelet does with a pod, and AWS' controller."""
        name = pod["metadata"]["name"]
        if not self.forgetful:
            self.made.setdefault(name, pod)
        if kind == "going":
            self._cluster.delete(f"/api/v1/nodes/{pod['spec']['nodeName']}")
        if kind in {"silent", "going"}:
            return
        if "deletionTimestamp" in pod["metadata"]:
            self._cluster.delete(f"{SYSTEM}/pods/{name}")
            return
        if name in self._logs:
            return
        told = {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}
        status: Manifest = {"phase": "Running" if told["ROLE"] == "watch" else "Succeeded"}
        if kind == "imageless":
            waiting = {"reason": "ImagePullBackOff", "message": f"no {pod['spec']['containers'][0]['image']}"}
            status = {"phase": "Pending", "containerStatuses": [
                {"name": "facts", "image": "x", "imageID": "", "ready": False, "restartCount": 0,
                 "state": {"waiting": waiting}}]}  # fmt: skip
        self._logs[name] = (told, time.monotonic(), self._groups(pod, kind))
        try:
            if self._logs[name][2]:
                annotations = {"vpc.amazonaws.com/pod-eni": "[]"}
                pod = self._cluster.replace(
                    f"{SYSTEM}/pods/{name}", {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}
                )
            self._cluster.replace(f"{SYSTEM}/pods/{name}/status", {**pod, "status": status})
        except KubernetesApiError:
            del self._logs[name]

    def _groups(self, pod: Manifest, kind: Behaviour) -> tuple[str, ...]:
        """Return the groups that AWS' controller puts a pod behind: those of the policies that select it."""
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        watches = any(each == {"name": "ROLE", "value": "watch"} for each in pod["spec"]["containers"][0]["env"])
        if kind == "bare" or (kind == "late" and "-again-" not in name) or (kind == "fickle" and watches):
            return ()
        found = tuple(
            group
            for policy in self._cluster.items(POLICY_PATH)
            if (policy["spec"].get("podSelector") or {}).get("matchLabels", {"": ""}).items() <= labels.items()
            for group in policy["spec"]["securityGroups"]["groupIds"]
        )
        if found:
            self.behind[name] = found
        return found

    def restarts(self, node: str) -> int:
        """Return how often a node's cache was started again."""
        pod = self._cluster.get(f"{SYSTEM}/pods/cache-{node}")
        assert pod is not None
        return pod["status"]["containerStatuses"][0]["restartCount"]

    def _restart(self, node: str) -> None:
        pod = self._cluster.get(f"{SYSTEM}/pods/cache-{node}")
        assert pod is not None
        self._cluster.replace(f"{SYSTEM}/pods/cache-{node}/status", {**pod, "status": cache_status(1)})

    def stop(self) -> None:
        """End server and thread."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        for each in self._threads:
            each.join()


def cache_status(restarts: int, started: datetime | None = None) -> Manifest:
    """Return the status of a cache's pod that runs and is ready."""
    running = {"startedAt": f"{started or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    container = {"name": "node-cache", "image": "x", "imageID": "x", "ready": True, "restartCount": restarts}
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{**container, "state": {"running": running}}],
    }


def kubeconfig(directory: Path, endpoint: str) -> Path:
    """Write the administrator's kubeconfig and return where."""
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": endpoint,
                                               "certificate-authority": str(directory / "ca.crt")}}],
        "users": [{"name": "c", "user": {"client-certificate": str(directory / "eks.crt"),
                                         "client-key": str(directory / "eks.key")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }))  # fmt: skip
    return path


@contextmanager
def api_server(directory: Path) -> Iterator[tuple[Path, Cluster]]:
    """Run an API server with the objects of an installed cache, and no nodes; yield its kubeconfig and a client."""
    etcd = Etcd(locate("etcd"), directory / "etcd")
    try:
        etcd.wait_until_ready()
        settings = ApiServerSettings("c", "172.20.0.0/16", "https://issuer.invalid", "https://127.0.0.1:9/")
        server = ApiServer(locate("kube-apiserver"), directory / "server", etcd, settings)
        try:
            server.wait_until_ready()
            path = kubeconfig(directory / "server", server.endpoint)
            api: ApiClient = new_client_from_config(str(path))
            cluster = Cluster(api)
            _install(cluster)
            yield path, cluster
            api.rest_client.pool_manager.clear()
        finally:
            server.stop()
    finally:
        etcd.stop()


def _serves_policies(cluster: Cluster) -> bool:
    try:
        return cluster.get(POLICY_PATH) is not None
    except KubernetesApiError:  # the kind's storage is being made
        return False


def _install(cluster: Cluster) -> None:
    # The local cloud plays the controller that makes it.
    eventually(lambda: cluster.get(f"{SYSTEM}/serviceaccounts/default"), 60)
    for name, address in (("kube-dns", CLUSTER), ("kube-dns-upstream", "172.20.30.30")):
        cluster.create(f"{SYSTEM}/services", {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": address, "ports": [{"port": 53, "protocol": "UDP"}]},
        })  # fmt: skip
    for each in custom_resource_definitions():
        cluster.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", each)
    eventually(lambda: _serves_policies(cluster), 60)
    cluster.create(f"{SYSTEM}/configmaps", {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-proxy-config"},
        "data": {"config": "mode: iptables"},
    })  # fmt: skip
    objects = manifests(NodeLocalDnsSettings(), cluster_dns_ip=CLUSTER, upstream_ip="172.20.30.30")
    cluster.create(f"{SYSTEM}/configmaps", objects["configMap"])
    cluster.create("/apis/apps/v1/namespaces/kube-system/daemonsets", objects["daemonSet"])
    aws_node = {"containers": [container("standard")]}
    labels = {"k8s-app": "aws-node"}
    template = {"metadata": {"labels": labels}, "spec": aws_node}
    made = cluster.create("/apis/apps/v1/namespaces/kube-system/daemonsets", {
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "aws-node"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    })  # fmt: skip
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "aws-node", "uid": made["metadata"]["uid"]}
    # The second is of somebody who borrowed the label.
    for name, owners in (("aws-node-1", [{**owner, "controller": True}]), ("another-1", [])):
        cluster.create("/apis/apps/v1/namespaces/kube-system/controllerrevisions", {
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
            "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
            "data": {"spec": {"template": template}},
        })  # fmt: skip


def add_policy(cluster: Cluster, name: str, *groups: str) -> None:
    """Make an application's policy that puts pods behind security groups."""
    manifest = security_group_policy("kube-system", "none", groups, 0)
    spec = {**manifest["spec"], "podSelector": {"matchLabels": {"app": name}}}
    cluster.create(POLICY_PATH, {**manifest, "metadata": {"name": name}, "spec": spec})


def add_nodes(cluster: Cluster, names: list[str], port: int, *, ready: bool = True, **more: Any) -> None:
    """Make nodes that have their cache's pod; `more` are further fields of their status."""
    template = cluster.get("/apis/apps/v1/namespaces/kube-system/daemonsets/node-local-dns")
    assert template is not None
    annotations = template["spec"]["template"]["metadata"]["annotations"]

    def add(name: str) -> None:
        made = cluster.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        cluster.replace(f"/api/v1/nodes/{name}/status", {**made, "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}, **more,
        }})  # fmt: skip
        pod = cluster.create(f"{SYSTEM}/pods", {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": f"cache-{name}", "labels": {"k8s-app": "node-local-dns"}, "annotations": annotations},
            "spec": {"nodeName": name, "containers": [{"name": "node-cache", "image": "x"}]},
        })  # fmt: skip
        cluster.replace(f"{SYSTEM}/pods/cache-{name}/status", {**pod, "status": cache_status(0)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, names))


def started(path: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """Start the command."""
    environment = {**os.environ, "KUBECONFIG": str(path)}
    return subprocess.Popen(
        [sys.executable, "-m", "verify", *arguments], env=environment, cwd=Path(__file__).parents[2],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **more},
    )  # fmt: skip


def left_behind(cluster: Cluster) -> list[str]:
    """Return what of the command is in the cluster."""
    paths = (f"{SYSTEM}/pods", POLICY_PATH, "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases")
    return [each["metadata"]["name"] for path in paths for each in cluster.items(path, labelSelector=LABEL)]
