"""The documented way to keep state in S3 with KMS, followed with the documented roles, whose rights are enforced.

What stands in for AWS judges the roles' policies, not who may assume them; and those on KMS without their key.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from local_cloud.cloud import REGION, LocalCloud, locate_programs
from local_cloud.stacks import ROOT
from tests.engine.commands import run, succeeded
from tests.engine.copies import copy_repository

pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]

DOCS = (ROOT / "docs" / "delivery.md").read_text()
BUCKET, ALIAS = "acme-pulumi-state", "alias/pulumi-state"
SECRET = "sesame"  # noqa: S105  # of the test
PROGRAM = f"""
import subprocess

import pulumi

pulumi.export("secret", pulumi.Output.secret("{SECRET}"))
listed = subprocess.run(["aws", "s3", "ls", "--recursive", "s3://{BUCKET}"], check=True, capture_output=True, text=True)
pulumi.export("objects", listed.stdout.split())
"""


def documented(pattern: str) -> str:
    """Return what the documentation says there, which has to be one place."""
    [found] = re.findall(pattern, DOCS, re.DOTALL)
    return str(found)


def rights(role: str) -> list[str]:
    """Return the actions on state that the documentation gives a role."""
    return re.findall(r"`((?:s3|kms):\w+)`", documented(rf"\*\*The {role} role\*\*.*?\n- The state: (.*?)\n- "))


@dataclass
class State:
    """A bucket and a key, and environments of those who use them."""

    project: Path
    preview: Mapping[str, str]
    deployment: Mapping[str, str]


def aws(variables: Mapping[str, str], *command: str) -> Any:  # whatever it answers
    """Ask the cloud something."""
    return json.loads(succeeded(variables, ROOT, "aws", *command, "--output=json") or "null")


def assumed(owner: Mapping[str, str], name: str, allowed: list[str]) -> dict[str, str]:
    """Make a role as documented, and return the environment of a job that has assumed it."""
    trust = documented(r"```json\n(\{\n  \"Version\".*?)```").replace("111122223333", "123456789012")
    made = aws(owner, "iam", "create-role", f"--role-name={name}", f"--assume-role-policy-document={trust}")
    on_bucket = [each for each in allowed if each.startswith("s3:")]
    statements = [
        {"Effect": "Allow", "Action": on_bucket, "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]},
        {"Effect": "Allow", "Action": [each for each in allowed if each not in on_bucket], "Resource": "*"},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    aws(owner, "iam", "put-role-policy", f"--role-name={name}", "--policy-name=state", f"--policy-document={policy}")
    found = aws(
        owner, "sts", "assume-role-with-web-identity", f"--role-arn={made['Role']['Arn']}", "--role-session-name=job",
        "--web-identity-token=token-of-the-forge",
    )["Credentials"]  # fmt: skip
    return {
        **owner,
        "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
        "AWS_SESSION_TOKEN": found["SessionToken"],
    }


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """Return what the documentation asks for, on a cloud that enforces rights from then on."""
    project = tmp_path_factory.mktemp("project") / "repository"
    copy_repository(project)
    (project / "__main__.py").write_text(PROGRAM)
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True, timeout=60)
    with LocalCloud.start(tmp_path_factory.mktemp("cloud"), locate_programs()) as cloud:
        owner = {key: value for key, value in cloud.environment.items() if key != "PULUMI_CONFIG_PASSPHRASE"}
        aws(owner, "s3api", "create-bucket", f"--bucket={BUCKET}",
            f"--create-bucket-configuration=LocationConstraint={REGION}")  # fmt: skip
        aws(owner, "s3api", "put-bucket-versioning", f"--bucket={BUCKET}", "--versioning-configuration=Status=Enabled")
        key = aws(owner, "kms", "create-key")["KeyMetadata"]["KeyId"]
        aws(owner, "kms", "create-alias", f"--alias-name={ALIAS}", f"--target-key-id={key}")
        provider, audience = re.findall(r"\(`(https://\S+)`, audience `(\S+)`\)", DOCS)[0]
        aws(owner, "iam", "create-open-id-connect-provider", f"--url={provider}", f"--client-id-list={audience}")
        preview = assumed(owner, "preview", rights("preview"))
        deployment = assumed(owner, "deployment", [*rights("preview"), *rights("deployment")])
        httpx.post(f"{cloud.record.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
        yield State(project, preview, deployment)


def test_state_in_s3_with_kms(state: State) -> None:
    """The commands work as written, the stack file tells the key, and state has no secret in the clear."""
    project, changed = state.project, ("--yes", "--skip-preview", "--non-interactive", "--stack=dev")
    commands = documented(r"```bash\n(export PULUMI_BACKEND_URL='s3://.*?)```")
    backend = re.search(r"PULUMI_BACKEND_URL='(\S+)'", commands)
    assert backend is not None
    before = (project / "stacks" / "Pulumi.dev.yaml").read_text()
    succeeded(state.deployment, project, "bash", "-euc", commands)
    file = (project / "stacks" / "Pulumi.dev.yaml").read_text()
    assert yaml.safe_load(file)["secretsprovider"].startswith(f"awskms://{ALIAS}?")
    assert yaml.safe_load(file)["encryptedkey"]
    assert yaml.safe_load(file)["config"] == yaml.safe_load(before)["config"]
    assert succeeded(state.deployment, project, "git", "diff", "--cached", "--name-only") == "stacks/Pulumi.dev.yaml\n"

    deployer, viewer = ({**who, "PULUMI_BACKEND_URL": backend[1]} for who in (state.deployment, state.preview))
    succeeded(deployer, project, "pulumi", "up", *changed)
    outputs = json.loads(succeeded(deployer, project, "pulumi", "stack", "output", "--json", "--show-secrets"))
    assert outputs["secret"] == SECRET
    assert any(each.startswith(".pulumi/locks/") for each in outputs["objects"])
    written = succeeded(deployer, project, "aws", "s3", "ls", "--recursive", f"s3://{BUCKET}").split()
    assert not any(each.startswith(".pulumi/locks/") for each in written)
    [checkpoint] = [each for each in written if re.fullmatch(r"\.pulumi/stacks/.*/dev\.json", each)]
    assert SECRET not in succeeded(deployer, project, "aws", "s3", "cp", f"s3://{BUCKET}/{checkpoint}", "-")

    # The preview role reads, and that is all.
    for looks in (("preview",), ("refresh", "--preview-only")):
        succeeded(viewer, project, "pulumi", *looks, "--non-interactive", "--stack=dev")
    refused = run(viewer, project, "pulumi", "up", *changed)
    assert refused.returncode != 0
    assert "AccessDenied" in refused.stdout + refused.stderr
    key = f"--secrets-provider=awskms://{ALIAS}?region={REGION}"
    refused = run(viewer, project, "pulumi", "stack", "init", "other", key, "--non-interactive")
    assert refused.returncode != 0
    assert "Encrypt" in refused.stdout + refused.stderr

    # A runner died: what it left keeps others out until somebody says so.
    [lock] = [each for each in outputs["objects"] if each.startswith(".pulumi/locks/")]
    succeeded(deployer, project, "bash", "-c", f"echo '{{}}' | aws s3 cp - s3://{BUCKET}/{lock}")
    held = run(deployer, project, "pulumi", "up", *changed)
    assert held.returncode != 0
    assert "currently locked" in held.stdout + held.stderr
    succeeded(deployer, project, "pulumi", "cancel", "--stack=dev", "--yes")
    succeeded(deployer, project, "pulumi", "destroy", *changed)
