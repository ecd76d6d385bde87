"""Kubernetes labels that a managed node group can give its nodes."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")

RESERVED = ("kubernetes.io", "k8s.io", "eks.amazonaws.com")
"""Prefixes that EKS refuses (aws/containers-roadmap#1451)."""


def check_node_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return `labels` if EKS takes them, else raise `ValueError`."""
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if prefix in RESERVED:
            raise ValueError(
                f"{key} has a prefix that EKS keeps for itself, and would refuse after the cluster was made. "
                "Use a prefix of your own, like example.com/team."
            )
        if (
            not _NAME.fullmatch(name)
            or (slash and not _PREFIX.fullmatch(prefix))
            or (value and not _NAME.fullmatch(value))
        ):
            raise ValueError(
                f"{key}: {value} is no Kubernetes label, and EKS would refuse it after the cluster was made. Key and "
                "value are at most 63 letters, digits, -, _ and ., with a letter or digit at both ends; the key may "
                "have a DNS name before it, like example.com/team: platform."
            )
    return labels


NodeLabels = Annotated[dict[str, str], AfterValidator(check_node_labels)]
"""Labels that EKS gives nodes."""
