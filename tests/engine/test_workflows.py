import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from local_cloud.stacks import ROOT
from tests.delivery.jobs import Done, Runner, offer_release
from tests.engine.copies import copy_repository, link_packages
from tools import locate

if TYPE_CHECKING:
    from conftest import BroughtUp

    from tests.conftest import Forge

pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]

STACKS = ("dev", "stg", "prod")
PULL_REQUEST = 7
PREFIX = "eks-node-local-dns:"


@dataclass
class Checkout(Runner):
    """A copy of the repository in which jobs run."""

    def set(self, key: str, value: object) -> None:
        """Change one key of the stack file of dev, as a branch would."""
        path = self.directory / "stacks" / "Pulumi.dev.yaml"
        document = yaml.safe_load(path.read_text())
        document["config"][PREFIX + key] = value
        path.write_text(yaml.safe_dump(document))

    def take_back(self) -> None:
        """Return to what is on the main branch."""
        shutil.copy2(ROOT / "stacks" / "Pulumi.dev.yaml", self.directory / "stacks")

    def preview(self) -> Done:
        """Preview the stack that is up; what it prints also stands for the stacks that are not."""
        return self.run("pull-request", "preview")

    def stand_in(self, folder: str) -> None:
        """Let the output about dev stand for the stacks that are not up here."""
        for name in STACKS[1:]:
            shutil.copy2(self.directory / folder / "dev.json", self.directory / folder / f"{name}.json")


@pytest.fixture
def checkout(brought_up: "BroughtUp", forge: "Forge", tmp_path: Path) -> Checkout:
    """Copy the repository, with its packages installed, for a runner that works for the forge's stand-in."""
    directory = tmp_path / "checkout"
    copy_repository(directory)
    link_packages(directory)
    (tmp_path / "runner").mkdir()
    environment = {
        **brought_up.cloud.environment,
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "RUNNER_TEMP": str(tmp_path / "runner"),
        "GITHUB_API_URL": forge.address,
        "GITHUB_REPOSITORY": "acme/infrastructure",
    }
    environment.pop("GITLAB_CI", None)
    values = {
        "vars.PULUMI_BACKEND_URL": environment["PULUMI_BACKEND_URL"],
        "matrix.stack": "dev",
        "inputs.stack": "dev",
        "github.token": forge.token,
        "github.event.pull_request.number": str(PULL_REQUEST),
    }
    return Checkout(directory, environment, values)


def _comment(forge: "Forge") -> str:
    [comment] = forge.comments[PULL_REQUEST]
    return str(comment["body"])


def test_a_changed_time_to_live_becomes_one_comment_that_says_what_dns_feels(
    checkout: Checkout, forge: "Forge"
) -> None:
    """The branch is previewed, and the pull request has one comment, also after the job has run twice."""
    unchanged = checkout.preview()
    assert not unchanged.failed, unchanged.text
    checkout.stand_in("previews")
    assert not checkout.run("pull-request", "comment").failed
    assert "### dev: no changes" in _comment(forge)

    checkout.set("nodeLocalDns", {"corefile": {"external": {"successTtl": 60}}})
    changed = checkout.preview()
    assert not changed.failed, changed.text
    written = checkout.run("pull-request", "comment")
    assert not written.failed, written.text
    text = _comment(forge)
    assert "### dev: 2 to update" in text
    assert "### stg: no changes" in text
    assert "DNS: every cache pod is replaced" in text
    assert "Replaced or deleted" not in text
    assert "2 to update" in Path(checkout.environment["GITHUB_STEP_SUMMARY"]).read_text()
    job = ["Install the packages", "Preview", "Summary"]
    assert checkout.ran == [*job, "Install the packages", "Comment"] * 2


def test_gitlab_writes_the_same_as_a_note(checkout: Checkout, forge: "Forge", tmp_path: Path) -> None:
    """The pipeline's own lines preview the stack with the released CLI, and write one note on the merge request."""
    offer_release(tmp_path, Path(locate("pulumi")))
    checkout.environment = {
        **checkout.environment,
        "PATH": f"{tmp_path / 'bin'}:{checkout.environment['PATH']}",
        "GITLAB_CI": "true",
        "CI_API_V4_URL": forge.address,
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": str(PULL_REQUEST),
        "GITLAB_TOKEN": forge.token,
        "AWS_TOKEN": "token",
    }
    checkout.set("nodeLocalDns", {"corefile": {"external": {"successTtl": 60}}})
    previewed = checkout.run_gitlab("preview-dev")
    assert not previewed.failed, previewed.text
    checkout.stand_in("previews")
    written = checkout.run_gitlab("comment")
    assert not written.failed, written.text
    assert "### dev: 2 to update" in _comment(forge)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"vpcCni": {"podSecurityGroupEnforcingMode": "strict"}},
            ["### dev: **failed**", "podSecurityGroupEnforcingMode is strict", "Set the mode to standard"],
        ),
        (
            {"vpcCni": {"podSecurityGroupEnforcingMode": "strict"}, "nodeLocalDns": {"enabled": False}},
            ["### dev: **stopped by policy**", "**mandatory**", "POD_SECURITY_GROUP_ENFORCING_MODE is strict"],
        ),
    ],
    ids=["by the program", "by policy"],
)
def test_the_dangerous_mode_is_stopped_in_the_pull_request(
    checkout: Checkout, forge: "Forge", settings: Mapping[str, object], said: list[str]
) -> None:
    """The preview job fails, so nothing can be merged, and the comment says why and what to do."""
    for key, value in settings.items():
        checkout.set(key, value)
    assert checkout.preview().failed
    checkout.stand_in("previews")
    assert not checkout.run("pull-request", "comment").failed
    for each in said:
        assert each in _comment(forge)
    assert said[0] in Path(checkout.environment["GITHUB_STEP_SUMMARY"]).read_text()


