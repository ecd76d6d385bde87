"""NodeLocal DNS caches that something else has installed: a node has room for one."""

from collections.abc import Iterable

from components.running_cluster.cni_state import CACHE, MARK, NAMESPACE
from components.running_cluster.kubernetes_api import KubernetesApi, Manifest
from components.running_cluster.strict_pods import entries, part

_IMAGE = "k8s-dns-node-cache"
"""Last part of the name of node-cache's image, wherever it was copied to."""


def _images(daemon_set: Manifest) -> list[str]:
    pod = part(daemon_set, "spec", "template", "spec")
    return [str(each.get("image")) for kind in ("containers", "initContainers") for each in entries(pod, kind)]


def other_caches(daemon_sets: Iterable[Manifest]) -> list[str]:
    """Return which of these are a cache and not this program's: namespace, name and image."""
    found: list[str] = []
    for each in daemon_sets:
        metadata, images = each["metadata"], _images(each)
        named = (metadata["namespace"], metadata["name"]) == (NAMESPACE, CACHE)
        ours = named and MARK in part(each, "metadata", "annotations")
        if not ours and (named or any(_IMAGE in image for image in images)):
            found.append(f"{metadata['namespace']}/{metadata['name']} ({', '.join(dict.fromkeys(images))})")
    return sorted(found)


def find_other_caches(api: KubernetesApi) -> list[str]:
    """Ask a cluster for them. Raises `KubernetesApiError`."""
    return other_caches(api.items("/apis/apps/v1/daemonsets"))
