import dataclasses
from typing import Any, NamedTuple

import pytest

from components.attached.existing_cluster import ExistingAddOn, ExistingCluster
from components.attached.suitability import Running, Wanted, can_be_asked, refusals, version_to_be, warnings
from components.cache.corefile import CorefileSettings
from components.cluster.addon_configuration import VpcCniSettings, configuration_json
from tests.aws_node import aws_node_daemon_set

STANDARD = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}
STRICT = {"ENABLE_POD_ENI": "true"}
MANAGED = VpcCniSettings(manage=True)


def add_on(version: str = "v1.23.1-eksbuild.1", **configuration: Any) -> ExistingAddOn:
    """Return an add-on with this configuration."""
    return ExistingAddOn(version=version, configuration_values=configuration_json(configuration), tags={})


def running(env: dict[str, str], kube_proxy_mode: str = "iptables", version: str = "v1.20.0") -> Running:
    """Return an aws-node with this environment beside a kube-proxy in this mode."""
    image = f"602401143452.dkr.ecr.eu-central-1.amazonaws.com/amazon-k8s-cni:{version}"
    return Running(
        aws_node=aws_node_daemon_set(env, image=image),
        role_arn="",
        kube_proxy_mode=kube_proxy_mode,
    )


CLUSTER = ExistingCluster(
    name="shop",
    arn="arn:aws:eks:eu-central-1:1:cluster/shop",
    status="ACTIVE",
    kubernetes_version="1.35",
    endpoint="https://shop",
    certificate_authority="Y2E=",
    oidc_issuer="https://issuer",
    oidc_provider_arn="",
    vpc_id="vpc-1",
    private_subnet_ids=("subnet-1",),
    public_subnet_ids=(),
    security_group_id="sg-1",
    ip_family="ipv4",
    service_ipv4_cidr="10.100.0.0/16",
    auto_mode=False,
    networks={"the cluster's service CIDR": "10.100.0.0/16", "block 1 of the VPC vpc-1": "10.0.0.0/16"},
    vpc_cni=add_on(env=STANDARD),
    kube_proxy=add_on("v1.35.3-eksbuild.29"),
    core_dns=None,
)
CACHE = Wanted(cache=True, local_address="169.254.20.10", corefile=CorefileSettings(), vpc_cni=VpcCniSettings())
TAKEOVER = dataclasses.replace(CACHE, vpc_cni=MANAGED)

MODE = "POD_SECURITY_GROUP_ENFORCING_MODE"


class Case(NamedTuple):
    """Something that is refused."""

    differences: dict[str, Any]
    """How the cluster differs from the one above."""

    seen: Running | None
    """What runs in it; None: only AWS was asked."""

    wanted: Wanted
    """What is to be done."""

    message: str
    """All that is said."""


