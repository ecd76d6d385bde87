"""The summaries of real previews: what is on top, what pods and DNS feel, how the rest is grouped."""

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from delivery.summary import summary
from tests.engine.copies import Clone

if TYPE_CHECKING:
    from conftest import BroughtUp

pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]

TOP = "**Replaced or deleted**"
FELT = "**What pods and DNS will feel**"
ALL = "<details><summary>All changes, by component</summary>"


def _summary(clone: Clone, settings: Mapping[str, Any], *command: str, stack: str = "dev") -> str:
    return summary({stack: clone.preview(settings, *command, stack=stack)})


def section(text: str, title: str) -> list[str]:
    """Return the entries of a section, none if it is not there."""
    _before, found, after = text.partition(f"{title}\n\n")
    return re.findall(r"^- (.*)$", after.partition("\n\n")[0], flags=re.MULTILINE) if found else []


def groups(text: str) -> dict[str, list[str]]:
    """Return the lines of the list of all changes, by component."""
    _before, _found, after = text.partition(ALL)
    found: dict[str, list[str]] = {}
    for line in after.splitlines():
        if heading := re.fullmatch(r"\*\*(.+)\*\*", line):
            found[heading[1]] = []
        elif line.startswith("- "):
            found[list(found)[-1]].append(line.removeprefix("- "))
    return found


def test_creation_is_grouped_by_component_and_nobody_feels_it(clone: Clone) -> None:
    """A stack that does not exist yet: all of it, in the components of the program."""
    clone.select("prod")
    text = _summary(clone, {}, stack="prod")
    found = groups(text)
    assert list(found) == ["the stack itself", "EksCluster", "Network", "NodeLocalDns"]
    assert f"### prod: {sum(map(len, found.values()))} to create\n" in text
    assert "to create: `node-local-dns` (DaemonSet)" in found["NodeLocalDns"]
    assert "to create: `cluster-vpc-cni` (Addon)" in found["EksCluster"]
    assert not section(text, TOP) + section(text, FELT)


def test_no_change_is_said_in_one_line(clone: Clone) -> None:
    """The summary of a pull request that changes nothing has nothing to read."""
    text = _summary(clone, {})
    assert "### dev: no changes\n" in text
    assert not section(text, TOP) + section(text, FELT)
    assert groups(text) == {}


def test_a_time_to_live_replaces_cache_pods_without_a_gap(clone: Clone) -> None:
    """The Corefile's lines that change, the pods that restart for it, and that no query is lost."""
    text = _summary(clone, {"nodeLocalDns": {"corefile": {"external": {"successTtl": 60}}}})
    assert "### dev: 2 to update\n" in text
    assert not section(text, TOP)
    assert section(text, FELT) == [
        "DNS: every cache pod is replaced, the new one beside the old one; no query is lost."
    ]
    assert groups(text) == {
        "NodeLocalDns": ["to update: `node-local-dns-corefile` (ConfigMap)", "to update: `node-local-dns` (DaemonSet)"]
    }
    assert "-        success 9984 30" in text
    assert "+        success 9984 60" in text


def test_a_change_of_the_mode_says_whom_it_cuts_off(clone: Clone) -> None:
    """What is deleted is on top; then who restarts, and which pods are cut off from their nodes."""
    strict = {"vpcCni": {"podSecurityGroupEnforcingMode": "strict"}, "nodeLocalDns": {"enabled": False}}
    text = _summary(clone, strict)
    assert text.index(TOP) < text.index(FELT) < text.index(ALL)
    assert section(text, TOP)[0] == "`node-local-dns` (DaemonSet) is deleted"
    restart, mode, cache = section(text, FELT)
    assert restart.startswith("Pods: aws-node restarts on every node")
    assert "changes to strict" in mode
    assert "the node's cache is removed" in cache
    assert groups(text)["EksCluster"] == ["to update: `cluster-vpc-cni` (Addon)"]
    assert 'POD_SECURITY_GROUP_ENFORCING_MODE: "standard" -> "strict"' in text


def test_a_change_back_to_standard_says_whom_it_does_not_help_yet(clone: Clone, brought_up: "BroughtUp") -> None:
    """The step a migration begins with: running pods keep their strict rules, and the command that recreates them."""
    strict: dict[str, Any] = {"podSecurityGroupEnforcingMode": "strict"}
    without = {"eks-node-local-dns:nodeLocalDns": {"enabled": False}}
    stack = dataclasses.replace(brought_up.stack, overrides={**without, "eks-node-local-dns:vpcCni": strict})
    try:
        stack.up()
        text = _summary(clone, {"nodeLocalDns": {"enabled": False}})
    finally:
        brought_up.stack.up()
    assert not section(text, TOP)
    restart, mode = section(text, FELT)
    assert restart.startswith("Pods: aws-node restarts on every node")
    assert (
        "changes to standard. **Pods with a security group keep their strict rules until they are recreated**" in mode
    )
    assert "./eks-node-local-dns migrate --apply" in mode
    assert 'POD_SECURITY_GROUP_ENFORCING_MODE: "strict" -> "standard"' in text


def test_a_replaced_node_group_is_on_top_with_its_cause(clone: Clone) -> None:
    """The property that makes EKS replace the nodes is named, and that every pod on them moves."""
    group = yaml.safe_load((clone.directory / "stacks/Pulumi.dev.yaml").read_text())["config"][
        "eks-node-local-dns:nodeGroups"
    ]["default"]
    text = _summary(clone, {"nodeGroups": {"default": {**group, "instanceTypes": ["m6i.xlarge"]}}})
    assert "### dev: 1 to replace\n" in text
    assert section(text, TOP) == ["`cluster-default` (NodeGroup) is replaced because of `instanceTypes`"]
    assert section(text, FELT) == [
        "Pods: all nodes of `cluster-default` go and every pod on them moves, as PodDisruptionBudgets allow."
    ]
    assert list(groups(text)) == ["EksCluster"]


def test_destruction_is_told_in_a_few_lines(clone: Clone) -> None:
    """The gravest of what goes is on top, and what follows from it is not listed as news."""
    text = _summary(clone, {}, "destroy", "--preview-only")
    found = groups(text)
    assert f"### dev: {sum(map(len, found.values()))} to delete\n" in text
    top = section(text, TOP)
    assert len(top) == 13
    assert top[0] == "`cluster-eksCluster` (Cluster) is deleted"
    assert re.fullmatch(r"and \d+ more, in the list of all changes", top[-1])
    assert section(text, FELT) == ["**The whole cluster goes, with everything in it; every address in it changes.**"]
    assert list(found) == ["the stack itself", "EksCluster", "Network", "NodeLocalDns"]
