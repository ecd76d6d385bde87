"""The checks of the whole cluster: what the Kubernetes API alone tells about DNS."""

import hashlib
import json
import re
from dataclasses import replace

from components.running_cluster.cni_state import CniState, verified_at
from components.running_cluster.strict_pods import AWS_NODE, SecurityGroupPod, entries, security_group_pods
from verify.check import ClusterCheck, check
from verify.cluster_facts import ClusterFacts, forwarded, zones
from verify.findings import Finding, Result, Verdict, failed, not_visible, ok, unknown
from verify.installation import InstallationError

CHECKSUM = "eks-node-local-dns/corefile-checksum"
"""Annotation of the cache's pods: which Corefile they were started with."""

_OLDEST_IMAGE = (1, 26, 8)
"""First node-cache that removes its rules before its interface (kubernetes/dns#690)."""

_OLDEST_CNI = (1, 11, 0)
"""First VPC CNI that knows standard mode (amazon-vpc-cni-k8s README); an older one passes the variable over."""

_LONGEST_DENIAL = 30
"""Seconds; a name made just now is missed for that long (kubernetes#74092)."""

NOT_VISIBLE: dict[int, tuple[str, str]] = {
    14: (
        "VPC resolver throttles",
        "the ENA driver counts it: `ethtool -S eth0 | grep linklocal_allowance_exceeded`, or node-exporter",
    ),
    25: ("CoreDNS is evenly loaded", "a skew shows only between two readings of every CoreDNS pod: see the dashboard"),
}
"""Failure modes that no look from outside shows, by number: name, and where they do show."""


@check(
    "kube-dns has an address",
    22,
    "Services and the DaemonSet's -localip",
    "Run `pulumi up`: the program reads kube-dns' ClusterIP and writes it into the cache's arguments.",
)
def kube_dns_has_an_address(facts: ClusterFacts) -> Result:
    if not facts.cluster_dns_ip:
        return failed("there is no Service kube-system/kube-dns with a ClusterIP: pods have nobody to ask")
    try:
        installation = facts.installation()
    except InstallationError as error:
        return unknown(str(error))
    if installation is not None and installation.cluster_dns_ip != facts.cluster_dns_ip:
        return failed(f"the cache answers for {installation.cluster_dns_ip or 'no ClusterIP'}, "
                      f"kube-dns is {facts.cluster_dns_ip}")  # fmt: skip
    return ok(f"kube-dns is {facts.cluster_dns_ip}")


@check(
    "Corefile asks CoreDNS",
    7,
    "the Corefile and Service kube-dns-upstream",
    "Run `pulumi up`: the program writes kube-dns-upstream's ClusterIP into the Corefile.",
)
def corefile_asks_core_dns(facts: ClusterFacts) -> Result:
    if facts.daemon_set is None:
        return ok("the cache is not installed")
    if not facts.upstream_ip:
        return failed("there is no Service kube-system/kube-dns-upstream: the cache has nobody to ask")
    if not facts.corefile:
        return failed("there is no ConfigMap kube-system/node-local-dns with a Corefile")
    asked = forwarded(facts.corefile)
    wrong = {zone: servers for zone, servers in asked.items()
             if zone.endswith(("cluster.local", "arpa")) and servers != [facts.upstream_ip]}  # fmt: skip
    if "cluster.local" not in asked:
        return unknown(
            "the Corefile has no zone cluster.local:53 that forwards: whom it asks for Services is not known"
        )
    return failed(f"{wrong}, and kube-dns-upstream is {facts.upstream_ip}") if wrong else ok(
        f"the cluster's zones ask {facts.upstream_ip}")  # fmt: skip


@check(
    "kube-proxy leaves the ClusterIP to the cache",
    4,
    "ConfigMap kube-proxy-config",
    "Set kube-proxy's mode to iptables or nftables: in IPVS its own link has the ClusterIP.",
)
def kube_proxy_leaves_the_cluster_ip(facts: ClusterFacts) -> Result:
    if facts.kube_proxy_mode is None:
        return unknown("there is no ConfigMap kube-system/kube-proxy-config that tells its mode")
    if facts.kube_proxy_mode not in {"", "iptables", "nftables"}:
        return failed(f"kube-proxy is in {facts.kube_proxy_mode} mode")
    return ok(f"kube-proxy is in {facts.kube_proxy_mode or 'iptables'} mode")


@check(
    "CNI is in standard mode",
    5,
    "aws-node's environment, in the DaemonSet and in each of its pods",
    "Set vpcCni.podSecurityGroupEnforcingMode: standard and run `pulumi up`, then recreate the pods behind security groups.",
)
def cni_is_in_standard_mode(facts: ClusterFacts) -> Result:
    if facts.aws_node is None:
        return unknown("there is no DaemonSet kube-system/aws-node")
    state = cni_state(facts)
    if facts.daemon_set is None or not state.pod_interfaces:
        return ok(f"aws-node is in {state.configured} mode, and no pod loses DNS by it: "
                  f"{'no cache' if facts.daemon_set is None else 'pods cannot have security groups (ENABLE_POD_ENI)'}")  # fmt: skip
    if state.configured == "strict":
        return failed("aws-node is in strict mode: pods behind security groups lose DNS next to the cache")
    if strict := state.nodes_by_mode["strict"]:
        return failed(f"aws-node is in standard mode, and on {len(strict)} nodes its pod still runs in strict: "
                      f"{', '.join(strict[:10])}")  # fmt: skip
    return ok("aws-node is in standard mode")


