"""What ends a run before a cluster is attached: each message in full. What is made then, the program's tests see."""

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest

from components.attached import attached_cluster
from components.attached.attached_cluster import AttachedCluster, _read_stack, attach
from components.attached.existing_cluster import look_up
from components.attached.source import SourceSettings
from components.attached.suitability import Wanted
from components.cache.corefile import CorefileSettings
from components.cluster.addon_configuration import VpcCniSettings
from components.outputs import StackOutputs
from tests.components.attached.test_suitability import CLUSTER, STRICT, running

FILE = "stacks/Pulumi.shop.yaml"
PROD = "organization/eks-node-local-dns/prod"


@pytest.fixture(autouse=True)
def _a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "get_organization", lambda: "organization")
    monkeypatch.setattr(pulumi, "get_project", lambda: "eks-node-local-dns")
    monkeypatch.setattr(pulumi, "get_stack", lambda: "shop")


def _refused(stack: str, monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any] | Exception) -> str:
    async def answer(token: str, arguments: dict[str, str]) -> dict[str, Any]:
        assert (token, arguments) == ("pulumi:pulumi:readStackOutputs", {"name": stack})
        if isinstance(outputs, Exception):
            raise outputs
        return {"outputs": outputs}

    monkeypatch.setattr(pulumi.runtime, "invoke_async", answer)
    with pytest.raises(pulumi.RunError) as refused:
        asyncio.run(_read_stack(stack, FILE))
    return str(refused.value)


def test_a_stack_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's reason, where the name was written, and where to look."""
    error = Exception(f'invoke of x failed: invocation of x returned an error: unknown stack "{PROD}"')
    assert _refused(PROD, monkeypatch, error) == (
        f"{FILE}, eks-node-local-dns:source.stack: the stack {PROD} cannot be read (unknown stack "
        f'"{PROD}"); nothing was created or changed. Correct the name (`pulumi stack ls --all` lists those there '
        "are), or log in where its state is kept."
    )


def test_a_stack_without_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every output that is missing is named, so that nobody looks for the first one only."""
    missing = ", ".join(sorted(StackOutputs.names() - {"clusterName", "clusterDnsIp"}))
    assert _refused(PROD, monkeypatch, {"clusterName": "shop", "clusterDnsIp": "10.100.0.10"}) == (
        f"{FILE}, eks-node-local-dns:source.stack: {PROD} has no output {missing}, so it is none of these stacks, was "
        "not brought up yet, or is older than this program. Nothing was created or changed. Bring it up, or name "
        "another."
    )


def test_a_stack_that_would_read_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would find what it said the last time, for ever."""
    own = "organization/eks-node-local-dns/shop"
    assert _refused(own, monkeypatch, {}) == (
        f"{FILE}, eks-node-local-dns:source.stack: {own} is this stack, which cannot get its cluster from itself. Name "
        "another, or remove source."
    )


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clusters there are, and the one that was probably meant."""

    def absent(name: str) -> None:
        raise Exception(f"reading EKS Cluster ({name}): couldn't find resource")  # noqa: TRY002  # as the SDK raises it

    monkeypatch.setattr(aws.eks, "get_cluster", absent)
    monkeypatch.setattr(aws.eks, "get_clusters", lambda: SimpleNamespace(names=["warehouse", "shop"]))
    with pytest.raises(pulumi.RunError) as refused:
        look_up("shopp", region="eu-central-1", named_in=f"{FILE}, eks-node-local-dns:source.clusterName")
    assert str(refused.value) == (
        f"{FILE}, eks-node-local-dns:source.clusterName: there is no EKS cluster shopp in eu-central-1 that these "
        "credentials may see; nothing was created or changed. Did you mean shop? The clusters there: shop, warehouse. "
        "Correct the name, aws:region or the credentials' account."
    )


def test_a_failure_of_aws_is_not_taken_for_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not look is told so, and not that there is nothing."""

    def denied(name: str) -> None:
        raise PermissionError(f"AccessDeniedException: not authorized to perform eks:DescribeCluster on {name}")

    monkeypatch.setattr(aws.eks, "get_cluster", denied)
    with pytest.raises(PermissionError, match="AccessDenied"):
        look_up("shop", region="eu-central-1", named_in=FILE)