REFUSED: dict[str, Case] = {
    "an upstream that is kube-dns": Case(
        {},
        None,
        dataclasses.replace(CACHE, corefile=CorefileSettings(upstream_servers=("10.0.0.2", "10.100.0.10"))),
        "nodeLocalDns.corefile.upstreamServers: 10.100.0.10 is the address of the cache itself; it would ask itself "
        "until it stops. Name the server that knows the answer.",
    ),
    "a stub domain that is the cache": Case(
        {},
        None,
        dataclasses.replace(
            CACHE, corefile=CorefileSettings.model_validate({"stubDomains": {"a.test": {"servers": ["169.254.20.10"]}}})
        ),
        "nodeLocalDns.corefile.stubDomains.a.test: 169.254.20.10 is the address of the cache itself; it would ask "
        "itself until it stops. Name the server that knows the answer.",
    ),
    "not active": Case(
        {"status": "FAILED"},
        None,
        CACHE,
        "The cluster is FAILED, and EKS changes nothing in it in that state. Wait until it is ACTIVE, or find out why "
        "it does not become so (`aws eks describe-cluster`).",
    ),
    "Auto Mode": Case(
        {"auto_mode": True, "vpc_cni": None, "kube_proxy": None},
        None,
        TAKEOVER,
        "The cluster runs EKS Auto Mode (computeConfig.enabled): its nodes have a DNS cache of their own that cannot "
        "be replaced, and no DaemonSet of the VPC CNI to configure. It needs nothing from here; turn Auto Mode off to "
        "use "
        "this cache on nodes of your own.",
    ),
    "IPv6": Case(
        {"ip_family": "ipv6", "service_ipv4_cidr": "", "networks": {"the cluster's service CIDR": "fd30:1:2::/108"}},
        None,
        CACHE,
        "The cluster's Services have ipv6 addresses (kubernetesNetworkConfig.ipFamily): the cache's rules and its "
        "link-local address are IPv4, so no query would reach it. Use a cluster with IPv4.",
    ),
    "too old for sidecars": Case(
        {"kubernetes_version": "1.28"},
        None,
        CACHE,
        "The cluster is at Kubernetes 1.28, which runs no sidecar containers: the cache would wait for ever for its "
        "rules. Upgrade it to 1.29 or newer.",
    ),
    "address clash": Case(
        {"networks": {"block 1 of the VPC vpc-1": "169.254.16.0/20"}},
        None,
        CACHE,
        "nodeLocalDns.localAddress: 169.254.20.10 is in block 1 of the VPC vpc-1 (169.254.16.0/20), so every node "
        "would lose the host, pod or Service that owns it. Choose a link-local address outside 169.254.16.0/20.",
    ),
    "IPVS by the add-on": Case(
        {"kube_proxy": add_on("v1.35.3-eksbuild.29", mode="ipvs")},
        None,
        CACHE,
        "kube-proxy is in ipvs mode: in IPVS mode kube-proxy has the ClusterIP on an interface of its own, so the "
        "cache cannot have it, and there is no setting here that makes it work. Set the kube-proxy add-on's "
        "configuration to "
        '{"mode":"iptables"}, EKS\' default, and replace the nodes: rules of the other mode stay on a node until it '
        "restarts.",
    ),
    **{
        f"nftables with an old VPC CNI {where}": Case(
            {"kube_proxy": None, "vpc_cni": found},
            seen,
            wanted,
            f"kube-proxy is in nftables mode and the VPC CNI is {old}: before v1.23.0 its marks stand in the same "
            "place as kube-proxy's rules, and which of them is asked first is chance, so that a query could leave by "
            "the node's interface, past the pod's own security group. Upgrade the VPC CNI, or set the kube-proxy "
            'add-on\'s configuration to {"mode":"iptables"} and replace the nodes.',
        )
        for where, found, seen, wanted, old in (
            ("that runs", add_on(), running(STANDARD, "nftables", "v1.22.4"), CACHE, "v1.22.4"),
            ("to be", add_on("v1.22.4-eksbuild.1"), running(STANDARD, "nftables", "v1.22.4"), TAKEOVER, "v1.22.4"),
        )
    },
    **{
        f"strict, {where}": Case(
            {"vpc_cni": found},
            seen,
            CACHE,
            f"The VPC CNI is in strict mode ({MODE}) and ENABLE_POD_ENI is on: a pod with a security group could not "
            "reach the cache on its own node, and the cache's rules take away the way to CoreDNS it had before, so "
            "every name it asks would time out. Set vpcCni.manage to true, or set the mode to standard where that "
            "add-on is managed; then recreate the pods made in strict mode (`./eks-node-local-dns migrate` names "
            "them). Or set "
            "nodeLocalDns.enabled to false.",
        )
        for where, found, seen in (
            ("by the add-on", add_on(env=STRICT), running(STRICT)),
            ("with interfaces on in other words", add_on(), running({"ENABLE_POD_ENI": "1"})),
            ("set by hand past the add-on", add_on(env=STANDARD), running({**STANDARD, MODE: "strict"})),
            ("and no add-on", None, running(STRICT)),
        )
    },
    "add-on too old": Case(
        {"vpc_cni": add_on("v1.12.0-eksbuild.1")},
        None,
        TAKEOVER,
        f"vpcCni.manage: the vpc-cni add-on is v1.12.0-eksbuild.1, which does not know {MODE}; EKS would refuse the "
        "configuration. Set addonVersions.vpcCni to v1.12.1 or newer (`aws eks describe-addon-versions` lists them).",
    ),
    "no version to take": Case(
        {"vpc_cni": None, "kubernetes_version": "1.30"},
        None,
        TAKEOVER,
        "vpcCni.manage: aws-node is no EKS add-on yet, and for Kubernetes 1.30 no version is pinned here, so EKS would "
        "choose one. Set addonVersions.vpcCni to the version that runs (`kubectl -n kube-system get daemonset aws-node "
        "-o wide` shows its image).",
    ),
    **{
        f"older than what runs, {what}": Case(
            {"vpc_cni": found},
            running(STANDARD, version="v1.99.0-eksbuild.1"),
            TAKEOVER,
            "vpcCni.manage: aws-node runs v1.99.0 and the add-on would be the older v1.23.1-eksbuild.1, which may not "
            "understand what the newer one has left on the nodes: pods there could lose their network. Set "
            "addonVersions.vpcCni to the version that runs or a newer one (`aws eks describe-addon-versions "
            "--addon-name vpc-cni` lists them).",
        )
        for what, found in (("an add-on", add_on(env=STANDARD)), ("no add-on", None))
    },
    "set past the add-on": Case(
        {},
        running({**STANDARD, MODE: "strict"}),
        TAKEOVER,
        f"vpcCni.manage: {MODE} was set to strict on the DaemonSet itself, past the vpc-cni add-on, whose "
        "configuration says standard; as that does not change, nobody would put it right. Set it there: `kubectl -n "
        f"kube-system set env daemonset aws-node -c aws-node {MODE}=standard`.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_not_work_is_refused_with_reason_and_remedy(case: str) -> None:
    """Each message in full: what is found, why it matters, what to do."""
    found = REFUSED[case]
    cluster = dataclasses.replace(CLUSTER, **found.differences)
    assert refusals(cluster, found.seen, found.wanted) == [found.message]


def test_all_reasons_are_told_at_once() -> None:
    """Nobody repairs a cluster five times."""
    cluster = dataclasses.replace(
        CLUSTER,
        status="CREATING",
        ip_family="ipv6",
        kube_proxy=add_on("v1.35.3-eksbuild.29", mode="ipvs"),
        vpc_cni=add_on(env=STRICT),
    )
    assert len(refusals(cluster, running(STRICT, "ipvs"), CACHE)) == 4
    assert len(refusals(cluster, None, CACHE)) == 3


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ({}, True),
        ({"ip_family": "ipv6"}, True),
        ({"status": "FAILED"}, False),
        ({"auto_mode": True}, False),
        ({"vpc_cni": None}, False),
        ({"kube_proxy": None}, False),
    ],
)
def test_what_is_known_of_aws_is_kept_for_the_look_inside_unless_that_may_fail(
    differences: dict[str, Any], expected: bool
) -> None:
    """All reasons in one message; but the engine ends a run without a word at an object that is not there."""
    assert can_be_asked(dataclasses.replace(CLUSTER, **differences)) is expected