def cni_state(facts: ClusterFacts) -> CniState:
    """Return the CNI's mode and the pods that have its rules, as far as the API alone tells them."""
    return CniState(
        aws_node=facts.aws_node,
        aws_node_pods=facts.aws_node_pods,
        cache=facts.daemon_set,
        pods=security_group_pods(
            facts.branch_pods,
            facts.aws_node,
            facts.aws_node_pods,
            revisions=facts.aws_node_revisions or (),
            nodes=[each.manifest for each in facts.nodes],
            verified_at=verified_at(facts.daemon_set),
        ),
    )


def strict_link(pod: SecurityGroupPod) -> str:
    """Return the name of a pod's link in strict mode (amazon-vpc-cni-k8s, GeneratePodHostVethName)."""
    return "vlan" + hashlib.sha1(str(pod).replace("/", ".").encode(), usedforsecurity=False).hexdigest()[:11]


def _as_seen(pod: SecurityGroupPod, links: frozenset[str] | None, known: set[str]) -> SecurityGroupPod:
    """Return a pod with the mode that its node's own rules show; times only tell where these were not seen.

    `links` are those for which its node has rules of strict mode, `known` the ones of all pods in that mode.
    """
    if links is None:
        return pod
    if strict_link(pod) in links:
        return replace(pod, mode="strict", reason="its node has a rule of strict mode for its link")
    of_pods = {each for each in links if not each.startswith("vlan.")}  # vlan.eth.N is the trunk's side
    if of_pods <= known:
        return replace(pod, mode="standard", reason="its node has no rule of strict mode for its link")
    return pod


@check(
    "no pod from strict mode",
    5,
    "pods with a branch interface, next to their nodes' `ip rule`; where that was not seen, when aws-node was switched",
    "Recreate these pods: a pod keeps the rules it was born with.",
)
def no_pod_from_strict_mode(facts: ClusterFacts) -> Result:
    if facts.daemon_set is None:
        return ok("the cache is not installed")
    pods = cni_state(facts).pods
    known = {strict_link(each) for each in pods}
    found = [each for each in (_as_seen(each, facts.strict_links.get(each.node), known) for each in pods)
             if each.mode != "standard"]  # fmt: skip
    strict = [each for each in found if each.mode == "strict"]
    if strict:
        named = ", ".join(map(str, strict[:20]))
        return failed(
            f"{len(strict)} pods still have the rules of strict mode: {named}; {strict[0]}: {strict[0].reason}"
        )
    if found:
        blind = " (ControllerRevisions may not be read)" if facts.aws_node_revisions is None else ""
        told = ", ".join(f"{each}: {each.reason}" for each in found[:5])
        return unknown(f"{len(found)} pods, and times do not settle it{blind}: {told}")
    return ok(f"none of {len(facts.branch_pods)} pods with a branch interface")


@check(
    "denials are short, stale ones are not served",
    16,
    "cache lines of the Corefile",
    "Set denialTtl to 5 seconds; with serveStaleSeconds leave the cache of denials off, as the program does.",
)
def denials_are_short(facts: ClusterFacts) -> Result:
    if facts.daemon_set is None:
        return ok("the cache is not installed")
    if not zones(facts.corefile):
        return unknown("no ConfigMap kube-system/node-local-dns with a Corefile as this project writes it")
    wrong = []
    for zone, block in zones(facts.corefile).items():
        found = re.search(r"^\s*denial \d+ (\d+)", block, re.MULTILINE)
        if found and int(found[1]) > _LONGEST_DENIAL:
            wrong.append(f"{zone}: a denial is kept {found[1]} s")
        if "serve_stale" in block and "disable denial" not in block:
            wrong.append(f"{zone}: stale denials are served before good answers (CoreDNS 1.13.2)")
    return failed("; ".join(wrong)) if wrong else ok("as they should be")


@check(
    "updates leave no gap",
    18,
    "the DaemonSet's update strategy and ports",
    "Use nodeLocalDns.interception: socket, with which two caches can share a node; declare no ports.",
)
def updates_leave_no_gap(facts: ClusterFacts) -> Result:
    installation = facts.installed
    if facts.daemon_set is None or installation is None:
        return ok("the cache is not installed")
    rolling = facts.daemon_set["spec"].get("updateStrategy", {}).get("rollingUpdate") or {}
    ports = [each for container in facts.daemon_set["spec"]["template"]["spec"]["containers"]
             for each in container.get("ports") or ()]  # fmt: skip
    if installation.interception == "upstream":
        return ok("node-cache's own rules: each node is without its cache for a moment, by choice of interception")
    if ports or not rolling.get("maxSurge") or rolling.get("maxUnavailable"):
        return failed(
            f"an update ends a node's cache before the next one starts: {json.dumps(rolling)}, {len(ports)} ports"
        )
    return ok("the next cache starts before the last one ends")


