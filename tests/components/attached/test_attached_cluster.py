"""What ends a run before a cluster is attached, each message in full; and all that is made and told once it is."""

import asyncio
import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest

from components.attached import attached_cluster
from components.attached.attached_cluster import AttachedCluster, _read_stack, attach
from components.attached.existing_cluster import ExistingAddOn, look_up
from components.attached.source import SourceSettings
from components.attached.suitability import Wanted
from components.cache.corefile import CorefileSettings
from components.cluster.addon_configuration import VpcCniSettings
from components.outputs import StackOutputs
from components.running_cluster.aws_identity import AwsIdentity
from tests.aws_node import STANDARD, STRICT, aws_node_spec
from tests.components.attached.test_suitability import CLUSTER, running
from tests.mocked_engine import Recorder, record

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
    missing = (
        "clusterCertificateAuthority, clusterEndpoint, clusterSecurityGroupId, coreDnsVersion, kubeProxyVersion, "
        "kubeconfig, kubernetesVersion, nodeLocalDnsIp, oidcIssuer, oidcProviderArn, "
        "podSecurityGroupEnforcingMode, privateSubnetIds, publicSubnetIds, region, serviceIpv4Cidr, vpcCniVersion, "
        "vpcId"
    )
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
        asyncio.run(attach("cluster", source, wanted, region="eu-central-1", identity=AwsIdentity(), file=FILE))
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


ADD_ON = "aws:eks/addon:Addon"
PROVIDER = "pulumi:providers:kubernetes"
TOLERATION = {"key": "gpu", "effect": "NoExecute", "tolerationSeconds": 60, "operator": "Equal", "value": "a"}


def inside(env: dict[str, str], **account: Any) -> dict[str, Any]:
    """Return what is read in a cluster whose aws-node has this environment."""
    pod = aws_node_spec(
        env,
        image="amazon-k8s-cni:v1.20.0",
        init={"DISABLE_TCP_EARLY_DEMUX": "true"},
        agent=["--metrics-bind-addr=:9000"],
        tolerations=[TOLERATION],
        nodeSelector={"cni": "aws"},
    )
    pod["containers"][0]["resources"] = {"limits": {"cpu": "1"}, "requests": {"cpu": "30m"}}
    return {
        "kubernetes:apps/v1:DaemonSet": {"spec": {"template": {"spec": pod}}},
        "kubernetes:core/v1:ServiceAccount": {"metadata": {"name": "aws-node", **account}},
        "kubernetes:core/v1:ConfigMap": {"data": {"config": "mode: iptables\n"}},
        "kubernetes:core/v1:Service": {"spec": {"clusterIP": "10.100.0.10"}},
    }


NOBODY = AwsIdentity()


def attached(
    monkeypatch: pytest.MonkeyPatch,
    wanted: Wanted,
    states: dict[str, Any],
    known: StackOutputs | None = None,
    identity: AwsIdentity = NOBODY,
    **differences: Any,
) -> tuple[Recorder, dict[str, Any]]:
    """Attach the cluster and return all that was asked, and all that it tells."""
    looked: list[Any] = []

    def look_up(*asked: object, **more: object) -> Any:
        looked.append((asked, more))
        return dataclasses.replace(CLUSTER, **differences)

    async def read_stack(*asked: object) -> StackOutputs | None:
        looked.append(asked)
        return known

    monkeypatch.setattr(attached_cluster, "look_up", look_up)
    monkeypatch.setattr(attached_cluster, "_read_stack", read_stack)
    made, told = Recorder(states), {"looked": looked, "warnings": []}
    monkeypatch.setattr(pulumi.log, "warn", told["warnings"].append)
    source = SourceSettings.model_validate({"stack": PROD} if known else {"clusterName": "shop"})

    async def attaching() -> None:
        cluster = await attach("eks", source, wanted, region="eu-central-1", identity=identity, file=FILE)
        told["inside"] = cluster.inside
        for key, value in [*vars(cluster.outputs).items(), ("dns_ip", cluster.dns_ip), ("own", cluster.kubeconfig)]:
            told[key] = await pulumi.Output.from_input(value).future()

    assert record(lambda: pulumi.Output.from_input(attaching()), made) == ""
    return made, told