def test_a_mode_that_was_set_past_the_add_on_counts() -> None:
    """Its configuration says nothing of it, and is not taken for strict."""
    cluster = dataclasses.replace(CLUSTER, vpc_cni=add_on(env={"ENABLE_POD_ENI": "true"}))
    assert refusals(cluster, None, CACHE) == []
    assert refusals(cluster, running(STANDARD), CACHE) == []
    assert refusals(cluster, running({**STANDARD, "ENABLE_POD_ENI": "1"}), TAKEOVER) == []


@pytest.mark.parametrize(
    ("version", "refused"),
    [("1.28", True), ("1.29", False), ("1.30", False), ("2.0", False), ("0.35", True), ("1.9", True)],
)
def test_sidecars_run_since_one_version(version: str, refused: bool) -> None:
    """Compared as numbers; and only for the cache, which needs them."""
    cluster = dataclasses.replace(CLUSTER, kubernetes_version=version)
    found = refusals(cluster, None, CACHE)
    assert [each.partition(",")[0] for each in found] == [f"The cluster is at Kubernetes {version}"] * refused
    assert refusals(cluster, None, dataclasses.replace(CACHE, cache=False)) == []


@pytest.mark.parametrize(
    ("status", "usable"),
    [("ACTIVE", True), ("UPDATING", True), ("CREATING", False), ("DELETING", False), ("FAILED", False)],
)
def test_a_cluster_that_is_there_is_used_also_while_it_changes(status: str, usable: bool) -> None:
    """EKS makes our change after its own."""
    cluster = dataclasses.replace(CLUSTER, status=status)
    assert can_be_asked(cluster) is usable
    assert bool(refusals(cluster, None, CACHE)) is not usable