def _command(checkout: Checkout, *command: str) -> str:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=dict(checkout.environment),
        timeout=240,
        cwd=checkout.directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _edit_behind_our_back(checkout: Checkout, cluster: str) -> None:
    """Do what somebody with a console and somebody with kubectl would do."""
    addon = ("--cluster-name", cluster, "--addon-name", "vpc-cni")
    shown = json.loads(_command(checkout, "aws", "eks", "describe-addon", *addon))
    configuration = json.loads(shown["addon"]["configurationValues"])
    configuration["env"]["POD_SECURITY_GROUP_ENFORCING_MODE"] = "strict"
    _command(checkout, "aws", "eks", "update-addon", *addon, "--configuration-values", json.dumps(configuration))
    patch = json.dumps({"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "50%"}}}})
    kubectl = ("kubectl", "-n", "kube-system", "patch", "daemonset/node-local-dns", "--type=strategic")
    _command(checkout, *kubectl, f"--patch={patch}")


def test_drift_is_what_hands_changed_and_not_what_was_merged(
    checkout: Checkout, forge: "Forge", brought_up: "BroughtUp", tmp_path: Path
) -> None:
    """A merged change is no drift; an add-on and a DaemonSet edited by hand are one issue, closed when all is back."""
    outputs = brought_up.stack.outputs()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(outputs["kubeconfig"])
    checkout.environment = {**checkout.environment, "KUBECONFIG": str(kubeconfig)}
    # Merged and not deployed yet: no hand has changed that.
    checkout.set("nodeLocalDns", {"corefile": {"external": {"successTtl": 60}}})
    looked = checkout.run("drift", "look")
    checkout.take_back()
    assert not looked.failed, looked.text
    checkout.stand_in("drift")
    assert not checkout.run("drift", "report").failed
    assert forge.issues == []

    try:
        _edit_behind_our_back(checkout, outputs["clusterName"])
        looked = checkout.run("drift", "look")
        assert not looked.failed, looked.text
        reports = [checkout.run("drift", "report") for _night in range(2)]
    finally:
        _command(checkout, "pulumi", "up", "--refresh", "--stack", "dev", "--non-interactive", "--yes")
    assert [each.status for each in reports] == [1, 1], reports
    [issue] = forge.issues
    assert issue["title"] == "Drift: dev changed by hand"
    assert "### dev: 2 changed" in issue["body"]
    assert "`cluster-vpc-cni` (Addon)" in issue["body"]
    assert '"standard" -> "strict"' in issue["body"]
    assert "the CNI changes to strict. Every pod with a security group" in issue["body"]
    assert "`node-local-dns` (DaemonSet)" in issue["body"]
    assert "maxSurge" in issue["body"]
    assert "maxUnavailable" in issue["body"]

    looked = checkout.run("drift", "look")
    assert not looked.failed, looked.text
    assert not checkout.run("drift", "report").failed
    assert issue["state"] == "closed"
    assert brought_up.stack.preview().changes() == []


def test_what_was_merged_is_brought_up(checkout: Checkout, brought_up: "BroughtUp", tmp_path: Path) -> None:
    """The deployment changes the cluster, under the policies; and the same job brings the earlier state back."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(brought_up.stack.outputs()["kubeconfig"])
    corefile = (
        "kubectl",
        f"--kubeconfig={kubeconfig}",
        "-n",
        "kube-system",
        "get",
        "configmap/node-local-dns",
        "-oyaml",
    )
    before = _command(checkout, *corefile)
    checkout.set("nodeLocalDns", {"corefile": {"external": {"successTtl": 60}}})
    try:
        done = checkout.run("deploy-stack", "up")
        assert "success 9984 60" in _command(checkout, *corefile)
    finally:
        checkout.take_back()
        back = checkout.run("deploy-stack", "up")
    assert checkout.ran == ["Install the packages", "Up", "Verify"] * 2
    for each in (done, back):
        # The local cloud's nodes run no pod, so that the last step cannot tell whether DNS works, and says so.
        assert (each.failed_step, each.status) == ("Verify", 2), each.text
        assert "the node is not ready: " in each.text  # what follows depends on how long it has been there
        assert "Could not tell: not everything could be looked at." in each.text
    assert "success 9984 60" not in before
    assert yaml.safe_load(_command(checkout, *corefile))["data"] == yaml.safe_load(before)["data"]
    assert brought_up.stack.preview().changes() == []


def test_a_violation_stops_the_deployment_too(checkout: Checkout, brought_up: "BroughtUp") -> None:
    """What got past the pull request is stopped before it changes anything."""
    checkout.set("vpcCni", {"podSecurityGroupEnforcingMode": "strict"})
    checkout.set("nodeLocalDns", {"enabled": False})
    done = checkout.run("deploy-stack", "up")
    assert done.failed_step == "Up"
    assert checkout.ran == ["Install the packages", "Up"]
    assert "POD_SECURITY_GROUP_ENFORCING_MODE is strict" in done.text
    assert brought_up.stack.preview().changes() == []
