"""The Kubernetes API as the command uses it, and its look at the cluster."""

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import yaml
from kubernetes.stream.ws_client import ERROR_CHANNEL, V4_CHANNEL_PROTOCOL, WSClient, get_websocket_url
from websocket import WebSocketException

from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError
from components.running_cluster.strict_pods import AWS_NODE
from verify.cluster_facts import POD_ENI, ClusterFacts, NodeObject
from verify.facts import LARGEST_DOCUMENT
from verify.installation import Manifest

SYSTEM = "kube-system"
POLICIES = "/apis/vpcresources.k8s.aws/v1beta1"


class Cluster(KubernetesApi):
    """One cluster's API, and what looking at its nodes needs of it beyond reading."""

    PAGE = 250
    SECONDS = 20

    def items(self, path: str, *, metadata_only: bool = False, **query: Any) -> Iterator[Manifest]:  # noqa: ANN401  # query values
        """Yield the objects of a list, a page at a time; none where the kind does not exist."""
        try:
            yield from super().items(path, metadata_only=metadata_only, **query)
        except KubernetesApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def create(self, path: str, manifest: Manifest) -> Manifest:
        """Create an object. Raises `KubernetesApiError`."""
        return self.send("POST", path, manifest)

    def replace(self, path: str, manifest: Manifest) -> Manifest:
        """Replace an object that nobody has changed since. Raises `KubernetesApiError`."""
        return self.send("PUT", path, manifest)

    def delete(self, path: str, grace_seconds: int = 0) -> None:
        """Delete what may be there; at once by default: a probe needs no grace, and its node may be dead."""
        try:
            self.request("DELETE", path, query={"gracePeriodSeconds": grace_seconds})
        except KubernetesApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def log(self, namespace: str, pod: str, container: str) -> str:
        """Return what a container wrote, up to a bound. Raises `KubernetesApiError`."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        asked = {"container": container, "limitBytes": LARGEST_DOCUMENT}
        return self.request("GET", path, query=asked).decode(errors="replace")

    def execute(self, namespace: str, pod: str, container: str, *command: str) -> str:
        """Run a command in a container and return what the API says of its end: empty if all was well, or unknown.

        Raises `KubernetesApiError` if it could not be started.
        """
        query = [("container", container), ("stdout", "true"), *(("command", each) for each in command)]
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        _, url, headers, *_ = self.client.param_serialize("GET", path, auth_settings=["BearerToken"])
        # The older protocol has all that is needed, and the API server hands it to the kubelet as it is.
        headers = {**headers, "sec-websocket-protocol": V4_CHANNEL_PROTOCOL}
        try:
            stream = WSClient(self.client.configuration, get_websocket_url(url, query), headers, capture_all=True)
        except (OSError, WebSocketException) as error:
            raise KubernetesApiError(f"exec in pod {namespace}/{pod}: the Kubernetes API says: {error}") from None
        try:
            stream.run_forever(timeout=self.SECONDS)
            status: Manifest = json.loads(stream.read_channel(ERROR_CHANNEL) or "{}")
        except (OSError, WebSocketException, ValueError):
            return ""  # the container ended, and the connection with it
        finally:
            stream.sock.shutdown()
        return "" if status.get("status", "Success") == "Success" else str(status.get("message", status))


def look(cluster: Cluster) -> ClusterFacts:
    """Return what the API says about the cluster's DNS. Raises `KubernetesApiError`."""
    nodes = [NodeObject.read(each) for each in cluster.items("/api/v1/nodes")]
    services, workloads = f"/api/v1/namespaces/{SYSTEM}", f"/apis/apps/v1/namespaces/{SYSTEM}"
    proxy = cluster.get(f"{services}/configmaps/kube-proxy-config") or {}
    configuration = yaml.safe_load(proxy.get("data", {}).get("config", ""))
    return ClusterFacts(
        kube_dns=cluster.get(f"{services}/services/kube-dns"),
        upstream=cluster.get(f"{services}/services/kube-dns-upstream"),
        daemon_set=cluster.get(f"{workloads}/daemonsets/node-local-dns"),
        config_map=cluster.get(f"{services}/configmaps/node-local-dns"),
        cache_pods=cache_pods(cluster),
        aws_node=cluster.get(f"{workloads}/daemonsets/aws-node"),
        aws_node_pods=list(cluster.items(f"{services}/pods", labelSelector="k8s-app=aws-node")),
        aws_node_revisions=_revisions(cluster, workloads),
        kube_proxy_mode=str(configuration.get("mode") or "") if isinstance(configuration, dict) else None,
        branch_pods=[
            each for each in cluster.items("/api/v1/pods")
            if POD_ENI in (each["metadata"].get("annotations") or {})
        ],
        nodes=nodes,
    )  # fmt: skip


def _revisions(cluster: Cluster, workloads: str) -> list[Manifest] | None:
    """Return the ControllerRevisions of aws-node; None where they may not be read: they only sharpen a verdict."""
    try:
        found = list(cluster.items(f"{workloads}/controllerrevisions", labelSelector="k8s-app=aws-node"))
    except KubernetesApiError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    return [
        each for each in found
        if any(owner["kind"] == "DaemonSet" and owner["name"] == AWS_NODE
               for owner in each["metadata"].get("ownerReferences") or ())
    ]  # fmt: skip


def cache_pods(cluster: Cluster, node: str = "") -> list[Manifest]:
    """Return the cache's pods, or those on one node. Raises `KubernetesApiError`."""
    path, where = f"/api/v1/namespaces/{SYSTEM}/pods", f"spec.nodeName={node}" if node else ""
    return [_slim(each) for each in cluster.items(path, labelSelector="k8s-app=node-local-dns", fieldSelector=where)]


def events_of(cluster: Cluster, pod: Manifest) -> list[str]:
    """Return what the kubelet complains of a pod of the cache; nothing where events may not be read."""
    which = f"involvedObject.kind=Pod,involvedObject.name={pod['metadata']['name']},type=Warning"
    try:
        found = list(cluster.items(f"/api/v1/namespaces/{SYSTEM}/events", fieldSelector=which))
    except KubernetesApiError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return []
        raise
    return [f"{each.get('reason', '')} {each.get('message', '')}"[:300] for each in found[-3:]]


def _slim(pod: Manifest) -> Manifest:
    """Return of a pod what the checks look at."""
    kept = ("name", "annotations", "creationTimestamp")
    metadata = {key: pod["metadata"][key] for key in kept if key in pod["metadata"]}
    return {
        "metadata": metadata,
        "spec": {"nodeName": pod["spec"].get("nodeName", "")},
        "status": pod.get("status", {}),
    }