def test_of_auto_mode_nothing_else_is_said() -> None:
    """What else is wanted of it does not exist there."""
    cluster = dataclasses.replace(CLUSTER, auto_mode=True, vpc_cni=None, kubernetes_version="1.20")
    without = dataclasses.replace(TAKEOVER, cache=False)
    for seen in (None, running(STRICT)):
        [found] = refusals(cluster, seen, without)
        assert found.startswith("The cluster runs EKS Auto Mode (computeConfig.enabled): ")


@pytest.mark.parametrize(
    ("version", "runs", "refused"),
    [
        ("v1.12.0-eksbuild.9", "v1.11.0", True),
        ("v1.12.1-eksbuild.1", "v1.12.1", False),
        ("v1.12.2-eksbuild.1", "v1.12.1", False),
        ("v1.12.2-eksbuild.1", "v1.12.3", True),
        ("v1.12.2-eksbuild.1", "latest", False),
        ("v1.9.0-eksbuild.1", "v1.9.0", True),
    ],
)
def test_a_takeover_needs_a_version_that_knows_the_mode_and_is_no_older(version: str, runs: str, refused: bool) -> None:
    """At each boundary, compared as numbers."""
    cluster = dataclasses.replace(CLUSTER, vpc_cni=add_on(version, env=STANDARD))
    assert bool(refusals(cluster, running(STANDARD, version=runs), TAKEOVER)) is refused


@pytest.mark.parametrize("wanted", [CACHE, TAKEOVER])
@pytest.mark.parametrize("seen", [None, running(STANDARD), running(STANDARD, "")])
def test_a_cluster_as_eks_makes_it_is_taken(seen: Running | None, wanted: Wanted) -> None:
    """Standard mode, kube-proxy in iptables mode, IPv4."""
    assert refusals(CLUSTER, seen, wanted) == []


@pytest.mark.parametrize("wanted", [CACHE, TAKEOVER])
def test_kube_proxy_in_nftables_mode_is_taken(wanted: Wanted) -> None:
    """With a VPC CNI that has a table of its own beside kube-proxy's."""
    cluster = dataclasses.replace(CLUSTER, vpc_cni=add_on("v1.23.0-eksbuild.1"))
    assert refusals(cluster, running(STANDARD, "nftables", "v1.23.0"), wanted) == []


def test_who_takes_the_cache_out_is_never_held_up() -> None:
    """With the cache off, a strict CNI or IPVS is somebody's right: the way back is always open."""
    cluster = dataclasses.replace(
        CLUSTER, vpc_cni=add_on(env=STRICT), kube_proxy=add_on("v1.35.3-eksbuild.29", mode="ipvs")
    )
    without = dataclasses.replace(CACHE, cache=False)
    assert refusals(cluster, running(STRICT, "ipvs"), without) == []
    strict = VpcCniSettings(manage=True, pod_security_group_enforcing_mode="strict")
    assert refusals(cluster, running(STRICT), dataclasses.replace(without, vpc_cni=strict)) == []


def test_no_pod_with_a_security_group_no_harm_from_strict_mode() -> None:
    """Strict is the CNI's default, and means nothing while ENABLE_POD_ENI is off."""
    assert refusals(dataclasses.replace(CLUSTER, vpc_cni=add_on()), running({"ENABLE_POD_ENI": "false"}), CACHE) == []


def test_an_old_add_on_may_be_taken_over_and_upgraded_at_once() -> None:
    """The remedy that the refusal names is one; and a version in the settings goes before those found and pinned."""
    wanted = dataclasses.replace(TAKEOVER, vpc_cni_version="v1.22.3-eksbuild.1")
    old = dataclasses.replace(CLUSTER, vpc_cni=add_on("v1.12.0-eksbuild.1"))
    assert refusals(old, None, wanted) == []
    assert version_to_be(old, wanted) == "v1.22.3-eksbuild.1"
    assert version_to_be(old, TAKEOVER) == "v1.12.0-eksbuild.1"
    assert version_to_be(dataclasses.replace(CLUSTER, vpc_cni=None), TAKEOVER) == "v1.23.1-eksbuild.1"


