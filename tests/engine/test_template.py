"""`pulumi new` with this repository as its template, by the real command; no cloud is asked."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from delivery.preview import Preview, read
from local_cloud.cloud import environment, locate_programs
from local_cloud.layout import Layout
from tests.engine.copies import copy_repository, link_packages

pytestmark = pytest.mark.engine

PROMPTS = (
    "Project name",
    "Project description",
    "Stack name",
    "aws:region",
    "cluster.name",
    "cluster.publicAccessCidrs",
)


@dataclass
class Made:
    """A project that `pulumi new` has made, and what was said meanwhile."""

    directory: Path
    said: str
    environment: Mapping[str, str]

    def preview(self) -> Preview:
        """Preview its stack."""
        done = subprocess.run(
            ["pulumi", "preview", "--stack", "dev", "--non-interactive", "--json"],
            cwd=self.directory, env=dict(self.environment), check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return read(done.stdout)


def new(tmp_path: Path, *answers: str) -> Made:
    """Answer the prompts of `pulumi new` in their order; packages are where it would install them."""
    layout = Layout(tmp_path / "local")
    layout.state.mkdir(parents=True)
    variables = environment(layout, locate_programs(("pulumi",))) | {"PULUMI_TEST_INTERACTIVE": "true"}
    template, directory = tmp_path / "template", tmp_path / "mine"
    copy_repository(template)
    link_packages(directory)
    done = subprocess.run(
        # The folder is not empty: it has the packages.
        ["pulumi", "new", str(template), "--dir", str(directory), "--force"],
        env=variables, input="".join(f"{each}\n" for each in answers),
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Made(directory, done.stdout, variables)


def test_answers_become_a_stack_that_previews(tmp_path: Path) -> None:
    """It asks for what has no safe default, writes that into the stack's file, and the program takes it from there."""
    made = new(tmp_path, "", "", "", "eu-west-1", "acme-one", "198.51.100.0/24,203.0.113.7/32")
    positions = [made.said.index(each) for each in PROMPTS]
    assert positions == sorted(positions)
    assert "Next, in the new folder" in made.said
    definition = yaml.safe_load((made.directory / "Pulumi.yaml").read_text())
    assert "template" not in definition
    assert definition["stackConfigDir"] == "stacks"
    file = (made.directory / "stacks" / "Pulumi.dev.yaml").read_text()
    assert file.startswith("# A place to try things")
    assert not (made.directory / "Pulumi.dev.yaml").exists()
    changes = made.preview().changes
    [cluster] = [each.new for each in changes if each.type == "aws:eks/cluster:Cluster"]
    assert cluster["name"] == "acme-one"
    assert cluster["vpcConfig"]["publicAccessCidrs"] == ["198.51.100.0/24", "203.0.113.7/32"]
    subnets = [each.new["availabilityZone"] for each in changes if each.type == "aws:ec2/subnet:Subnet"]
    assert {each[:-1] for each in subnets} == {"eu-west-1"}


def test_a_project_of_another_name_says_how_to_rename_its_settings(tmp_path: Path) -> None:
    """The stack files' settings belong to the old name; the preview stops, with a command that makes it right."""
    made = new(tmp_path, "acme", "", "", "", "", "")
    stopped = made.preview()
    [said] = stopped.errors
    assert "the project is called acme" in said
    subprocess.run(["bash", "-c", said[said.index("perl") :]], check=True, cwd=made.directory)
    preview = made.preview()
    assert preview.errors == ()
    assert any(each.name == "node-local-dns" for each in preview.changes)
