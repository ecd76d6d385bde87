"""NodeLocal DNS caches that something else has installed: a node has room for one."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from components.running_cluster.cni_state import CACHE, MARK, NAMESPACE
from components.running_cluster.kubernetes_api import KubernetesApi, Manifest
from components.running_cluster.strict_pods import entries, part

_IMAGE = "dns-node-cache"
"""In the name of node-cache's image, wherever it was copied to or rebuilt (k8s-dns-node-cache,
hardened-dns-node-cache)."""

_ADDRESSES = re.compile(r"--?localip(=|$)")
"""The flag by which node-cache is told the addresses it binds."""


def _containers(daemon_set: Manifest) -> list[Manifest]:
    pod = part(daemon_set, "spec", "template", "spec")
    return [each for kind in ("containers", "initContainers") for each in entries(pod, kind)]


def _is_cache(container: Manifest) -> bool:
    """Say whether a container is node-cache, by what it does as well: a mirror may call the image anything."""
    words = [str(each) for key in ("command", "args") for each in container.get(key) or ()]
    return (
        _IMAGE in str(container.get("image"))
        or any(_ADDRESSES.match(word) for word in words)
        or any(PurePosixPath(word).name == "node-cache" for word in words[:1])
    )


def other_caches(daemon_sets: Iterable[Manifest]) -> list[str]:
    """Return which of these are a cache and not this program's: namespace, name and image."""
    found: list[str] = []
    for each in daemon_sets:
        metadata, containers = each["metadata"], _containers(each)
        named = (metadata["namespace"], metadata["name"]) == (NAMESPACE, CACHE)
        ours = named and MARK in part(each, "metadata", "annotations")
        if not ours and (named or any(_is_cache(container) for container in containers)):
            images = [str(container.get("image")) for container in containers]
            found.append(f"{metadata['namespace']}/{metadata['name']} ({', '.join(dict.fromkeys(images))})")
    return sorted(found)


def find_other_caches(api: KubernetesApi) -> list[str]:
    """Ask a cluster for them. Raises `KubernetesApiError`."""
    return other_caches(api.items("/apis/apps/v1/daemonsets"))