OUTPUTS: dict[str, Any] = {
    "cluster_name": "shop",
    "cluster_endpoint": "https://shop",
    "cluster_certificate_authority": "Y2E=",
    "kubernetes_version": "1.35",
    "region": "eu-central-1",
    "oidc_issuer": "https://issuer",
    "oidc_provider_arn": "arn:provider",
    "vpc_id": "vpc-1",
    "private_subnet_ids": ["subnet-1"],
    "public_subnet_ids": ["subnet-2"],
    "cluster_security_group_id": "sg-1",
    "service_ipv4_cidr": "10.100.0.0/16",
    "cluster_dns_ip": "10.100.0.10",
    "node_local_dns_ip": "",
    "pod_security_group_enforcing_mode": "standard",
    "vpc_cni_version": "v1.23.1-eksbuild.1",
    "kube_proxy_version": "v1.35.3-eksbuild.29",
    "core_dns_version": "v9-eksbuild.1",
}
MORE: dict[str, Any] = {
    "oidc_provider_arn": "arn:provider",
    "public_subnet_ids": ("subnet-2",),
    "core_dns": ExistingAddOn(version="v9-eksbuild.1", tags={}),
}
CACHE_ONLY = Wanted(cache=True, local_address="169.254.20.10", corefile=CorefileSettings(), vpc_cni=VpcCniSettings())
TAKEOVER = dataclasses.replace(CACHE_ONLY, vpc_cni=VpcCniSettings(manage=True), vpc_cni_version="v1.23.1-eksbuild.2")
TAKEN = ["cluster", "inside", "looked", "warnings", "own", "kubeconfig", "dns_ip"]


