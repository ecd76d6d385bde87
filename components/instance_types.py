"""Which instance types can carry branch network interfaces, which security groups for pods are made of.

Source: aws/amazon-vpc-resource-controller-k8s, pkg/aws/vpc/limits.go, generated 2026-03-20.
"""

NO_TRUNK_FAMILIES = frozenset(
    [
        *("c1", "c3", "c4", "d2", "f1", "h1", "i2", "m1", "m2", "m3", "m4", "p3", "r3", "r4"),
        *("t1", "t2", "t3", "t3a", "t4g", "u-6tb1", "x1", "x1e"),
    ]
)
"""Families of which no size can have a trunk interface."""


def instance_family(instance_type: str) -> str:
    """Return the family of an instance type: `m6i` of `m6i.large`. Raises `ValueError` if it is none."""
    family, dot, size = instance_type.partition(".")
    if not (family and dot and size):
        raise ValueError(f"{instance_type!r} is not an EC2 instance type. Write it like m6i.large.")
    return family


def can_trunk(instance_type: str) -> bool:
    """Say whether nodes of this type can carry branch interfaces."""
    family = instance_family(instance_type)
    if family == "i3":
        return instance_type == "i3.metal"
    return family not in NO_TRUNK_FAMILIES and instance_type != "i4i.large"