IPV6 = (
    "The cluster's Services have ipv6 addresses (kubernetesNetworkConfig.ipFamily): the cache's rules and its "
    "link-local address are IPv4, so no query would reach it. Use a cluster with IPv4."
)
MODE = (
    "The VPC CNI is in strict mode (POD_SECURITY_GROUP_ENFORCING_MODE) and ENABLE_POD_ENI is on: a pod with a "
    "security group could not reach the cache on its own node, and the cache's rules take away the way to CoreDNS it "
    "had before, so every name it asks would time out. Set vpcCni.manage to true, or set the mode to standard where "
    "that add-on is managed; then recreate the pods made in strict mode (`./eks-node-local-dns migrate` names them). "
    "Or set "
    "nodeLocalDns.enabled to false."
)


@pytest.mark.parametrize(
    ("kube_proxy", "expected"),
    [(CLUSTER.kube_proxy, f"2 reasons; {{}}\n  {IPV6}\n  {MODE}"), (None, f"1 reason; {{}}\n  {IPV6}")],
)
def test_every_reason_is_in_one_message(monkeypatch: pytest.MonkeyPatch, kube_proxy: Any, expected: str) -> None:
    """What AWS says and what runs; only where looking inside may end the run, the first comes alone."""
    found = dataclasses.replace(CLUSTER, ip_family="ipv6", kube_proxy=kube_proxy)

    class Inside:
        def __init__(self, *_arguments: object) -> None:
            assert kube_proxy is not None

        async def running(self) -> Any:
            return running(STRICT)

    monkeypatch.setattr(attached_cluster, "look_up", lambda *_, **__: found)
    monkeypatch.setattr(attached_cluster, "AttachedCluster", Inside)
    wanted = Wanted(cache=True, local_address="169.254.20.10", corefile=CorefileSettings(), vpc_cni=VpcCniSettings())
    source = SourceSettings.model_validate({"clusterName": "shop"})
    with pytest.raises(pulumi.RunError) as refused:
        asyncio.run(attach("cluster", source, wanted, region="eu-central-1", file=FILE))
    reasons = expected.format("nothing was created or changed.")
    assert str(refused.value) == f"{FILE}: the cluster shop cannot be used so, for {reasons}"


def test_what_is_looked_at_without_an_add_on_is_said_before_the_engine_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its last word is that an object is not there; what follows from that is ours."""
    said: list[str] = []

    def absent(*_arguments: object, **_options: object) -> None:
        raise LookupError

    monkeypatch.setattr(pulumi.log, "info", said.append)
    monkeypatch.setattr(k8s.apps.v1.DaemonSet, "get", absent)
    monkeypatch.setattr(AttachedCluster, "_inside", lambda _self: None)
    cluster = AttachedCluster.__new__(AttachedCluster)
    cluster._name = "cluster"
    cluster._args = SimpleNamespace(existing=dataclasses.replace(CLUSTER, vpc_cni=None, kube_proxy=None))  # type: ignore[assignment]
    with pytest.raises(LookupError):
        asyncio.run(cluster.running())
    assert said == [
        (
            "shop has no vpc-cni add-on, so the DaemonSet kube-system/aws-node is looked at as its own. If the run "
            "ends because there is none, another CNI gives the pods their network, and security groups for pods and "
            "this cache were made for the VPC CNI: install the vpc-cni add-on, or do not attach this cluster."
        ),
        (
            "shop has no kube-proxy add-on, so the ConfigMap kube-system/kube-proxy-config is looked at as its own. If "
            "the run ends because there is none, something else stands in for kube-proxy, and queries that the cache "
            "cannot take would have no way to CoreDNS: install the kube-proxy add-on, or do not attach this cluster."
        ),
    ]
