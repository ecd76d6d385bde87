import json
from typing import Any

import pytest

from components.running_cluster.aws_identity import AwsIdentity
from components.running_cluster.kubeconfig import as_identity, kubeconfig

ROLE = "arn:aws:iam::111122223333:role/deploy"


def made(identity: AwsIdentity) -> str:
    """Return the kubeconfig of one cluster."""
    return kubeconfig(
        cluster_name="shop",
        region="eu-central-1",
        endpoint="https://e",
        certificate_authority="Y2E=",
        identity=identity,
    )


def asked(text: str) -> list[str]:
    """Return the arguments with which a kubeconfig's token is asked for."""
    [user] = json.loads(text)["users"]
    return user["user"]["exec"]["args"]


def test_it_is_what_it_is() -> None:
    """The form of pulumi-eks: JSON is asked for, whatever the profile's output is, and nobody is named."""
    assert json.loads(made(AwsIdentity())) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "kubernetes", "cluster": {"server": "https://e", "certificate-authority-data": "Y2E="}}
        ],
        "contexts": [{"name": "aws", "context": {"cluster": "kubernetes", "user": "aws"}}],
        "current-context": "aws",
        "users": [
            {
                "name": "aws",
                "user": {
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1beta1",
                        "command": "aws",
                        "args": [
                            "--region", "eu-central-1", "eks", "get-token", "--cluster-name", "shop",
                            "--output", "json",
                        ],
                        "env": [
                            {
                                "name": "KUBERNETES_EXEC_INFO",
                                "value": '{"apiVersion": "client.authentication.k8s.io/v1beta1"}',
                            }
                        ],
                    }
                },
            }
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "before", "after"),
    [
        (AwsIdentity(), [], []),
        (AwsIdentity(profile="shop"), ["--profile", "shop"], []),
        (AwsIdentity(role_arn=ROLE), [], ["--role-arn", ROLE]),
        (AwsIdentity("shop", ROLE), ["--profile", "shop"], ["--role-arn", ROLE]),
    ],
)
def test_the_token_is_the_identitys(identity: AwsIdentity, before: list[str], after: list[str]) -> None:
    """The profile is an option of every command, the role one of get-token alone; both ways of saying it agree."""
    assert asked(made(identity)) == [
        "--region", "eu-central-1", *before, "eks", "get-token", "--cluster-name", "shop", "--output", "json", *after,
    ]  # fmt: skip
    given = asked(as_identity(made(AwsIdentity()), identity))
    assert given == [*before, *asked(made(AwsIdentity())), *after]


@pytest.mark.parametrize(
    "user",
    [
        {"token": "t"},
        {"exec": {"command": "gke-gcloud-auth-plugin", "args": ["get-token"]}},
        {"exec": {"command": "aws", "args": ["sts"]}},
        {"exec": {"command": "aws"}},
    ],
)
def test_other_tokens_stay_as_they_are(user: dict[str, Any]) -> None:
    """Only what is known to be EKS' is told who it is."""
    given = {"users": [{"name": "x", "user": user}]}
    assert json.loads(as_identity(json.dumps(given), AwsIdentity("shop", ROLE))) == given


def test_without_an_identity_the_text_stays_as_it_is() -> None:
    """Whatever it is written in."""
    assert as_identity("users: []  # nobody", AwsIdentity()) == "users: []  # nobody"
    assert json.loads(as_identity("users: []  # nobody", AwsIdentity("shop"))) == {"users": []}
