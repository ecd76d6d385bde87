"""One way to have DNS on a node, running, with the counters that tell what it costs."""

import contextlib
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.message
import httpx
import psutil

from components.cache.corefile import METRICS_PORT
from components.cache.interception import Interception
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from lab.bench import workloads
from lab.kubelet import Pod
from lab.namespaces import LabError, Namespace
from lab.node import CLUSTER_DNS, NODE, PLAIN_POD, UPSTREAM, Node, worker_node


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a subject is made from."""

    name: str
    title: str
    """How tables and pictures call it."""

    interception: Interception | None
    """Rules of the cache; absent: no cache."""

    corefile: Mapping[str, Any]
    """Settings of the Corefile that are not the defaults, as a stack's file spells them."""


DIRECT = Variant(name="direct", title="CoreDNS directly", interception=None, corefile={})
UPSTREAM_RULES = Variant(name="upstream", title="cache, upstream's rules", interception="upstream", corefile={})
OURS = Variant(name="socket", title="cache, our rules", interception="socket", corefile={})


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What has been used so far."""

    coredns_queries: float
    """Questions CoreDNS got."""

    cache_misses: float
    """Questions that had to wait because the cache did not have the answer; 0 without a cache."""

    coredns_cpu: float
    """Seconds of processor time of CoreDNS."""

    cache_cpu: float
    """The same of the cache; 0 without one."""


def metric(client: Namespace, address: str, name: str, labels: str = "") -> float:
    """Return the sum of a metric's samples whose labels contain `labels`."""
    text = client.call(lambda: httpx.get(f"http://{address}/metrics", timeout=10, trust_env=False).text)
    pattern = re.compile(rf"^{name}(?:{{(.*)}})? (\S+)$", re.MULTILINE)
    return sum(float(value) for found, value in pattern.findall(text) if labels in found)


def _cpu(process: int) -> float:
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


def _resident(process: int, field: str) -> float:
    status = Path("/proc", str(process), "status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise LabError(f"process {process} has no {field} in /proc, so its memory cannot be measured.")
    return int(found.group(1)) / 1024


class Subject:
    """A variant on a node of its own."""

    def __init__(self, variant: Variant, node: Node) -> None:
        self.variant = variant
        self.node = node
        self.settings = NodeLocalDnsSettings.model_validate(
            {"interception": variant.interception or "socket", "corefile": dict(variant.corefile)}
        )
        self._pods = 0
        self.pod: Pod | None = None

    @property
    def client(self) -> Namespace:
        """The pod that asks."""
        return self.node.machines["plain-pod"]

    def new_pod(self, back_off: Sequence[float] = ()) -> Pod:
        """Return one more pod of the cache, not started; see `Pod` for what happens when its container ends."""
        self._pods += 1
        objects = manifests(self.settings, cluster_dns_ip=CLUSTER_DNS, upstream_ip=UPSTREAM)
        return Pod(self.node, objects, f"cache-{self._pods}", back_off=back_off)

    def start(self) -> None:
        """Start the cache, if there is to be one."""
        if self.variant.interception is not None:
            self.pod = self.new_pod()
            self.pod.start()

    def _cache_process(self) -> int | None:
        return self.pod.containers[0].main_process if self.pod else None

    def counters(self) -> Counters:
        """Read all counters."""
        cache = self._cache_process()
        return Counters(
            coredns_queries=metric(self.node.machines["coredns"], workloads.METRICS, "coredns_dns_requests_total"),
            cache_misses=self.cache_metric("coredns_cache_misses_total") if cache else 0,
            coredns_cpu=_cpu(self.node.core_dns_process),
            cache_cpu=_cpu(cache) if cache else 0,
        )

    def cache_metric(self, name: str, labels: str = "") -> float:
        """Return one of the cache's own metrics."""
        return metric(self.node.host, f"{NODE}:{METRICS_PORT}", name, labels)

    def cache_memory(self, *, peak: bool = False) -> float:
        """Return the cache's resident memory in MiB, now or at its largest; 0 without a cache."""
        cache = self._cache_process()
        return _resident(cache, "VmHWM" if peak else "VmRSS") if cache else 0

    def coredns_memory(self) -> float:
        """Return CoreDNS' resident memory in MiB."""
        return _resident(self.node.core_dns_process, "VmRSS")

    def conntrack_entries(self) -> tuple[int, int]:
        """Return the node's connection-tracking entries for DNS: of the pod that asks, and of all others."""
        table = self.node.host.call(Path("/proc/thread-self/net/nf_conntrack").read_text)
        dns_entries = [line for line in table.splitlines() if " dport=53 " in line]
        of_client = sum(f" src={PLAIN_POD} dst={CLUSTER_DNS} " in line for line in dns_entries)
        return of_client, len(dns_entries) - of_client

    def ask_from_new_ports(self, names: list[str]) -> int:
        """Ask each name from a port of its own, as a resolver library does; return how many were answered or denied."""

        def ask() -> int:
            answered = 0
            for name in names:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                    own.settimeout(2)
                    own.sendto(dns.message.make_query(name, "A").to_wire(), (CLUSTER_DNS, 53))
                    with contextlib.suppress(TimeoutError):
                        own.recv(4096)
                        answered += 1
            return answered

        return self.client.call(ask)


@contextlib.contextmanager
def running(*variants: Variant) -> Iterator[list[Subject]]:
    """Run variants next to each other, each on its own node with its own CoreDNS."""
    with contextlib.ExitStack() as stack:
        subjects: list[Subject] = []
        for variant in variants:
            node = stack.enter_context(worker_node("standard", server=workloads.SERVER))
            subjects.append(Subject(variant, node))
            subjects[-1].start()
        yield subjects
