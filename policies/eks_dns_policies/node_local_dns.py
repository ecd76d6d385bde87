"""Rules about a node's DNS cache, whoever made its manifest."""

import re
from collections.abc import Iterator
from typing import Any

from eks_dns_policies.rule import Configuration, Resource, Rule, known

DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
_IMAGE = "k8s-dns-node-cache"
_NAME = re.compile(r"node-?local-?dns")
_RULES_OF_OUR_OWN = re.compile(r"-setupiptables=false\b")


def _containers(resource: Resource) -> list[Any]:
    return list(known(lambda: resource.properties["spec"]["template"]["spec"]["containers"]) or ())


def is_cache(resource: Resource) -> bool:
    """Say whether a resource installs a node-local cache: by its name, or by its image."""
    if resource.type != DAEMON_SET:
        return False
    name = known(lambda: resource.properties["metadata"]["name"], "")
    if _NAME.search(str(name)):
        return True
    return any(_IMAGE in str(known(lambda each=each: each["image"], "")) for each in _containers(resource))


def _judge_crash(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    if not is_cache(resource):
        return
    for container in _containers(resource):
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        if _IMAGE in (container.get("image") or "") and not _RULES_OF_OUR_OWN.search(" ".join(words)):
            yield f"The container {container.get('name')} of node-local DNS writes node-cache's own packet rules."


RULES = (
    Rule(
        name="node-local-dns-survives-its-crash",
        level="advisory",
        demand="Packet rules of node-local DNS hold only while it listens.",
        reason="node-cache's own stay when it dies: until it is back, every query on that node is refused.",
        remedy="Set -setupiptables=false and write rules with `-m socket` (here: nodeLocalDns.interception: socket).",
        source="https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/",
        types=frozenset({DAEMON_SET}),
        judge=_judge_crash,
    ),
)
