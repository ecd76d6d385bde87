import pytest
from moto.ec2.models.instance_types import INSTANCE_TYPES
from pulumi_aws.ec2 import InstanceType

from components.cluster.eks_cluster import check_trunk_capable
from components.cluster.instance_types import architecture, branch_interface_limit, can_trunk, instance_family


@pytest.mark.parametrize(
    "instance_type", ["m6i.large", "m5.large", "c7g.medium", "m7g.large", "i3.metal", "i4i.large", "c5.large"]
)
def test_nitro_types_can_trunk(instance_type: str) -> None:
    """Nodes of these types carry pods with security groups."""
    assert can_trunk(instance_type)


@pytest.mark.parametrize(
    "instance_type",
    ["t3.medium", "t3a.large", "t4g.small", "t2.micro", "m4.large", "i3.large", "r4.large"],
)
def test_other_types_cannot_and_are_named(instance_type: str) -> None:
    """The refusal names each type once; with one that can beside them there is a place for such pods."""
    with pytest.raises(ValueError, match="would stay Pending") as refused:
        check_trunk_capable((instance_type, "t2.large", instance_type))
    assert str(refused.value).startswith(f"{instance_type}, t2.large cannot")
    check_trunk_capable((instance_type, "m6i.large"))


EVERY_TYPE = {name: each["ProcessorInfo"]["SupportedArchitectures"] for name, each in INSTANCE_TYPES.items()}
"""What DescribeInstanceTypes answered when moto took it down, without what runs macOS only."""
OF_A_NODE = {name: known for name, known in EVERY_TYPE.items() if not name.startswith("mac")}


def test_every_type_that_aws_has_is_one_and_has_the_architecture_that_aws_says() -> None:
    """The name tells; nobody has to say it again in a setting."""
    assert len(OF_A_NODE) > 1000
    assert {name: architecture([name]) for name in OF_A_NODE if architecture([name]) not in OF_A_NODE[name]} == {}
    assert all(instance_family(each.value) for each in InstanceType if not each.value.startswith("mac"))


@pytest.mark.parametrize("types", [("m6i.large", "m7g.large"), ("t4g.medium", "a1.large", "c5.large")])
def test_a_group_has_one_architecture(types: tuple[str, ...]) -> None:
    """EKS starts all nodes of a group from one image."""
    with pytest.raises(ValueError, match="start from one image"):
        architecture(types)


def test_a_mixed_group_is_told_which_are_which() -> None:
    """Each on its side, one or several."""
    with pytest.raises(ValueError, match=r"^m7g\.large is arm64 and m6i\.large, c5\.large are x86_64: the nodes"):
        architecture(["m6i.large", "m7g.large", "c5.large"])
    with pytest.raises(ValueError, match=r"^m7g\.large, a1\.large are arm64 and m6i\.large is x86_64: the nodes"):
        architecture(["m7g.large", "a1.large", "m6i.large"])
    with pytest.raises(ValueError, match="is not an EC2 instance type"):
        architecture(["m6i.large", "m6i"])


@pytest.mark.parametrize(
    ("instance_type", "limit"),
    [
        ("m6i.large", 9),
        ("c7g.medium", 4),
        ("m7i-flex.large", 3),
        ("c5.metal", 107),
        ("m6i.metal", None),  # of the size nobody has said it
        ("m12z.large", None),
        ("t3.large", 0),
        ("i3.large", 0),
        ("i3.metal", None),
    ],
)
def test_branch_interfaces_of_a_node(instance_type: str, limit: int | None) -> None:
    """None where the table has no figure, and 0 where there is none to have."""
    assert branch_interface_limit(instance_type) == limit


@pytest.mark.parametrize(
    "text",
    [
        "m6i",
        ".large",
        "m6i.",
        "",
        "T3.large",
        "m6i.lrage",
        "m6i.Large",
        "m6i.0xlarge",
        "m6i.2large",
        "m6i.large ",
        "mac2.metal",
    ],
)
def test_what_is_no_instance_type_is_refused(text: str) -> None:
    """A family alone is not a type, nor is what differs from one by a letter."""
    with pytest.raises(ValueError, match="is not an EC2 instance type"):
        instance_family(text)


def test_a_family_of_tomorrow_is_let_through() -> None:
    """What has the shape of a type may be newer than this program; the plan warns of it."""
    assert architecture(["m12zgn.metal-128xl"]) == "arm64"
    assert can_trunk("m12z.large")
