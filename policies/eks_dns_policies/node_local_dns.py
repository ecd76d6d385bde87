"""Rules about a node's DNS cache, whoever made its manifest."""

import re
from collections.abc import Iterator
from typing import Any

from eks_dns_policies.rule import Configuration, Resource, Rule, known

DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
_IMAGE = "node-cache"
"""Mirrors put anything in front of it: k8s-dns-node-cache."""

_LOCAL_ADDRESS = re.compile(r"--?localip\b")
"""The argument that only node-cache has: the addresses at which it serves the node."""

_NAME = re.compile(r"(.+-)?node-?local-?dns(-?cache)?")
"""What says it where containers do not: Kubernetes' name, kubespray's `nodelocaldns`, and those of charts."""

_RULES_OF_OUR_OWN = re.compile(r"-setupiptables=false\b")


def _containers(resource: Resource) -> list[Any]:
    return list(known(lambda: resource.properties["spec"]["template"]["spec"]["containers"]) or ())


def _runs_node_cache(container: Any) -> bool:  # noqa: ANN401  # a proxy of JSON
    """Say whether a container is node-cache: by its arguments, wherever its image was mirrored to, or by its image."""
    image = str(known(lambda: container["image"], ""))
    return _LOCAL_ADDRESS.search(_words(container)) is not None or _IMAGE in image.rpartition("/")[2]


def _words(container: Any) -> str:  # noqa: ANN401  # a proxy of JSON
    return " ".join(
        str(each) for key in ("command", "args") for each in known(lambda key=key: list(container[key]), [])
    )


def is_cache(resource: Resource) -> bool:
    """Say whether a resource installs a node-local cache: by what its containers run, or by its name."""
    if resource.type != DAEMON_SET:
        return False
    name = str(known(lambda: resource.properties["metadata"]["name"], ""))
    return _NAME.fullmatch(name) is not None or any(map(_runs_node_cache, _containers(resource)))


def _judge_crash(resource: Resource, _configuration: Configuration) -> Iterator[str]:
    for container in _containers(resource):
        if _runs_node_cache(container) and not _RULES_OF_OUR_OWN.search(_words(container)):
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
