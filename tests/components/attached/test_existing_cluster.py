"""What AWS says of a cluster, put together; and what it has not got."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from components.attached.existing_cluster import ExistingAddOn, ExistingCluster, look_up

Fields = SimpleNamespace

CLUSTER: dict[str, Any] = {
    "name": "shop",
    "arn": "arn:aws:eks:eu-central-1:1:cluster/shop",
    "status": "ACTIVE",
    "version": "1.34",
    "endpoint": "https://shop.eks",
    "certificate_authorities": [Fields(data="c2hvcA==")],
    "identities": [Fields(oidcs=[Fields(issuer="https://oidc.shop")])],
    "kubernetes_network_configs": [
        Fields(ip_family="ipv4", service_ipv4_cidr="10.100.0.0/16", service_ipv6_cidr=None),
    ],
    "compute_configs": [Fields(enabled=False)],
    "vpc_config": Fields(
        vpc_id="vpc-5", subnet_ids=["subnet-b", "subnet-p", "subnet-a", "subnet-q"], cluster_security_group_id="sg-5"
    ),
}
ADD_ONS: dict[str, Any] = {
    "vpc-cni": Fields(
        addon_version="v1.22.3-eksbuild.1",
        configuration_values='{"env":{}}',
        service_account_role_arn="arn:aws:iam::1:role/cni",
        pod_identity_associations=[Fields(service_account="aws-node", role_arn="arn:aws:iam::1:role/pod")],
        tags={"team": "platform"},
    ),
    "kube-proxy": Fields(
        addon_version="v1.34.6-eksbuild.25",
        configuration_values=None,
        service_account_role_arn=None,
        pod_identity_associations=None,
        tags=None,
    ),
}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ExistingCluster]:
    """Return a way to look the cluster up, with differences in it and in what else there is."""

    def look(
        *, add_ons: dict[str, Any] | None = None, provider: Any = "arn:provider", **differences: Any
    ) -> ExistingCluster:
        there = ADD_ONS if add_ons is None else add_ons

        def cluster(*, name: str) -> Any:
            assert name == "shop"
            return Fields(**{**CLUSTER, **differences})

        def add_on(*, cluster_name: str, addon_name: str) -> Any:
            assert cluster_name == "shop"
            answer = there.get(addon_name, RuntimeError(f"couldn't find resource {addon_name}"))
            if isinstance(answer, Exception):
                raise answer
            return answer

        def open_id(*, url: str) -> Any:
            assert url == "https://oidc.shop"
            if isinstance(provider, Exception):
                raise provider
            return Fields(arn=provider)

        def subnets(*, filters: list[dict[str, Any]]) -> Any:
            assert filters == [
                {"name": "vpc-id", "values": ["vpc-5"]},
                {"name": "tag-key", "values": ["kubernetes.io/role/elb"]},
            ]
            return Fields(ids=["subnet-p", "subnet-elsewhere", "subnet-q"])

        def vpc(*, id: str) -> Any:  # noqa: A002  # the function's name for it
            assert id == "vpc-5"
            states = ["associated", "disassociated", "associating", "failed", "disassociating"]
            blocks = [Fields(cidr_block=f"10.{number}.0.0/16", state=state) for number, state in enumerate(states)]
            return Fields(cidr_block_associations=blocks)

        monkeypatch.setattr(aws.eks, "get_cluster", cluster)
        monkeypatch.setattr(aws.eks, "get_addon", add_on)
        monkeypatch.setattr(aws.iam, "get_open_id_connect_provider", open_id)
        monkeypatch.setattr(aws.ec2, "get_subnets", subnets)
        monkeypatch.setattr(aws.ec2, "get_vpc", vpc)
        return look_up("shop", region="eu-central-1", named_in="the file")

    return look


def test_all_that_aws_says(found: Callable[..., ExistingCluster]) -> None:
    """To the last field; a block that was taken off the VPC is none of its networks."""
    assert found() == ExistingCluster(
        name="shop",
        arn="arn:aws:eks:eu-central-1:1:cluster/shop",
        status="ACTIVE",
        kubernetes_version="1.34",
        endpoint="https://shop.eks",
        certificate_authority="c2hvcA==",
        oidc_issuer="https://oidc.shop",
        oidc_provider_arn="arn:provider",
        vpc_id="vpc-5",
        private_subnet_ids=("subnet-a", "subnet-b"),
        public_subnet_ids=("subnet-p", "subnet-q"),
        security_group_id="sg-5",
        ip_family="ipv4",
        service_ipv4_cidr="10.100.0.0/16",
        auto_mode=False,
        networks={
            "the cluster's service CIDR": "10.100.0.0/16",
            "block 1 of the VPC vpc-5": "10.0.0.0/16",
            "block 2 of the VPC vpc-5": "10.2.0.0/16",
            "block 3 of the VPC vpc-5": "10.4.0.0/16",
        },
        vpc_cni=ExistingAddOn(
            version="v1.22.3-eksbuild.1",
            configuration_values='{"env":{}}',
            service_account_role_arn="arn:aws:iam::1:role/cni",
            pod_identities=(("aws-node", "arn:aws:iam::1:role/pod"),),
            tags={"team": "platform"},
        ),
        kube_proxy=ExistingAddOn(version="v1.34.6-eksbuild.25", tags={}),
        core_dns=None,
    )


@pytest.mark.parametrize(
    ("configs", "expected"),
    [([Fields(enabled=True)], True), ([Fields(enabled=False)], False), ([], False), (None, False)],
)
def test_auto_mode_is_recognised(
    found: Callable[..., ExistingCluster], configs: list[Any] | None, expected: bool
) -> None:
    """By its compute configuration, which other clusters may have as well, or not at all."""
    assert found(compute_configs=configs).auto_mode is expected


def test_the_services_of_an_ipv6_cluster_are_a_network_too(found: Callable[..., ExistingCluster]) -> None:
    """And it has none for IPv4."""
    config = Fields(ip_family="ipv6", service_ipv4_cidr=None, service_ipv6_cidr="fd30:1:2::/108")
    cluster = found(kubernetes_network_configs=[config])
    assert (cluster.ip_family, cluster.service_ipv4_cidr) == ("ipv6", "")
    assert cluster.networks["the cluster's service CIDR"] == "fd30:1:2::/108"


@pytest.mark.parametrize("said", ["ResourceNotFoundException: no addon", "it was not found", "Couldn't find resource"])
def test_absence_is_told_in_several_ways(found: Callable[..., ExistingCluster], said: str) -> None:
    """By AWS itself and by the provider."""
    cluster = found(add_ons={"vpc-cni": RuntimeError(said)}, provider=RuntimeError(said))
    assert (cluster.vpc_cni, cluster.kube_proxy, cluster.core_dns, cluster.oidc_provider_arn) == (None, None, None, "")


def test_a_failure_is_not_taken_for_absence(found: Callable[..., ExistingCluster]) -> None:
    """Who may not look would have an add-on made that is there."""
    with pytest.raises(RuntimeError, match="AccessDenied add-on"):
        found(add_ons={"vpc-cni": RuntimeError("AccessDenied add-on")})
    with pytest.raises(RuntimeError, match="AccessDenied provider"):
        found(provider=RuntimeError("AccessDenied provider"))


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ([], "The clusters there: none."),
        (["b", "a"], "The clusters there: a, b."),
        (["warehouse", "shop1"], "Did you mean shop1? The clusters there: shop1, warehouse."),
    ],
)
def test_a_cluster_that_is_not_there_is_told_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, there: list[str], said: str
) -> None:
    """And a guess, if there is one that looks like it."""

    def absent(*, name: str) -> None:
        raise RuntimeError(f"reading EKS Cluster ({name}): couldn't find resource")

    monkeypatch.setattr(aws.eks, "get_cluster", absent)
    monkeypatch.setattr(aws.eks, "get_clusters", lambda: Fields(names=there))
    with pytest.raises(pulumi.RunError) as refused:
        look_up("shop", region="eu-central-1", named_in="the file")
    assert str(refused.value) == (
        "the file: there is no EKS cluster shop in eu-central-1 that these credentials may see; nothing was created or "
        f"changed. {said} Correct the name, aws:region or the credentials' account."
    )
