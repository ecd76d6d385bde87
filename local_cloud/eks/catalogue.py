"""Which Kubernetes and add-on versions the service offers.

The versions are those seen in public configurations and issue threads up to September 2026, plus older ones at
which behaviour changed. The real catalogue is longer: `aws eks describe-addon-versions` against AWS is the truth.
"""

import re
from dataclasses import dataclass

from components.cluster.versions import PINNED
from local_cloud.eks.errors import InvalidParameterError

KUBERNETES_VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36")
"""Versions a cluster can be created at."""

DEFAULT_KUBERNETES_VERSION = "1.35"


@dataclass(frozen=True)
class Offer:
    """One version of an add-on."""

    version: str
    """Add-on version."""
    kubernetes: tuple[str, ...]
    """Kubernetes versions it can be installed on."""


_SEEN: dict[str, tuple[Offer, ...]] = {
    "vpc-cni": (
        Offer("v1.23.1-eksbuild.1", ("1.32", "1.33", "1.34", "1.35", "1.36")),
        Offer("v1.22.3-eksbuild.1", ("1.32", "1.33", "1.34", "1.35", "1.36")),
        Offer("v1.22.2-eksbuild.1", ("1.32", "1.33", "1.34", "1.35")),
        Offer("v1.18.6-eksbuild.1", ("1.32",)),
        # Far too old for these Kubernetes versions in reality; kept because the configuration schema changed
        # between them, and a program must be refused the same way here.
        Offer("v1.12.1-eksbuild.2", ("1.32", "1.33", "1.34", "1.35")),
        Offer("v1.12.0-eksbuild.1", ("1.32", "1.33", "1.34", "1.35")),
    ),
    "kube-proxy": (
        Offer("v1.36.0-eksbuild.25", ("1.36",)),
        Offer("v1.36.0-eksbuild.21", ("1.36",)),
        Offer("v1.35.3-eksbuild.29", ("1.35", "1.36")),
        Offer("v1.34.6-eksbuild.25", ("1.34", "1.35", "1.36")),
        Offer("v1.33.7-eksbuild.2", ("1.33", "1.34", "1.35", "1.36")),
        Offer("v1.32.9-eksbuild.2", ("1.32", "1.33", "1.34", "1.35")),
    ),
    "coredns": (
        Offer("v1.14.3-eksbuild.22", ("1.35", "1.36")),
        Offer("v1.13.2-eksbuild.24", ("1.34", "1.35")),
        Offer("v1.12.4-eksbuild.1", ("1.33", "1.34")),
        Offer("v1.11.4-eksbuild.53", ("1.32", "1.33")),
    ),
}


def number(version: str) -> tuple[int, ...]:
    """Return the numbers of a version such as v1.23.1-eksbuild.1, for comparison."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _with_pinned(add_on: str, seen: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """Return what has been seen, and what the program pins: whoever raised a pin has seen it offered."""
    pinned: dict[str, list[str]] = {}
    for kubernetes, versions in PINNED.items():
        named = {"vpc-cni": versions.vpc_cni, "kube-proxy": versions.kube_proxy, "coredns": versions.core_dns}
        pinned.setdefault(named[add_on], []).append(kubernetes)
    known = {each.version for each in seen}
    more = [Offer(version, tuple(kubernetes)) for version, kubernetes in pinned.items() if version not in known]
    return (*sorted(more, key=lambda each: number(each.version), reverse=True), *seen)


ADD_ONS = {name: _with_pinned(name, seen) for name, seen in _SEEN.items()}


def offers(add_on: str) -> tuple[Offer, ...]:
    """Return the versions of an add-on, newest first."""
    found = ADD_ONS.get(add_on)
    if found is None:
        raise InvalidParameterError("Addon specified is not supported", addonName=add_on)
    return found


def default_version(add_on: str, kubernetes: str) -> str:
    """Return the version EKS takes if none is asked for."""
    for offer in offers(add_on):
        if kubernetes in offer.kubernetes:
            return offer.version
    raise InvalidParameterError("Addon version specified is not supported", addonName=add_on)


def check_version(add_on: str, version: str, kubernetes: str | None = None) -> str:
    """Return the version if it exists (and fits the Kubernetes version), as the service checks it."""
    for offer in offers(add_on):
        if offer.version == version and (kubernetes is None or kubernetes in offer.kubernetes):
            return version
    raise InvalidParameterError("Addon version specified is not supported", addonName=add_on)
