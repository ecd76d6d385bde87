import pytest

from components.cluster.principals import check_principal, short_name


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::111122223333:role/platform",
        "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-central-1/AWSReservedSSO_Admin_0123456789abcdef",
        "arn:aws:iam::111122223333:user/alice@example.com",
        "arn:aws-cn:iam::111122223333:role/platform",
        "arn:aws-us-gov:iam::111122223333:role/platform",
    ],
)
def test_roles_and_users_of_every_partition_are_taken(arn: str) -> None:
    """Whatever IAM calls them."""
    assert check_principal(arn) == arn


@pytest.mark.parametrize(
    "arn",
    [
        "alice",
        "",
        "arn:aws:iam::111122223333:root",
        "arn:aws:iam::1111:role/platform",
        "arn:aws:iam::111122223333:role/*",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::111122223333:group/platform",
        "arn:aws:sts::111122223333:assumed-role/platform/alice",
    ],
)
def test_what_is_no_role_or_user_is_refused(arn: str) -> None:
    """EKS would refuse it when the cluster is there."""
    with pytest.raises(ValueError, match="the cluster was made"):
        check_principal(arn)


def test_an_account_is_told_apart_from_what_is_no_arn() -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match=r"^arn:aws:iam::111122223333:root is an account, and EKS admits roles and"):
        check_principal("arn:aws:iam::111122223333:root")
    with pytest.raises(ValueError, match=r"^'alice' is not the ARN of an IAM role or user"):
        check_principal("alice")


def test_roles_of_one_name_have_names_apart() -> None:
    """Two accounts may both have a role `platform`; and one role has one name."""
    first, second = (f"arn:aws:iam::{account}:role/platform" for account in ("111122223333", "444455556666"))
    assert short_name(first) == "platform-1f58c1"
    assert short_name("arn:aws:iam::1:role/a/b/platform").startswith("platform-")
    assert short_name(first) != short_name(second)
