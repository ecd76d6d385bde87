import dataclasses
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from components.cluster.versions import PINNED
from local_cloud.stacks import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import BroughtUp

    from local_cloud.stacks import Run, Stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]

VERSION = "eks-node-local-dns:kubernetesVersion"
CLUSTER = "aws:eks/cluster:Cluster"
ADDON = "aws:eks/addon:Addon"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
BEFORE, AFTER = list(PINNED)[-2:]
OLDER_CNI = "v1.22.3-eksbuild.1"
"""Both rows of the table pin one vpc-cni; with an older one before, the upgrade moves all three add-ons."""


@dataclasses.dataclass
class Upgrade:
    """A stack that went from one pinned Kubernetes version to the next."""

    stack: "Stack"
    before: dict[str, Any]
    run: "Run"


@pytest.fixture(scope="module")
def upgrade(brought_up: "BroughtUp") -> "Iterator[Upgrade]":
    """Bring up a stack of the last pinned Kubernetes version but one, upgrade it, and destroy it afterwards."""
    before = {VERSION: BEFORE, "eks-node-local-dns:addonVersions": {"vpcCni": OLDER_CNI}}
    older = dataclasses.replace(brought_up.stack, name="stg", overrides=before)
    older.up()
    try:
        stack = dataclasses.replace(older, overrides={VERSION: AFTER})
        yield Upgrade(stack, older.outputs(), stack.up())
    finally:
        older.destroy()


def test_an_upgrade_replaces_nothing_and_goes_from_the_control_plane_to_the_nodes(upgrade: Upgrade) -> None:
    """Control plane, then vpc-cni and kube-proxy, then nodes, then CoreDNS: each ends before the next begins."""
    run = upgrade.run
    assert {each.operation for each in run.changes()} == {"update"}
    steps = {(each.type, each.name): each.urn for each in run.changes()}
    spans = run.order("update")
    [control_plane] = [spans[urn] for (kind, _name), urn in steps.items() if kind == CLUSTER]
    [vpc_cni] = [spans[urn] for (kind, name), urn in steps.items() if kind == ADDON and name.endswith("vpc-cni")]
    [kube_proxy] = [spans[urn] for (kind, name), urn in steps.items() if kind == ADDON and name.endswith("kube-proxy")]
    [core_dns] = [spans[urn] for (kind, name), urn in steps.items() if kind == ADDON and name.endswith("coredns")]
    nodes = [spans[urn] for (kind, _name), urn in steps.items() if kind == NODE_GROUP]
    add_ons = [spans[urn] for (kind, _name), urn in steps.items() if kind == ADDON]
    assert nodes
    assert control_plane[1] < min(begun for begun, _ended in add_ons)
    assert max(vpc_cni[1], kube_proxy[1]) < min(begun for begun, _ended in nodes)
    assert max(ended for _begun, ended in nodes) < core_dns[0]


def test_the_outputs_show_the_versions_that_run(upgrade: Upgrade) -> None:
    """Other stacks read the new versions, no other output moves, and nothing is left to do."""
    outputs = upgrade.stack.outputs()
    assert upgrade.before["vpcCniVersion"] == OLDER_CNI
    assert (upgrade.before["kubernetesVersion"], outputs["kubernetesVersion"]) == (BEFORE, AFTER)
    wanted = {
        output: getattr(PINNED[AFTER], addon)
        for output, addon in (
            ("vpcCniVersion", "vpc_cni"),
            ("kubeProxyVersion", "kube_proxy"),
            ("coreDnsVersion", "core_dns"),
        )
    }
    assert {key: outputs[key] for key in wanted} == wanted
    moved = {key for key, value in outputs.items() if upgrade.before[key] != value}
    assert moved - set(wanted) == {"kubernetesVersion"}
    assert upgrade.stack.preview().changes() == []


def test_a_version_cannot_be_taken_back(upgrade: Upgrade) -> None:
    """EKS never lowers the version of a control plane; the update says so, and the stack stays as it is."""
    # In a process of its own: the SDK leaves its event loop open when the engine fails under a waiting program.
    asked = {**dataclasses.asdict(upgrade.stack), "overrides": {VERSION: BEFORE}}
    program = (
        "import json, sys; from pathlib import Path; from local_cloud.stacks import Stack;"
        "asked = json.load(sys.stdin); paths = {key: Path(asked[key]) for key in ('directory', 'project')};"
        "Stack(**{**asked, **paths}).up()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(asked, default=str),
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode != 0
    assert "Unsupported Kubernetes minor version update" in done.stderr
    assert upgrade.stack.preview().changes() == []
