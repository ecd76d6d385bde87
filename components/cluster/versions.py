"""The pinned versions of everything that runs in a cluster, per Kubernetes version, in one place.

Add-on versions are those seen in public EKS configurations up to October 2026; before an upgrade compare
them with `aws eks describe-addon-versions --kubernetes-version X`.
"""

import re
from datetime import date

from components.setting import Setting


class AddonVersions(Setting):
    """The versions of the three add-ons of a cluster."""

    vpc_cni: str
    """Version of the vpc-cni add-on, e.g. v1.23.1-eksbuild.1."""

    kube_proxy: str
    """Version of the kube-proxy add-on; its minor version is the cluster's."""

    core_dns: str
    """Version of the coredns add-on."""


DEFAULT_KUBERNETES_VERSION = "1.35"

PINNED: dict[str, AddonVersions] = {
    "1.34": AddonVersions(
        vpc_cni="v1.23.1-eksbuild.1",
        kube_proxy="v1.34.6-eksbuild.25",
        core_dns="v1.13.2-eksbuild.24",
    ),
    "1.35": AddonVersions(
        vpc_cni="v1.23.1-eksbuild.1",
        kube_proxy="v1.35.3-eksbuild.29",
        core_dns="v1.14.3-eksbuild.22",
    ),
    "1.36": AddonVersions(
        vpc_cni="v1.23.2-eksbuild.1",
        kube_proxy="v1.36.0-eksbuild.45",
        core_dns="v1.14.7-eksbuild.11",
    ),
}

STANDARD_SUPPORT_ENDS = {"1.34": date(2026, 12, 2), "1.35": date(2027, 3, 27)}
"""When a version leaves EKS' standard support (EKS user guide, Kubernetes release calendar); what is not here is not
known yet."""

ENFORCING_MODE_SINCE = (1, 12, 1)
"""First vpc-cni add-on whose configuration schema knows the mode (aws/amazon-vpc-cni-k8s#2173, #2272)."""

_ADDON_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)-eksbuild\.\d+")


def addon_version_number(version: str) -> tuple[int, int, int]:
    """Return the numbers of an add-on version such as `v1.23.1-eksbuild.1`; raises `ValueError` for any other."""
    found = _ADDON_VERSION.fullmatch(version)
    if found is None:
        raise ValueError(
            f"{version!r} is not an EKS add-on version; an unpinned add-on changes by itself between two previews. "
            "Write it like v1.23.1-eksbuild.1 (`aws eks describe-addon-versions` lists them)."
        )
    return int(found[1]), int(found[2]), int(found[3])