def told_outputs(told: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs but for the kubeconfig."""
    return {key: value for key, value in told.items() if key not in TAKEN}


def test_a_cluster_that_is_only_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made but a way in; every output is the cluster's own."""
    made, told = attached(monkeypatch, CACHE_ONLY, inside(STANDARD), **MORE)
    assert told["looked"] == [
        (("shop",), {"region": "eu-central-1", "named_in": f"{FILE}, eks-node-local-dns:source.clusterName"})
    ]
    assert told_outputs(told) == OUTPUTS
    assert told["dns_ip"] == "10.100.0.10"
    kubeconfig = json.loads(told["kubeconfig"])
    assert kubeconfig["clusters"][0]["cluster"] == {"server": "https://shop", "certificate-authority-data": "Y2E="}
    assert kubeconfig["users"][0]["user"]["exec"]["args"] == [
        "--region", "eu-central-1", "eks", "get-token", "--cluster-name", "shop", "--output", "json",
    ]  # fmt: skip
    assert told["own"] == told["kubeconfig"]
    assert made.of_kind(ADD_ON) == {}
    provider = made.inputs(PROVIDER, "eks")
    provider.pop("__internal", None)
    assert provider == {
        "clusterIdentifier": "shop", "enableConfigMapMutable": "true", "enableServerSideApply": "true",
        "kubeconfig": told["kubeconfig"],
    }  # fmt: skip
    assert made.requests[PROVIDER, "eks"].parent.endswith("AttachedCluster::eks")
    assert {(kind, name): request.id for (kind, name), request in made.reads.items()} == {
        ("kubernetes:apps/v1:DaemonSet", "eks-aws-node"): "kube-system/aws-node",
        ("kubernetes:core/v1:ServiceAccount", "eks-aws-node"): "kube-system/aws-node",
        ("kubernetes:core/v1:ConfigMap", "eks-kube-proxy-config"): "kube-system/kube-proxy-config",
        ("kubernetes:core/v1:Service", "eks-kube-dns"): "kube-system/kube-dns",
    }
    for request in made.reads.values():
        assert request.parent.endswith("AttachedCluster::eks")
        assert request.provider.split("::")[-2:] == ["eks", "eks-id"]
    assert made.outputs["eks"] == {"name": "shop", "clusterDnsIp": "10.100.0.10"}
    assert {name: each._name for name, each in told["inside"].providers.items()} == {"kubernetes": "eks"}
    assert told["inside"].depends_on == []
    assert [each.partition(" ")[0] for each in told["warnings"]] == ["AWS_VPC_K8S_CNI_EXTERNALSNAT"]


def test_what_is_inside_is_reached_as_whoever_asks_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same profile and role; what other stacks are told names neither."""
    identity = AwsIdentity("shop-admin", "arn:aws:iam::1:role/deploy")
    made, told = attached(monkeypatch, CACHE_ONLY, inside(STANDARD), identity=identity, **MORE)
    assert told["own"] == made.inputs(PROVIDER, "eks")["kubeconfig"]
    assert json.loads(told["own"])["users"][0]["user"]["exec"]["args"] == [
        "--profile", "shop-admin", "--region", "eu-central-1", "eks", "get-token", "--cluster-name", "shop",
        "--output", "json", "--role-arn", "arn:aws:iam::1:role/deploy",
    ]  # fmt: skip
    assert "shop-admin" not in told["kubeconfig"]
    assert "role/deploy" not in told["kubeconfig"]


def test_what_another_stack_says_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what the cluster itself says by now; its kubeconfig is the way in."""
    texts: dict[str, Any] = {key: f"its {key}" for key in [*OUTPUTS, "kubeconfig"]}
    known = StackOutputs(**{**texts, "cluster_name": "shop"})
    states = inside({"ENABLE_POD_ENI": "false"})
    made, told = attached(
        monkeypatch, CACHE_ONLY, states, known, vpc_cni=None, kube_proxy=None, kubernetes_version="1.34"
    )
    assert told["looked"] == [
        (PROD, FILE),
        (("shop",), {"region": "eu-central-1", "named_in": f"{FILE}, eks-node-local-dns:source.stack"}),
    ]
    assert told_outputs(told) == {key: f"its {key}" for key in OUTPUTS} | {
        "cluster_name": "shop",
        "kubernetes_version": "1.34",
        "cluster_dns_ip": "10.100.0.10",
        "pod_security_group_enforcing_mode": "strict",
        "vpc_cni_version": "",
        "kube_proxy_version": "",
        "core_dns_version": "",
    }
    assert told["own"] == made.inputs(PROVIDER, "eks")["kubeconfig"] == "its kubeconfig"


def test_an_add_on_is_taken_over_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported with all that it has, and that was set past it; only our two values and the version are new."""
    found = ExistingAddOn(
        version="v1.22.3-eksbuild.1",
        configuration_values='{"env":{"WARM_IP_TARGET":"3"}}',
        service_account_role_arn="arn:role",
        pod_identities=(("aws-node", "arn:pod"),),
        tags={"team": "platform"},
    )
    made, told = attached(monkeypatch, TAKEOVER, inside(STRICT), vpc_cni=found, **MORE)
    configuration = {
        "env": {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard", "WARM_IP_TARGET": "3"},
        "init": {"env": {"DISABLE_TCP_EARLY_DEMUX": "true"}},
        "nodeAgent": {"metricsBindAddr": "9000"},
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "30m"}},
        "tolerations": [TOLERATION],
    }
    asked = made.inputs(ADD_ON, "eks-vpc-cni")
    assert json.loads(asked.pop("configurationValues")) == configuration
    assert asked == {
        "addonName": "vpc-cni",
        "addonVersion": "v1.23.1-eksbuild.2",
        "clusterName": "shop",
        "podIdentityAssociations": [{"roleArn": "arn:pod", "serviceAccount": "aws-node"}],
        "resolveConflictsOnCreate": "OVERWRITE",
        "resolveConflictsOnUpdate": "OVERWRITE",
        "serviceAccountRoleArn": "arn:role",
        "tags": {"team": "platform"},
    }
    request = made.requests[ADD_ON, "eks-vpc-cni"]
    assert request.importId == "shop:vpc-cni"
    assert list(request.ignoreChanges) == ["resolveConflictsOnCreate"]
    assert list(request.hideDiffs) == ["resolveConflictsOnUpdate"]
    assert request.retainOnDelete is True
    assert request.parent.endswith("AttachedCluster::eks")
    assert [each._name for each in told["inside"].depends_on] == ["eks-vpc-cni"]
    assert told_outputs(told) == {**OUTPUTS, "vpc_cni_version": "v1.23.1-eksbuild.2"}
    assert len(told["warnings"]) == 2


def test_an_aws_node_that_is_no_add_on_becomes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, not imported; with the role that its service account has, and nothing that it has not."""
    states = inside(STANDARD, annotations={"eks.amazonaws.com/role-arn": "arn:irsa", "other": "x"})
    made, told = attached(monkeypatch, TAKEOVER, states, vpc_cni=None, **MORE)
    asked, request = made.inputs(ADD_ON, "eks-vpc-cni"), made.requests[ADD_ON, "eks-vpc-cni"]
    assert asked["serviceAccountRoleArn"] == "arn:irsa"
    assert not {"podIdentityAssociations", "tags"} & asked.keys()
    assert request.importId == ""
    assert "nodeSelector" in next(each for each in told["warnings"] if "becomes an EKS add-on" in each)


def test_what_an_add_on_has_not_got_is_not_given_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty lists and texts would be changes."""
    found = ExistingAddOn(version="v1.22.3-eksbuild.1", tags={})
    states = inside(STANDARD, annotations={"eks.amazonaws.com/role-arn": "arn:irsa"})
    made, _ = attached(monkeypatch, TAKEOVER, states, vpc_cni=found)
    asked = made.inputs(ADD_ON, "eks-vpc-cni")
    assert not {"podIdentityAssociations", "serviceAccountRoleArn", "tags"} & asked.keys()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"data": {"config": "mode: ipvs"}}, "kube-proxy is in ipvs mode"),
        ({"data": {"config": "mode: null"}}, None),
        ({"data": {"config": ""}}, None),
        ({"data": {}}, None),
        ({}, None),
    ],
)
def test_the_mode_of_kube_proxy_is_read_from_its_configuration(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], reason: str | None
) -> None:
    """None is the default; a mode that the cache cannot live with ends the run before anything is made."""
    states = {**inside(STANDARD), "kubernetes:core/v1:ConfigMap": config}
    if reason is None:
        assert attached(monkeypatch, CACHE_ONLY, states)[1]["cluster_name"] == "shop"
        return
    with pytest.raises(AssertionError, match=reason):
        attached(monkeypatch, CACHE_ONLY, states)


@pytest.mark.parametrize("name", ["a/b", "a/b/c/d", "a//c", "stack", ""])
def test_a_stack_is_named_in_full(name: str) -> None:
    """Else it could be another on another machine."""
    with pytest.raises(ValueError, match=f"'{name}' is not the full name of a stack"):
        SourceSettings.model_validate({"stack": name})


def test_a_cluster_comes_from_one_place() -> None:
    """From nowhere else is here."""
    with pytest.raises(ValueError, match=r"both stack \(a/b/c\) and clusterName \(shop\) are set"):
        SourceSettings.model_validate({"stack": "a/b/c", "clusterName": "shop"})
    assert SourceSettings().made_here
    assert not SourceSettings.model_validate({"stack": "a/b/c"}).made_here
    assert not SourceSettings.model_validate({"clusterName": "shop"}).made_here


def test_the_outputs_of_another_stack_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one of them, by its name there."""
    there = {name: f"its {name}" for name in StackOutputs.names()}

    async def answer(*_asked: object) -> dict[str, Any]:
        return {"outputs": there}

    monkeypatch.setattr(pulumi.runtime, "invoke_async", answer)
    monkeypatch.setattr(pulumi, "StackReference", lambda stack: (stack, "reference"))
    read: list[Any] = []
    texts: dict[str, Any] = {field.name: f"its {field.name}" for field in dataclasses.fields(StackOutputs)}

    def contract(reference: Any) -> StackOutputs:
        read.append(reference)
        return StackOutputs(**texts)

    monkeypatch.setattr(StackOutputs, "read", contract)
    outputs = asyncio.run(_read_stack(PROD, FILE))
    assert read == [(PROD, "reference")]
    assert vars(outputs) == texts
