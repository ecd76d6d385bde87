"""What docs/settings.md says of a change of each setting, against what the program then asks of the engine.

settings.yaml has the latter, and `test_every_setting.py` sees that it is so. Whether AWS takes a property in place is
what the local cloud's stand-in for pulumi-aws knows.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_cloud.plugins.aws.__main__ import TYPES
from local_cloud.plugins.kubernetes import must_replace
from stacks.changes import CHANGES, CNI_RESTARTED, NODES_COUNTED, STATE_ONLY, change
from stacks.reference import keys
from stacks.settings import Settings

ROWS: list[dict[str, Any]] = yaml.load(Path(__file__).with_name("settings.yaml").read_text(), yaml.CSafeLoader)

VPC_CONFIG = ("privateSubnetIds", "publicAccessCidrs", "endpointPublicAccess", "vpcId")
PARTS = {
    # what pulumi-eks makes of its components' arguments, where it is called otherwise in AWS' own resource
    ("Cluster", "kubernetesServiceIpAddressRange"): ("Cluster", "kubernetesNetworkConfig"),
    ("Cluster", "vpcCniOptions"): ("Addon", "configurationValues"),
    ("Cluster", "kubeProxyAddonOptions"): ("Addon", "addonVersion"),
    **{("Cluster", each): ("Cluster", "vpcConfig") for each in VPC_CONFIG},
}
OPTIONS = ("options.protect", "ignoreScalingChanges")
"""What the engine keeps to itself."""

IN_PLACE = {token.rpartition(":")[2]: kind.updates.keys() for token, kind in TYPES.items()}
"""By kind, the properties that AWS takes in place."""


def _properties(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield kind, and path, of every input that is another."""
    for path in row["changes"]:
        resource, colon, inside = path.partition(": ")
        if colon and not inside.startswith(("options.", "outputs.")) and not inside.endswith(OPTIONS):
            yield resource.partition(" ")[0].replace("ManagedNodeGroup", "NodeGroup"), inside


def _replaced(row: dict[str, Any]) -> set[str]:
    """Return what AWS makes anew; a route is a line of a table, which nobody misses meanwhile."""
    found = (PARTS.get((kind, each := path.split(".")[0]), (kind, each)) for kind, path in _properties(row))
    return {kind for kind, name in found if kind in IN_PLACE and kind != "Route" and name not in IN_PLACE[kind]}


def _key(row: dict[str, Any]) -> str:
    return row["setting"].replace("nodeGroups.default.", "nodeGroups.<name>.")


def _ids(row: dict[str, Any]) -> str:
    return f"{row['setting']} of {row['base']}"


MADE_HERE = [each for each in ROWS if each["base"] in {"a cluster made here", "in an existing VPC"}]
OF_THE_CACHE = [each for each in ROWS if each["setting"].startswith("nodeLocalDns.")]


@pytest.mark.parametrize("row", MADE_HERE, ids=_ids)
def test_the_reference_says_what_is_replaced(row: dict[str, Any]) -> None:
    """Where AWS makes something anew the reference says so, and nowhere else."""
    said, gone = change(_key(row)), _replaced(row) - {"Addon", "LogGroup"}  # which go with their cluster, unseen
    if row["setting"] == "network.existing.vpcId":
        gone = {"Vpc"}  # the stand-in of pulumi-eks passes the subnets on, and EKS takes none of another VPC
    assert ("**replaces" in said) is bool(gone), gone
    for kind, word in {"Cluster": "cluster", "Vpc": "VPC", "NodeGroup": "node group"}.items():
        assert kind not in gone or "Cluster" in gone or word in said


@pytest.mark.parametrize("row", MADE_HERE, ids=_ids)
def test_the_reference_says_what_becomes_of_nodes(row: dict[str, Any]) -> None:
    """Nodes are exchanged for another version or template of their group, and aws-node restarts for its add-on."""
    said, asked = change(_key(row)), set(_properties(row))
    exchanged = ("NodeGroup", "version") in asked or any(
        kind == "LaunchTemplate" and path.split(".")[0] != "tags" for kind, path in asked
    )
    assert _replaced(row) or ("exchanged" in said) is exchanged
    assert (said == NODES_COUNTED) is any(path.startswith("scalingConfig.") for _kind, path in asked)
    if row["setting"].startswith("vpcCni."):
        assert said == CNI_RESTARTED
        assert {path.split(".")[0] for _kind, path in asked} == {"vpcCniOptions"}
    assert (said == STATE_ONLY) is all(path.endswith(OPTIONS) for path in row["changes"])


@pytest.mark.parametrize("row", OF_THE_CACHE, ids=_ids)
def test_the_reference_says_when_the_cache_restarts(row: dict[str, Any]) -> None:
    """It is when the template of its pods is another; and none of its objects is ever replaced."""
    asked = set(_properties(row))
    restarted = any(kind == "DaemonSet" and path.startswith("spec.template.") for kind, path in asked)
    assert ("the cache's pods are replaced" in change(row["setting"])) is restarted
    for kind in ("DaemonSet", "Service", "ConfigMap"):
        old, new = ({"metadata": {"name": "a"}}, {"metadata": {"name": "a"}})
        for of, path in asked:
            if of == kind:
                _put(old, path, "old")
                _put(new, path, "new")
        assert must_replace(kind, old, new, mutable_config_maps=True) == []
    if ".observability." in row["setting"]:
        assert {kind for kind, _path in asked} <= {"CustomResource", "PodMonitor", "PrometheusRule", "ConfigMap"}


def _put(where: dict[str, Any], path: str, value: str) -> None:
    *outer, last = path.split(".")
    for each in outer:
        where = where.setdefault(each, {})
    where[last] = value


def test_nothing_is_said_of_what_is_no_setting() -> None:
    """A sentence about a key that is gone goes with it."""
    assert CHANGES.keys() <= {each.key for each in keys(Settings)}
