"""Who gets into a cluster: by access entry and policy, as kubectl and the AWS CLI see it."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

_POLICY = "arn:aws:eks::aws:cluster-access-policy/"


@pytest.fixture
def stranger(account: Any, request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """Return an IAM user of this test's own and the environment of its shell."""
    name = request.node.name.split("[")[0].replace("_", "-")
    arn = account.iam.create_user(UserName=name)["User"]["Arn"]
    key = account.iam.create_access_key(UserName=name)["AccessKey"]
    return arn, {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def test_creator_is_administrator(account: Any, bare: str) -> None:
    """The creator's access entry has the cluster administrator's policy, and the kubeconfig as it is lets it in."""
    (creator,) = [
        arn for arn in account.eks.list_access_entries(clusterName=bare)["accessEntries"] if ":user/platform" in arn
    ]
    (policy,) = account.eks.list_associated_access_policies(clusterName=bare, principalArn=creator)[
        "associatedAccessPolicies"
    ]
    assert policy["policyArn"] == f"{_POLICY}AmazonEKSClusterAdminPolicy"
    assert account.run("kubectl", "--context", bare, "auth", "can-i", "*", "*").stdout.strip() == "yes"


def test_principal_without_entry_is_refused(account: Any, bare: str, stranger: tuple[str, dict[str, str]]) -> None:
    """A principal with valid credentials and no access entry is not let in; one made up is not either."""
    _arn, environment = stranger
    question = ("kubectl", "--context", bare, "get", "--raw", "/api/v1/nodes")
    refused = account.run(*question, environment=environment)
    assert refused.returncode != 0
    assert "must be logged in to the server (Unauthorized)" in refused.stderr
    invented = {"AWS_ACCESS_KEY_ID": "AKIAINVENTED", "AWS_SECRET_ACCESS_KEY": "x"}
    assert account.run(*question, environment=invented).returncode != 0


def test_policies_grant_what_they_say(account: Any, bare: str, stranger: tuple[str, dict[str, str]]) -> None:
    """View in one namespace reads there and nowhere else and changes nothing; taken away, it is gone."""
    arn, environment = stranger

    def can(*question: str) -> bool:
        found = account.run("kubectl", "--context", bare, "auth", "can-i", *question, environment=environment)
        return found.stdout.strip() == "yes"

    account.eks.create_access_entry(clusterName=bare, principalArn=arn)
    view = f"{_POLICY}AmazonEKSViewPolicy"
    account.eks.associate_access_policy(
        clusterName=bare,
        principalArn=arn,
        policyArn=view,
        accessScope={"type": "namespace", "namespaces": ["kube-sys*"]},
    )
    assert can("get", "pods", "-n", "kube-system")
    assert not can("get", "pods", "-n", "default")
    assert not can("delete", "pods", "-n", "kube-system")
    account.eks.delete_access_entry(clusterName=bare, principalArn=arn)
    with pytest.raises(ClientError, match="could not be found"):
        account.eks.describe_access_entry(clusterName=bare, principalArn=arn)


def test_assumed_role_is_its_role(account: Any, bare: str) -> None:
    """`aws eks get-token --role-arn` acts as the role, and the user name says which session it is."""
    role = account.iam.create_role(RoleName="deployer", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    account.eks.create_access_entry(clusterName=bare, principalArn=role, kubernetesGroups=["deployers"])
    token = account.run("aws", "eks", "get-token", "--cluster-name", bare, "--role-arn", role)
    bearer = json.loads(token.stdout)["status"]["token"]
    cluster = account.eks.describe_cluster(name=bare)["cluster"]
    who = account.run(
        "kubectl",
        "--kubeconfig=/dev/null",
        f"--server={cluster['endpoint']}",
        "--insecure-skip-tls-verify",
        f"--token={bearer}",
        "auth",
        "whoami",
        "-o",
        "json",
    )
    user = json.loads(who.stdout)["status"]["userInfo"]
    assert user["username"] == "arn:aws:sts::123456789012:assumed-role/deployer/EKSGetTokenAuth"
    assert "deployers" in user["groups"]


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        ("create_access_entry", {"principalArn": "arn:aws:iam::123456789012:role/nobody"}, "invalid principal"),
        (
            "create_access_entry",
            {"principalArn": "arn:aws:iam::123456789012:user/platform-engineer"},
            "already in use",
        ),
        (
            "associate_access_policy",
            {
                "principalArn": "arn:aws:iam::123456789012:user/platform-engineer",
                "policyArn": f"{_POLICY}AmazonEKSRootPolicy",
                "accessScope": {"type": "cluster"},
            },
            "ListAccessPolicies",
        ),
    ],
)
def test_refusals(account: Any, bare: str, operation: str, arguments: dict[str, Any], message: str) -> None:
    """Access entries refuse principals and policies that do not exist."""
    with pytest.raises(ClientError, match=message):
        getattr(account.eks, operation)(clusterName=bare, **arguments)


def test_pod_identity_association(account: Any, bare: str) -> None:
    """A service account has one association, which ends when it is deleted."""
    subject = {"clusterName": bare, "namespace": "apps", "serviceAccount": "web"}
    made = account.eks.create_pod_identity_association(**subject, roleArn=account.role)["association"]
    assert made["associationId"].startswith("a-")
    with pytest.raises(ClientError, match="Association already exists"):
        account.eks.create_pod_identity_association(**subject, roleArn=account.role)
    listed = account.eks.list_pod_identity_associations(clusterName=bare, namespace="apps")["associations"]
    assert [entry["associationId"] for entry in listed] == [made["associationId"]]
    account.eks.delete_pod_identity_association(clusterName=bare, associationId=made["associationId"])
    assert account.eks.list_pod_identity_associations(clusterName=bare)["associations"] == []


def test_managed_policies_exist(account: Any) -> None:
    """The AWS CLI finds both policies of the cluster role attached."""
    for policy in ("AmazonEKSClusterPolicy", "AmazonEKSVPCResourceController"):
        account.iam.attach_role_policy(RoleName="cluster", PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
    found = account.run("aws", "iam", "list-attached-role-policies", "--role-name", "cluster")
    names = {policy["PolicyName"] for policy in json.loads(found.stdout)["AttachedPolicies"]}
    assert names == {"AmazonEKSClusterPolicy", "AmazonEKSVPCResourceController"}