@check(
    "every pod has the present configuration",
    19,
    "the pods' Corefile checksum and the DaemonSet's status",
    "Wait for the rollout (`kubectl -n kube-system rollout status ds/node-local-dns`), or run `pulumi up`.",
)
def configuration_is_applied(facts: ClusterFacts) -> Result:
    if facts.daemon_set is None:
        return ok("the cache is not installed")
    present = hashlib.sha256(json.dumps({"Corefile": facts.corefile}).encode()).hexdigest()[:16]
    wanted = facts.daemon_set["spec"]["template"]["metadata"].get("annotations", {}).get(CHECKSUM)
    if wanted is None:
        return unknown(f"the DaemonSet has no annotation {CHECKSUM}: another tool installed it")
    if wanted != present:
        return failed("the ConfigMap's Corefile is not the one the DaemonSet was made with")
    if not facts.cache_pods:
        return unknown("there is no pod of the cache whose configuration could be compared")
    old = [each["metadata"]["name"] for each in facts.cache_pods
           if each["metadata"].get("annotations", {}).get(CHECKSUM) != wanted]  # fmt: skip
    return failed(f"{len(old)} pods have another: {', '.join(old[:10])}") if old else ok("every pod has it")


@check(
    "rules are looked at often",
    27,
    "node-cache's -syncinterval",
    "Write -syncinterval in nanoseconds (5ns is five seconds): node-cache multiplies it by a second once more.",
)
def rules_are_looked_at_often(facts: ClusterFacts) -> Result:
    installation = facts.installed
    if installation is None:
        return ok("the cache is not installed")
    written = re.fullmatch(r"(\d+)(ns)?", installation.sync_interval)
    if written is None or not 1 <= int(written[1]) <= 60:  # noqa: PLR2004  # node-cache's default is a minute
        return failed(f"-syncinterval {installation.sync_interval} is no interval between 1 and 60 seconds")
    return ok(f"every {written[1]} s")


@check("version", None, "node-cache's image", "Use registry.k8s.io/dns/k8s-dns-node-cache:1.26.8 or newer.")
def version(facts: ClusterFacts) -> Result:
    installation = facts.installed
    if installation is None:
        return ok("the cache is not installed")
    found = re.search(r":v?(\d+)\.(\d+)\.(\d+)", installation.image)
    if found is None:
        return not_visible(f"{installation.image} does not tell its version; every node runs what the digest names")
    number = (int(found[1]), int(found[2]), int(found[3]))
    return failed(f"{installation.image} removes its interface before its rules when it ends") if (
        number < _OLDEST_IMAGE) else ok(installation.image)  # fmt: skip


@check(
    "VPC CNI knows standard mode",
    5,
    "aws-node's image",
    "Update the vpc-cni add-on to v1.12.1 or newer (setting addonVersions.vpcCni), then recreate the pods behind security groups.",
)
def vpc_cni_knows_standard_mode(facts: ClusterFacts) -> Result:
    state = cni_state(facts)
    if facts.daemon_set is None or not state.pod_interfaces or facts.aws_node is None:
        return ok("no cache, or no pods behind security groups")
    containers = entries(facts.aws_node["spec"]["template"], "spec", "containers")
    image = next((str(each.get("image", "")) for each in containers if each.get("name") == AWS_NODE), "")
    found = re.search(r":v?(\d+)\.(\d+)\.(\d+)", image)
    if found is None:
        return not_visible(f"{image or 'aws-node'} does not tell its version")
    number = (int(found[1]), int(found[2]), int(found[3]))
    return failed(f"{image} is older than v1.11 and makes every pod in strict mode, whatever it is told") if (
        number < _OLDEST_CNI) else ok(image)  # fmt: skip


CLUSTER_CHECKS: tuple[ClusterCheck, ...] = (
    kube_dns_has_an_address,
    corefile_asks_core_dns,
    kube_proxy_leaves_the_cluster_ip,
    cni_is_in_standard_mode,
    no_pod_from_strict_mode,
    denials_are_short,
    updates_leave_no_gap,
    configuration_is_applied,
    rules_are_looked_at_often,
    version,
    vpc_cni_knows_standard_mode,
)
"""Every check of the cluster."""


def judge_cluster(facts: ClusterFacts) -> list[Finding]:
    """Return every check's finding about the cluster, and what cannot be seen."""
    found = [each.finding("", each.judge(facts)) for each in CLUSTER_CHECKS]
    for number, (name, reason) in NOT_VISIBLE.items():
        found.append(Finding(name, number, "", Verdict.NOT_VISIBLE, reason, ""))
    return found
