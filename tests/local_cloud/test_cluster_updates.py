"""What the stand-in for pulumi-aws changes of a cluster in place, and in how many requests."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from local_cloud.plugins.aws.__main__ import AwsProvider
from local_cloud.plugins.aws.eks import TYPES
from local_cloud.plugins.values import property_values

CLUSTER = "aws:eks/cluster:Cluster"
BEFORE = {"subnetIds": ["subnet-a", "subnet-b"], "endpointPrivateAccess": True, "endpointPublicAccess": False}


@pytest.mark.parametrize(
    ("change", "requests"),
    [
        ({"subnetIds": ["subnet-c", "subnet-b"]}, [{"subnetIds": ["subnet-c", "subnet-b"]}]),
        ({"endpointPublicAccess": True}, [{"endpointPrivateAccess": True, "endpointPublicAccess": True}]),
        (
            {"endpointPublicAccess": True, "subnetIds": ["subnet-c", "subnet-b"]},
            [
                {"endpointPrivateAccess": True, "endpointPublicAccess": True},
                {"subnetIds": ["subnet-c", "subnet-b"]},
            ],
        ),
    ],
)
def test_network_of_a_cluster_is_changed_one_kind_a_request(
    change: dict[str, Any], requests: list[dict[str, Any]]
) -> None:
    """EKS takes one kind of change at a time, and is not asked for what stays."""
    asked: list[dict[str, Any]] = []
    eks = SimpleNamespace(
        update_cluster_config=lambda **request: asked.append(request["resourcesVpcConfig"]),
        describe_cluster=lambda **_request: {"cluster": {"status": "ACTIVE"}},
    )
    update = TYPES[CLUSTER].updates["vpcConfig"]
    update(lambda _service: eks, "shop", {"vpcConfig": BEFORE}, {"vpcConfig": {**BEFORE, **change}})
    assert asked == requests


def test_other_subnets_do_not_replace_a_cluster() -> None:
    """The real provider updates them in place since 5.25; a replacement would take every pod with it."""
    old = {"name": "shop", "roleArn": "x", "vpcConfig": BEFORE}
    request = SimpleNamespace(
        type=CLUSTER,
        old_state=property_values({**old, "__inputs": old}),
        new_inputs=property_values({**old, "vpcConfig": {**BEFORE, "subnetIds": ["subnet-c", "subnet-b"]}}),
        ignore_changes=[],
    )
    answer = asyncio.run(AwsProvider().diff(request))  # type: ignore[arg-type]  # only these are looked at
    assert (answer.diffs, answer.replaces) == (["vpcConfig"], [])
