"""Rules about what runs in the cluster."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from eks_dns_policies.rule import Configuration, Resource, Rule

_KINDS = ("DaemonSet", "Deployment", "StatefulSet", "ReplicaSet")
TYPES = frozenset(
    {f"kubernetes:apps/v1:{kind}" for kind in _KINDS}
    | {"kubernetes:batch/v1:Job", "kubernetes:batch/v1:CronJob", "kubernetes:core/v1:Pod"}
)
_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_TAG = re.compile(r":(?P<tag>[\w][\w.-]{0,127})$")


def _pod(resource: Resource) -> Mapping[str, Any]:
    """Return the pod's spec; empty where there is none, which Kubernetes refuses by itself."""
    path = {"CronJob": ("jobTemplate", "spec", "template", "spec"), "Pod": ()}
    found: Any = resource.properties.get("spec")
    for key in path.get(resource.type.rpartition(":")[2], ("template", "spec")):
        found = (found or {}).get(key)
    return found or {}


def _judge_images(resource: Resource, configuration: Configuration) -> Iterator[str]:
    pod = _pod(resource)
    for container in (*(pod.get("initContainers") or ()), *(pod.get("containers") or ())):
        image = container.get("image") or ""
        tag = _TAG.search(image.partition("@")[0].rpartition("/")[2])
        pinned_tag = tag is not None and tag["tag"] not in configuration["floatingTags"]
        if not _DIGEST.search(image) and (configuration["digestOnly"] or not pinned_tag):
            yield f"The container {container.get('name')} runs the image {image or '(none)'}, which is not pinned."


RULES = (
    Rule(
        name="images-pinned",
        level="mandatory",
        demand="Every container image has a tag that does not float, or a digest.",
        reason="Otherwise nodes run different programs, and a rollback brings nothing back.",
        remedy="Write the version as the tag, or the digest.",
        source="https://kubernetes.io/docs/concepts/containers/images/",
        types=TYPES,
        judge=_judge_images,
        configuration={
            "digestOnly": {"type": "boolean", "default": False},
            "floatingTags": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["latest", "stable", "main", "master"],
            },
        },
    ),
)
