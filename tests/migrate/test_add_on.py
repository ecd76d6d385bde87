"""What is known of the vpc-cni add-on, and how it is asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.running_cluster.kubeconfig import kubeconfig
from migrate.add_on import AddOn, ask, command, judged


def user(*args: str, program: str = "aws", **env: str) -> dict[str, Any]:
    """Return a user of a kubeconfig that gets its token so."""
    variables = [{"name": key, "value": value} for key, value in env.items()]
    return {"exec": {"command": program, "args": list(args), "env": variables}}


DESCRIBE = ["eks", "describe-addon", "--cluster-name", "shop", "--addon-name", "vpc-cni", "--output", "json"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (user("eks", "get-token", "--cluster-name", "shop"), ["aws", *DESCRIBE]),
        (
            user(
                "--region", "eu-central-1", "eks", "get-token", "--cluster-name=shop", "--output", "json", "--role", "r"
            ),
            ["aws", "--region", "eu-central-1", *DESCRIBE],
        ),
        (
            user("eks", "get-token", "--cluster-name", "shop", "--profile", "p", program="/opt/bin/aws"),
            ["/opt/bin/aws", "--profile", "p", *DESCRIBE],
        ),
        (user("token", "-i", "shop", program="aws-iam-authenticator"), None),
        (user("eks", "get-token"), None),
        (user("eks", "get-token", "--cluster-name", "shop", program="aws-vault"), None),
        (user("eks", "describe-cluster", "--cluster-name", "shop"), None),
        ({"token": "t"}, None),
        ({}, None),
    ],
)
def test_eks_is_asked_as_the_kubeconfig_asks_it_for_a_token(given: dict[str, Any], expected: list[str] | None) -> None:
    """The same command, region and profile; of another kubeconfig nothing is guessed."""
    assert command(given) == expected


def test_the_programs_own_kubeconfig_is_understood() -> None:
    """It is the one that `--stack` takes."""
    text = kubeconfig(cluster_name="shop", region="eu-central-1", endpoint="https://e", certificate_authority="Y2E=")
    assert command(json.loads(text)["users"][0]["user"]) == ["aws", "--region", "eu-central-1", *DESCRIBE]


NO_MODE = "The vpc-cni add-on asks for no mode, and without one aws-node is in strict mode."


ABSENT = (
    "An error occurred (ResourceNotFoundException) when calling the DescribeAddon operation: No addon: vpc-cni found"
)
NO_CLUSTER = "An error occurred (ResourceNotFoundException): No cluster found for name: shop"
DENIED = "An error occurred (AccessDeniedException):\nnot authorized"
NOT_ASKED = "The vpc-cni add-on was not asked for its mode: An error occurred (AccessDeniedException): not authorized."
STANDARD = '{"env":{"POD_SECURITY_GROUP_ENFORCING_MODE":"standard"}}'
STRICT = "env: {POD_SECURITY_GROUP_ENFORCING_MODE: strict}"


@pytest.mark.parametrize(
    ("code", "values", "error", "expected"),
    [
        (0, STANDARD, "", AddOn("standard", "The vpc-cni add-on asks for standard mode.")),
        (0, STRICT, "", AddOn("strict", "The vpc-cni add-on asks for strict mode.")),
        (0, "{}", "", AddOn(None, NO_MODE)),
        (0, None, "", AddOn(None, NO_MODE)),
        (254, None, ABSENT, AddOn(None, "aws-node is no EKS add-on.")),
        (254, None, DENIED, AddOn(None, NOT_ASKED)),
        (254, None, NO_CLUSTER, AddOn(None, f"The vpc-cni add-on was not asked for its mode: {NO_CLUSTER}.")),
        (3, None, "", AddOn(None, "The vpc-cni add-on was not asked for its mode: its command ended with 3.")),
        (0, STANDARD, ABSENT, AddOn("standard", "The vpc-cni add-on asks for standard mode.")),
    ],
)
def test_what_eks_answers(code: int, values: str | None, error: str, expected: AddOn) -> None:
    """Each answer in full; not to know it ends nothing."""
    unreadable = AddOn(
        None, "The vpc-cni add-on was not asked for its mode: its command printed something else than the add-on."
    )
    assert judged(0, "what?", "") == judged(0, "[]", "") == unreadable
    text = json.dumps({"addon": {} if values is None else {"configurationValues": values}}) if code == 0 else ""
    assert judged(code, text, error) == expected


def test_the_command_is_run_with_the_kubeconfigs_environment(tmp_path: Path) -> None:
    """As it is for the token."""
    program = tmp_path / "aws"
    answer = '{"addon":{"configurationValues":"{\\"env\\":{\\"POD_SECURITY_GROUP_ENFORCING_MODE\\":\\"%s\\"}}"}}'
    program.write_text(f"#!/bin/sh\nprintf '{answer}' \"$WHICH\"\n")
    program.chmod(0o755)
    asked = user("eks", "get-token", "--cluster-name", "shop", program=str(program), WHICH="strict")
    assert ask(asked) == AddOn("strict", "The vpc-cni add-on asks for strict mode.")


def test_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    """A kubeconfig of another kind, and a command that is not there."""
    assert ask({}) == AddOn(
        None,
        "The vpc-cni add-on was not asked for its mode: the kubeconfig names no cluster of EKS (its user has no `aws "
        "eks get-token`).",
    )
    program = str(tmp_path / "aws")
    assert ask(user("eks", "get-token", "--cluster-name", "shop", program=program)) == AddOn(
        None,
        f"The vpc-cni add-on was not asked for its mode: [Errno 2] No such file or directory: {program!r}.",
    )


def test_what_the_command_says_of_its_failure_is_told(tmp_path: Path) -> None:
    """A command that ends badly is no end of ours."""
    program = tmp_path / "aws"
    program.write_text("#!/bin/sh\necho 'Unable to locate credentials' >&2; exit 253\n")
    program.chmod(0o755)
    assert ask(user("eks", "get-token", "--cluster-name", "shop", program=str(program))) == AddOn(
        None, "The vpc-cni add-on was not asked for its mode: Unable to locate credentials."
    )
