"""What follows from an instance type's name: its architecture, and how many branch network interfaces it can carry.

Branch interfaces are what security groups for pods are made of. Source:
aws/amazon-vpc-resource-controller-k8s v1.8.2, pkg/aws/vpc/limits.go, generated 2026-09-02.
"""

import re
from collections.abc import Sequence
from typing import Literal

Architecture = Literal["x86_64", "arm64"]

_TYPE = re.compile(
    r"(?!mac)(?P<family>[a-z]+\d+[a-z]*(?:-[a-z0-9]+)?|u-\d+tb\d)"
    r"\.(?:nano|micro|small|medium|large|(?:[1-9]\d*)?xlarge|metal(?:-[1-9]\d*xl)?)"
)

NO_TRUNK_FAMILIES = frozenset(
    [
        *("c1", "c3", "c4", "d2", "f1", "h1", "i2", "m1", "m2", "m3", "m4", "p3", "r3", "r4"),
        *("t1", "t2", "t3", "t3a", "t4g", "u-6tb1", "x1", "x1e"),
    ]
)
"""Families of which no size can have a trunk interface."""

_SMALL = {"large": 9, "xlarge": 18, "2xlarge": 38, "4xlarge": 54}
_GRAVITON = {"medium": 4, **_SMALL, "8xlarge": 54, "12xlarge": 54, "16xlarge": 107}
_FIFTH = {**_SMALL, "8xlarge": 54, "12xlarge": 54, "16xlarge": 107, "24xlarge": 107}
_LARGER = {**_SMALL, "8xlarge": 84, "12xlarge": 114, "16xlarge": 107, "24xlarge": 107}
_FLEX = {"large": 3, "xlarge": 8, "2xlarge": 18, "4xlarge": 34, "8xlarge": 54, "12xlarge": 114, "16xlarge": 107}

BRANCH_INTERFACES: dict[str, dict[str, int]] = {
    "c5": {**_SMALL, "9xlarge": 54, "12xlarge": 54, "18xlarge": 107, "24xlarge": 107, "metal": 107},
    "c5a": _FIFTH,
    "c6a": _LARGER,
    "c6g": _GRAVITON,
    "c6i": _LARGER,
    "c7a": _LARGER,
    "c7g": _GRAVITON,
    "c7i": _LARGER,
    "c7i-flex": _FLEX,
    "c8g": _GRAVITON,
    "m5": _FIFTH,
    "m5a": _FIFTH,
    "m6a": _LARGER,
    "m6g": _GRAVITON,
    "m6i": _LARGER,
    "m7a": _LARGER,
    "m7g": _GRAVITON,
    "m7i": _LARGER,
    "m7i-flex": _FLEX,
    "m8g": _GRAVITON,
    "m8i": {**_SMALL, "8xlarge": 82, "12xlarge": 110, "16xlarge": 106, "24xlarge": 106},
    "r5": _FIFTH,
    "r5a": _FIFTH,
    "r6a": _LARGER,
    "r6g": _GRAVITON,
    "r6i": _LARGER,
    "r7a": _LARGER,
    "r7g": _GRAVITON,
    "r7i": _LARGER,
    "r8g": _GRAVITON,
}
"""Branch interfaces of a node, by family and size: pods with security groups that it holds. Not every type there is."""


def instance_family(instance_type: str) -> str:
    """Return the family of an instance type: `m6i` of `m6i.large`. Raises `ValueError` if it is none.

    Only the shape is judged: a family that is new to AWS tomorrow is one.
    """
    found = _TYPE.fullmatch(instance_type)
    if found is None:
        raise ValueError(f"{instance_type!r} is not an EC2 instance type for nodes. Write it like m6i.large.")
    return found["family"]


def architecture(instance_types: Sequence[str]) -> Architecture:
    """Return the architecture of a node group, whose nodes all start from one image.

    Graviton families have a `g` after the number of their generation: m7g, c6gn, im4gn; the first one is a1. Raises
    `ValueError` for none, for what is no instance type, and for types of both architectures.
    """
    arm = [each for each in instance_types if re.match(r"a1$|[a-z]+\d.*g", instance_family(each))]
    other = [each for each in instance_types if each not in arm]
    if arm and other:
        raise ValueError(
            f"{', '.join(arm)} {'is' if len(arm) == 1 else 'are'} arm64 and {', '.join(other)} "
            f"{'is' if len(other) == 1 else 'are'} x86_64: the nodes of a group start from one image, so EKS refuses "
            "to mix them. Make two node groups of them."
        )
    return "arm64" if arm else "x86_64"


def can_trunk(instance_type: str) -> bool:
    """Say whether nodes of this type can carry branch interfaces."""
    family = instance_family(instance_type)
    if family == "i3":
        return instance_type == "i3.metal"
    return family not in NO_TRUNK_FAMILIES


def branch_interface_limit(instance_type: str) -> int | None:
    """Return how many branch interfaces a node of this type can carry, None where the figure is not in the table."""
    if not can_trunk(instance_type):
        return 0
    family, _, size = instance_type.partition(".")
    return BRANCH_INTERFACES.get(family, {}).get(size)
