import pytest

from components.eks_cluster import check_trunk_capable
from components.instance_types import can_trunk, instance_family


@pytest.mark.parametrize(
    "instance_type", ["m6i.large", "m5.large", "c7g.medium", "m7g.large", "i3.metal", "i4i.xlarge", "c5.large"]
)
def test_nitro_types_can_trunk(instance_type: str) -> None:
    """Nodes of these types carry pods with security groups."""
    assert can_trunk(instance_type)


@pytest.mark.parametrize(
    "instance_type",
    ["t3.medium", "t3a.large", "t4g.small", "t2.micro", "m4.large", "i3.large", "i4i.large", "r4.large"],
)
def test_other_types_cannot_and_are_named(instance_type: str) -> None:
    """The refusal names the type at fault, and not the one that is fine."""
    with pytest.raises(ValueError, match="would stay Pending") as refused:
        check_trunk_capable(("m6i.large", instance_type))
    assert str(refused.value).startswith(f"{instance_type} cannot")


@pytest.mark.parametrize("text", ["m6i", ".large", "m6i.", ""])
def test_what_is_no_instance_type_is_refused(text: str) -> None:
    """A family alone is not a type."""
    with pytest.raises(ValueError, match="is not an EC2 instance type"):
        instance_family(text)
