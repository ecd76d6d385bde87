"""How the cache is installed, read from its DaemonSet: what every node is compared with."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from components.cache.interception import INTERFACE, Interception

Manifest = Mapping[str, Any]
"""A Kubernetes object as plain JSON."""


class InstallationError(ValueError):
    """The DaemonSet is not one that this project makes; the message says what is missing in it."""


class Installation(NamedTuple):
    """What the DaemonSet asks of every node."""

    local_address: str
    """The cache's link-local address."""

    cluster_dns_ip: str
    """The ClusterIP it answers for."""

    interception: Interception
    """Whose rules are on the nodes."""

    interface: str
    """The link that holds both addresses."""

    sync_interval: str
    """node-cache's `-syncinterval`, as it is written."""

    image: str
    """node-cache's image."""

    memory_limit_bytes: int | None
    """The container's memory limit."""

    @classmethod
    def read(cls, daemon_set: Manifest) -> Self:
        """Return what a DaemonSet says; raises `InstallationError` for one that runs no node-cache."""
        spec = daemon_set["spec"]["template"]["spec"]
        containers = [each for each in spec["containers"] if "-localip" in _arguments(each)]
        if not containers:
            raise InstallationError(
                f"DaemonSet {daemon_set['metadata']['name']} has no container with the argument -localip: it is not "
                "NodeLocal DNSCache, or one too old to compare a node with. Install it with this project."
            )
        arguments = _arguments(containers[0])
        local, _, cluster = arguments["-localip"].partition(",")
        limit = containers[0].get("resources", {}).get("limits", {}).get("memory")
        return cls(
            local_address=local,
            cluster_dns_ip=cluster,
            interception="socket" if arguments.get("-setupiptables") == "false" else "upstream",
            interface=arguments.get("-interfacename", INTERFACE),
            sync_interval=arguments.get("-syncinterval", "60"),
            image=containers[0].get("image", ""),
            memory_limit_bytes=None if limit is None else quantity(str(limit)),
        )


def _arguments(container: Manifest) -> dict[str, str]:
    """Return the flags of a container: `-name=value`, `-name value` or `-name`."""
    words = [*container.get("command", ()), *container.get("args", ())]
    found: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], "-"], strict=True):
        name, equals, value = word.partition("=")
        if name.startswith("-"):
            # node-cache takes one hyphen or two.
            found["-" + name.lstrip("-")] = value if equals else "" if after.startswith("-") else after
    return found


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text: str) -> int | None:
    """Return the bytes of a Kubernetes quantity of memory; None for one that is written in no usual way."""
    found = re.fullmatch(r"(\d+)([A-Za-z]{0,2})", text)
    return int(found[1]) * _UNITS[found[2]] if found and found[2] in _UNITS else None
