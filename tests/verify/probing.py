"""Runs the collector where a probe's pod would run it: in the namespaces of the lab."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.cache.interception import Interception
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests
from lab.node import CLUSTER_DNS, NODE, NODE_NAME, UPSTREAM, Node
from verify.facts import Facts
from verify.findings import Finding, Verdict
from verify.installation import Installation
from verify.node_checks import judge
from verify.node_view import NodeView
from verify.probe import COLLECTOR, environment
from verify.questions import Addresses, Client, Names

LOCAL = NodeLocalDnsSettings().local_address
RUN = "r1"
MACHINES: dict[Client, str] = {"node": "host", "plain": "plain-pod", "branch": "sgp-pod"}


def installation(interception: Interception = "socket") -> Installation:
    """Return how the lab's caches are installed."""
    settings = NodeLocalDnsSettings(interception=interception)
    return Installation.read(manifests(settings, cluster_dns_ip=CLUSTER_DNS, upstream_ip=UPSTREAM)["daemonSet"])


def addresses_of(*, installed: bool, neighbour: str) -> Addresses:
    """Return whom a probe asks in the lab."""
    return Addresses(CLUSTER_DNS, LOCAL, UPSTREAM, neighbour, NODE) if installed else Addresses(CLUSTER_DNS)


def collect(node: Node, client: Client, addresses: Addresses, *, nameserver: str = "") -> str:
    """Return the document a probe prints."""
    told = environment(client, RUN, NODE_NAME, addresses, Names(RUN))
    machine = node.machines[MACHINES[client]]
    with tempfile.TemporaryDirectory() as directory:
        resolver, cni = Path(directory, "resolv.conf"), Path(directory, "10-aws.conflist")
        resolver.write_text(f"nameserver {nameserver or ('10.0.0.2' if client == 'node' else CLUSTER_DNS)}\n")
        cni.write_text(f'{{"podSGEnforcingMode": "{node.mode}"}}')
        told |= {"SCRATCH": directory, "RESOLV": str(resolver), "CNI": str(cni)}
        printed = ""
        for role in ("packets", "node") if client == "node" else ("pod",):
            variables = [f"{key}={value}" for key, value in {**told, "ROLE": role}.items()]
            printed = machine.run("env", *variables, "sh", COLLECTOR)
    return printed


def findings(node: Node, installation: Installation | None, *clients: Client, broken_corefile: bool = False,
             neighbour: str = "10.0.3.1", nameserver: str = "") -> list[Finding]:  # fmt: skip
    """Return what the checks say of a lab's node."""
    addresses = addresses_of(installed=installation is not None, neighbour=neighbour)
    asked: list[Client] = list(clients or MACHINES)
    with ThreadPoolExecutor() as pool:
        printed = pool.map(lambda client: collect(node, client, addresses, nameserver=nameserver), asked)
        probes: dict[Client, Facts] = {client: Facts.read(text) for client, text in zip(asked, printed, strict=True)}
    view = NodeView(
        name=NODE_NAME, installation=installation, probes=probes, broken_corefile=broken_corefile, addresses=addresses,
        neighbour="another",
    )  # fmt: skip
    return judge(view, RUN)


def named(found: list[Finding]) -> dict[str, str]:
    """Return the evidence of the checks that failed."""
    return {each.check: each.evidence for each in found if each.verdict == Verdict.FAILED}
