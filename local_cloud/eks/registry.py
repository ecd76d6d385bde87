"""The state of EKS: clusters and what belongs to them, per region."""

import datetime as dt
import logging
import secrets
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from local_cloud.control_plane import ApiServer, ApiServerSettings
from local_cloud.eks.errors import EksError, NotFoundError
from local_cloud.kubernetes_client import KubernetesClient

ACCOUNT = "123456789012"
"""The one account of a moto server."""

_LOG = logging.getLogger(__name__)

Document = dict[str, Any]
"""An object as the API shows it."""


def now() -> dt.datetime:
    """Return the time, for the many timestamps of the API."""
    return dt.datetime.now(dt.UTC)


class Neighbours(Protocol):
    """What EKS does in the other services of the account when a customer uses it."""

    def vpc_of(self, region: str, subnet_ids: Iterable[str]) -> str:
        """Return the VPC of the subnets, or refuse them."""
        ...

    def vpc_cidrs(self, region: str, vpc_id: str) -> list[str]:
        """Return the IPv4 CIDRs of a VPC."""
        ...

    def zones_of(self, region: str, subnet_ids: Iterable[str]) -> list[str]:
        """Return the availability zones of subnets."""
        ...

    def attach_control_plane(self, region: str, cluster: str, vpc_id: str, subnet_ids: list[str]) -> str:
        """Make the cluster security group and the control plane's network interfaces; return the group."""
        ...

    def detach_control_plane(self, region: str, cluster: str, group_id: str) -> None:
        """Remove what `attach_control_plane` made."""
        ...

    def open_log_group(self, region: str, cluster: str) -> None:
        """Make the log group of a cluster's control plane unless the customer did."""
        ...

    def role_exists(self, arn: str) -> bool:
        """Say whether an IAM role exists."""
        ...

    def principal_exists(self, arn: str) -> bool:
        """Say whether an IAM user or role exists."""
        ...

    def launch_nodes(
        self, region: str, cluster: str, node_group: Document, count: int, group_id: str
    ) -> list["NodeInstance"]:
        """Launch a node group's instances."""
        ...

    def architectures(self, instance_type: str) -> list[str]:
        """Return the architectures of an instance type; of none there is, none."""
        ...

    def terminate_nodes(self, region: str, instance_ids: Iterable[str]) -> None:
        """Terminate instances."""
        ...


@dataclass(frozen=True)
class NodeInstance:
    """An EC2 instance of a node group."""

    instance_id: str
    """Instance id."""
    private_dns_name: str
    """Private DNS name, which is the node's name."""
    private_ip: str
    """Private address."""
    zone: str
    """Availability zone."""
    instance_type: str
    """Instance type."""


@dataclass
class NodeGroup:
    """A managed node group and its instances."""

    document: Document
    """As DescribeNodegroup shows it."""
    instances: list[NodeInstance] = field(default_factory=list)
    """What it launched."""


@dataclass
class AccessEntry:
    """A principal's entry and the policies associated with it."""

    document: Document
    """As DescribeAccessEntry shows it."""
    policies: dict[str, Document] = field(default_factory=dict)
    """Associated policies by policy ARN."""


