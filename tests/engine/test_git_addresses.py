"""What others take from this repository's address: a project, and the component package. A forge on loopback has it."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from components.pod_security_groups.pod_security_group import PACKAGE
from delivery.preview import read
from local_cloud.cloud import environment, locate_programs
from local_cloud.layout import Layout
from tests.engine.commands import succeeded
from tests.engine.copies import copy_repository, install_sdk, link_packages
from tests.engine.git_server import served

pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]

HOST, OWNER, TAG = "git.example", "acme", "v7.8.9"
REPOSITORY = f"https://{HOST}/{OWNER}/dns"
PROGRAM = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "sdks" / "acme-eks-node-local-dns"))
from acme_eks_node_local_dns import Cluster

Cluster("shop", region="eu-central-1", settings={"cluster": {"publicAccessCidrs": ["198.51.100.0/24"]}})
"""


def commit(repository: Path, *command: str) -> None:
    """Run git as somebody."""
    somebody = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    subprocess.run(["git", *somebody, *command], cwd=repository, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Return an environment of the engine in which the repository has an address, and there is no cloud."""
    directory = tmp_path_factory.mktemp("forge")
    repository = directory / "repositories" / OWNER / "dns.git"
    copy_repository(repository)
    # As if its requirements had been installed: from here the package runs on those of the tests.
    plugin = repository / "package" / "PulumiPlugin.yaml"
    plugin.write_text(re.sub(r"\n  options:.*", "\n", plugin.read_text(), flags=re.DOTALL))
    for command in (("init", "--quiet", "--initial-branch=main"), ("add", "--all"), ("commit", "--quiet", "-m", "All")):
        commit(repository, *command)
    commit(repository, "tag", TAG)
    layout = Layout(directory / "local")
    layout.state.mkdir(parents=True)
    with served(directory / "repositories", HOST, directory) as ours:
        yield environment(layout, locate_programs(("pulumi",))) | ours


def test_a_project_is_made_from_the_address(variables: Mapping[str, str], tmp_path: Path) -> None:
    """It has all files, and previews."""
    link_packages(tmp_path)
    made = ("pulumi", "new", REPOSITORY, f"--dir={tmp_path}", "--force", "--yes", "--stack=dev", "--generate-only")
    succeeded(variables, tmp_path, *made)
    assert "template" not in yaml.safe_load((tmp_path / "Pulumi.yaml").read_text())
    assert {"__main__.py", "stacks", "components", ".github", "requirements.txt"} <= {
        each.name for each in tmp_path.iterdir()
    }
    succeeded(variables, tmp_path, "pulumi", "stack", "init", "dev")
    preview = read(succeeded(variables, tmp_path, "pulumi", "preview", "--non-interactive", "--json", "--stack=dev"))
    assert any(each.name == "node-local-dns" for each in preview.changes)


def test_the_package_is_added_from_the_address(variables: Mapping[str, str], tmp_path: Path) -> None:
    """Pinned to a version, with the owner in the SDK's name; a program previews with it."""
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {aws:region: eu-central-1}\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    succeeded(variables, tmp_path, "pulumi", "package", "add", f"{REPOSITORY}/package@{TAG}")
    added = yaml.safe_load((tmp_path / "Pulumi.yaml").read_text())["packages"]
    assert added == {PACKAGE: f"{HOST}/{OWNER}/dns/package@{TAG}"}
    assert (tmp_path / "requirements.txt").read_text() == f"sdks/{OWNER}-{PACKAGE}\n"
    sdk = tmp_path / "sdks" / f"{OWNER}-{PACKAGE}"
    install_sdk(sdk, f"{OWNER}_{PACKAGE.replace('-', '_')}", TAG.removeprefix("v"))
    succeeded(variables, tmp_path, "pulumi", "stack", "init", "dev")
    preview = read(succeeded(variables, tmp_path, "pulumi", "preview", "--non-interactive", "--json"))
    assert {"shop-cluster", "shop-network", "shop-node-local-dns"} <= {each.name for each in preview.changes}