SNAT = (
    "AWS_VPC_K8S_CNI_EXTERNALSNAT is off in shop: traffic of pods with a security group that leaves the VPC (internet, "
    "peered VPCs, on-premises) goes out by the node's interface under the node's security group. Turn it on where the "
    "add-on is configured if the private subnets have a NAT gateway and the pod's own group should decide."
)
SWITCH = (
    "The VPC CNI of shop goes from strict to standard mode. Pods with a security group keep their strict rules until "
    "they are recreated, and would lose DNS with the cache beside them: `./eks-node-local-dns migrate` names and "
    "recreates them. "
    "The safe order is in docs/runbooks/adopt.md."
)
TRUNK = (
    "ENABLE_POD_ENI is turned on in shop: nodes that run already may have no room for the trunk interface that pods "
    "with a security group need. Replace them before such pods are created."
)
UNKNOWN = (
    "aws-node of shop becomes an EKS add-on, whose configuration is not known to have a place for OUR_OWN. EKS may put "
    "its own in the place of that. Keep the output of `kubectl -n kube-system get daemonset aws-node -o yaml`, and "
    "compare it afterwards."
)
OUT = {"AWS_VPC_K8S_CNI_EXTERNALSNAT": "true"}


@pytest.mark.parametrize(
    ("env", "wanted", "said"),
    [
        (STANDARD, CACHE, [SNAT]),
        ({**STANDARD, **OUT}, CACHE, []),
        ({}, CACHE, []),
        ({**STRICT, **OUT}, TAKEOVER, [SWITCH]),
        (STRICT, TAKEOVER, [SNAT, SWITCH]),
        (OUT, TAKEOVER, [TRUNK]),
        ({**STANDARD, **OUT}, TAKEOVER, []),
        ({**STANDARD, "AWS_VPC_K8S_CNI_EXTERNALSNAT": "1"}, CACHE, []),
        ({"ENABLE_POD_ENI": "t", **OUT}, TAKEOVER, [SWITCH]),
    ],
)
def test_what_surprises_is_warned_of(env: dict[str, str], wanted: Wanted, said: list[str]) -> None:
    """Each warning in full, and only where it applies."""
    assert list(warnings(CLUSTER, running(env), wanted)) == said


def test_what_the_add_on_may_not_hold_is_warned_of() -> None:
    """Only of an aws-node that is to become one, and never of what EKS sets itself."""
    env = {**STANDARD, **OUT, "OUR_OWN": "x", "VPC_ID": "vpc-1"}
    assert list(warnings(dataclasses.replace(CLUSTER, vpc_cni=None), running(env), TAKEOVER)) == [UNKNOWN]
    assert list(warnings(CLUSTER, running(env), TAKEOVER)) == []


def test_an_older_version_that_somebody_asks_for_is_warned_of() -> None:
    """It is a choice, and not a default that nobody saw."""
    wanted = dataclasses.replace(TAKEOVER, vpc_cni_version="v1.22.3-eksbuild.1")
    newer = running({**STANDARD, **OUT}, version="v1.23.1")
    assert refusals(CLUSTER, newer, wanted) == []
    [said] = warnings(CLUSTER, newer, wanted)
    assert said == (
        "addonVersions.vpcCni: aws-node runs v1.23.1 and the add-on would be the older v1.22.3-eksbuild.1, which may "
        "not understand what the newer one has left on the nodes: pods there could lose their network."
    )


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("ipvs", "in IPVS mode kube-proxy has the ClusterIP on an interface of its own, so the cache cannot have it"),
        ("userspace", "nobody has tried the cache's rules with that"),
    ],
)
def test_each_mode_of_kube_proxy_is_refused_for_its_own_reason(mode: str, why: str) -> None:
    """As it is configured, and, once that is seen, as it runs."""
    configured = dataclasses.replace(CLUSTER, kube_proxy=add_on("v1.35.3-eksbuild.29", mode=mode))
    for found in (refusals(configured, None, CACHE), refusals(CLUSTER, running(STANDARD, mode), CACHE)):
        assert [each.partition(", and there is no")[0] for each in found] == [f"kube-proxy is in {mode} mode: {why}"]
    assert refusals(configured, running(STANDARD), CACHE) == []
    assert refusals(dataclasses.replace(CLUSTER, kube_proxy=None), None, CACHE) == []


def test_a_version_that_nobody_says_is_asked_for() -> None:
    """Of a Kubernetes without a pinned one; then there is no version to compare either."""
    cluster = dataclasses.replace(CLUSTER, kubernetes_version="1.99", vpc_cni=None)
    for seen in (None, running(STANDARD)):
        [found] = refusals(cluster, seen, TAKEOVER)
        assert found.startswith("vpcCni.manage: aws-node is no EKS add-on yet, and for Kubernetes 1.99 no version is")
    assert version_to_be(cluster, TAKEOVER) == ""