@dataclass
class Cluster:
    """A cluster and everything that belongs to it."""

    region: str
    """Region."""
    document: Document
    """As DescribeCluster shows it."""
    creator: str
    """ARN of the principal that created it."""
    bootstrap_add_ons: bool
    """Whether EKS leaves the three networking add-ons in it, self-managed."""
    identifier: str
    """Unique among clusters past and present."""
    add_ons: dict[str, Document] = field(default_factory=dict)
    """Add-ons by name, as DescribeAddon shows them."""
    node_groups: dict[str, NodeGroup] = field(default_factory=dict)
    """Managed node groups by name."""
    access_entries: dict[str, AccessEntry] = field(default_factory=dict)
    """Access entries by principal ARN."""
    pod_identities: dict[str, Document] = field(default_factory=dict)
    """Pod identity associations by id."""
    updates: dict[str, Document] = field(default_factory=dict)
    """Updates by id; `addonName` and `nodegroupName` say what they are of."""
    api_server: ApiServer | None = None
    """The API server, once started."""
    worker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="eks")
    )
    """Carries out what the API only promised, one thing after the other."""

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.document["name"]

    @property
    def kubernetes(self) -> KubernetesClient:
        """A client with the control plane's own rights."""
        if self.api_server is None:
            raise RuntimeError(f"the API server of {self.name} was not started")
        return self.api_server.client

    def later(self, task: Callable[[], None], on_failure: Callable[[str], None]) -> None:
        """Do something after the response was sent; what goes wrong becomes part of the state."""

        def run() -> None:
            try:
                task()
            except Exception as error:  # noqa: BLE001  whatever it was belongs into the state, not into a lost thread
                _LOG.exception("a task of cluster %s failed", self.name)
                on_failure(str(error))

        self.worker.submit(run)

    def arn(self, kind: str, *parts: str) -> str:
        """Return the ARN of something in this cluster."""
        return ":".join(["arn:aws:eks", self.region, ACCOUNT, "/".join([kind, self.name, *parts])])

    def record_update(self, kind: str, params: Mapping[str, Any], **subject: str) -> Document:
        """Open an update; `subject` says what it is of."""
        update: Document = {
            "id": str(uuid.uuid4()),
            "status": "InProgress",
            "type": kind,
            "params": [{"type": name, "value": str(value)} for name, value in params.items()],
            "createdAt": now(),
            "errors": [],
        }
        self.updates[update["id"]] = {**subject, "update": update}
        return update


class Eks:
    """All clusters."""

    def __init__(
        self,
        neighbours: Neighbours,
        start_api_server: Callable[[ApiServerSettings], ApiServer],
        token_review_url: Callable[[str, str], str],
        on_change: Callable[["Eks"], None],
    ) -> None:
        self.neighbours = neighbours
        self.start_api_server = start_api_server
        self.token_review_url = token_review_url
        self.lock = threading.RLock()
        self._on_change = on_change
        self._regions: dict[str, dict[str, Cluster]] = {}

    def clusters(self, region: str) -> dict[str, Cluster]:
        """Return the clusters of a region by name."""
        return self._regions.setdefault(region, {})

    def all_clusters(self) -> list[Cluster]:
        """Return every cluster."""
        return [cluster for clusters in list(self._regions.values()) for cluster in list(clusters.values())]

    def cluster(self, region: str, name: str) -> Cluster:
        """Return a cluster, or the service's error."""
        found = self.clusters(region).get(name)
        if found is None:
            raise NotFoundError(f"No cluster found for name: {name}.", clusterName=name)
        return found

    def changed(self) -> None:
        """Tell whoever mirrors the list of clusters."""
        self._on_change(self)

    def stop(self) -> None:
        """End every API server."""
        for cluster in self.all_clusters():
            cluster.worker.shutdown(wait=False, cancel_futures=True)
            if cluster.api_server is not None:
                cluster.api_server.stop()


def page(items: Iterable[str], request: Mapping[str, Any], key: str) -> Document:
    """Return one page of a sorted list, as every List operation does; at most 100 items."""
    names = sorted(items)
    start = int(request.get("nextToken") or 0)
    size = int(request.get("maxResults") or 100)
    answer: Document = {key: names[start : start + size]}
    if start + size < len(names):
        answer["nextToken"] = str(start + size)
    return answer


def random_hex(length: int) -> str:
    """Return upper-case hexadecimal digits, as in an OIDC issuer's id."""
    return secrets.token_hex(length // 2).upper()


__all__ = [
    "ACCOUNT",
    "AccessEntry",
    "Cluster",
    "Document",
    "Eks",
    "EksError",
    "Neighbours",
    "NodeGroup",
    "NodeInstance",
    "now",
    "page",
    "random_hex",
]
