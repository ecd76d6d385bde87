import re
from typing import Any

import pytest

from components.running_cluster.aws_identity import KEYS, AwsIdentity

ROLE = "arn:aws:iam::111122223333:role/deploy"


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ({}, AwsIdentity()),
        ({"region": "eu-central-1", "defaultTags": "{}"}, AwsIdentity()),
        ({"profile": "shop"}, AwsIdentity(profile="shop")),
        ({"assumeRoles": f'[{{"roleArn": "{ROLE}"}}]'}, AwsIdentity(role_arn=ROLE)),
        ({"assumeRoles": [{"roleArn": ROLE, "sessionName": "ci"}]}, AwsIdentity(role_arn=ROLE)),
        ({"assumeRole": f'{{"roleArn": "{ROLE}"}}'}, AwsIdentity(role_arn=ROLE)),
        ({"profile": "shop", "assumeRoles": [{"roleArn": ROLE}]}, AwsIdentity("shop", ROLE)),
        ({"profile": "", "assumeRoles": "[]", "token": None}, AwsIdentity()),
    ],
)
def test_the_identity_of_a_configuration(configuration: dict[str, Any], expected: AwsIdentity) -> None:
    """Profile and role as the provider takes them; what does not decide who it is does not count."""
    assert AwsIdentity.configured(configuration) == expected


@pytest.mark.parametrize(
    ("configuration", "key", "remedy"),
    [
        ({"accessKey": "AKIA"}, "accessKey", "Put it into a profile"),
        ({"secretKey": "s"}, "secretKey", "AWS_SECRET_ACCESS_KEY"),
        ({"token": "t"}, "token", "AWS_SESSION_TOKEN"),
        ({"assumeRoleWithWebIdentity": '{"roleArn": "x"}'}, "assumeRoleWithWebIdentity", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ({"sharedConfigFiles": '["a"]'}, "sharedConfigFiles", "AWS_CONFIG_FILE"),
        ({"sharedCredentialsFiles": '["a"]'}, "sharedCredentialsFiles", "AWS_SHARED_CREDENTIALS_FILE"),
        ({"assumeRoles": [{"roleArn": ROLE}, {"roleArn": ROLE}]}, "assumeRoles", "there are 2. Put the first of them"),
        ({"assumeRoles": [{"roleArn": ROLE, "externalId": "x"}]}, "assumeRoles", "Put role and external_id into"),
        ({"assumeRole": {"roleArn": ROLE, "externalId": "x"}}, "assumeRole", "Put role and external_id into"),
    ],
)
def test_what_no_kubeconfig_can_be_told_is_refused(configuration: dict[str, Any], key: str, remedy: str) -> None:
    """By key, with the reason and what to do; a secret's value is not repeated."""
    with pytest.raises(ValueError, match=rf"^aws:{key}: it decides who makes the AWS resources, .*{re.escape(remedy)}"):
        AwsIdentity.configured(configuration)


def test_every_mistake_is_told_at_once() -> None:
    """One line for each key."""
    with pytest.raises(ValueError, match="aws:accessKey") as caught:
        AwsIdentity.configured({"accessKey": "a", "secretKey": "b", "assumeRoles": [{}, {}]})
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [
        "aws:accessKey",
        "aws:secretKey",
        "aws:assumeRoles",
    ]


def test_all_keys_that_decide_are_looked_at() -> None:
    """Those of the provider's configuration (pulumi-aws 7) by which it gets credentials."""
    assert set(KEYS) == {
        "profile", "assumeRole", "assumeRoles", "assumeRoleWithWebIdentity", "accessKey", "secretKey", "token",
        "sharedConfigFiles", "sharedCredentialsFiles",
    }  # fmt: skip
