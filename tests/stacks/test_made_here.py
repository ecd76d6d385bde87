"""How a stack's settings become the arguments of its network and its cluster."""

from typing import Any

import pulumi
import pytest

from components.cluster import eks_cluster, network
from components.running_cluster.aws_identity import AwsIdentity
from stacks import made_here as module
from stacks.made_here import made_here
from stacks.settings import Settings

SETTINGS = Settings.model_validate(
    {
        "kubernetesVersion": "1.34",
        "serviceCidr": "10.100.0.0/16",
        "network": {"zones": ["a", "c"]},
        "cluster": {"deletionProtection": True},
        "vpcCni": {"externalSnat": True},
        "nodeGroups": {"blue": {"instanceTypes": ["m7g.large"]}},
        "addonVersions": {"coreDns": "v1.99.0-eksbuild.1"},
        "tags": {"team": "platform"},
    }
)


WHO = AwsIdentity(profile="shop")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what is made, in order: kind, name, arguments and options."""
    found: list[tuple[Any, ...]] = []

    class Made:
        vpc_id, private_subnet_ids, public_subnet_ids, control_plane_subnet_ids = "vpc", "private", "public", "first"

        def __init__(self, *asked: Any) -> None:
            found.append(asked)

    monkeypatch.setattr(module, "Network", Made)
    monkeypatch.setattr(module, "EksCluster", Made)
    monkeypatch.setattr(pulumi, "get_project", lambda: "eks-node-local-dns")
    monkeypatch.setattr(pulumi, "get_stack", lambda: "shop")
    return found


def test_every_setting_is_handed_on(made: list[tuple[Any, ...]]) -> None:
    """To the network and to the cluster in it, both under one name."""
    made_here(SETTINGS, "eu-central-1", WHO)
    assert made == [
        (
            "network",
            network.NetworkArgs(
                settings=SETTINGS.network,
                region="eu-central-1",
                cluster_name="eks-node-local-dns-shop",
                tags={"team": "platform"},
            ),
            None,
        ),
        (
            "cluster",
            eks_cluster.EksClusterArgs(
                cluster_name="eks-node-local-dns-shop",
                kubernetes_version="1.34",
                settings=SETTINGS.cluster,
                vpc_cni=SETTINGS.vpc_cni,
                addon_versions=SETTINGS.pinned_versions(),
                service_cidr="10.100.0.0/16",
                node_groups=SETTINGS.node_groups,
                vpc_id="vpc",
                control_plane_subnet_ids="first",  # type: ignore[arg-type]
                private_subnet_ids="private",  # type: ignore[arg-type]
                public_subnet_ids="public",  # type: ignore[arg-type]
                region="eu-central-1",
                tags={"team": "platform"},
                identity=WHO,
            ),
            None,
        ),
    ]


def test_a_name_a_prefix_and_options_are_taken(made: list[tuple[Any, ...]]) -> None:
    """The name is the cluster's in EKS; the prefix begins the resources' names."""
    options = pulumi.ResourceOptions()
    named = Settings.model_validate({"cluster": {"name": "shop-dev"}})
    made_here(named, "eu-central-1", WHO, "own-", options)
    assert [each[0] for each in made] == ["own-network", "own-cluster"]
    assert {each[1].cluster_name for each in made} == {"shop-dev"}
    assert all(each[2] is options for each in made)
