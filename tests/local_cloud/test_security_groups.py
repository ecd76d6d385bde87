"""What comes of a pod's security group: the traffic that the rules allow, as EC2 (moto, in this process) holds them."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pulumi.runtime import mocks

from components.pod_security_groups.pod_security_group import PodSecurityGroup
from local_cloud.plugins.aws.ec2 import TYPES
from tests.mocked_engine import error_of

DNS = 53
PROBE = 8080


@dataclass(frozen=True)
class Interface:
    """A network interface: its address and its security groups."""

    address: str
    groups: frozenset[str]


def _names(rule: dict[str, Any], peer: Interface) -> bool:
    if "ReferencedGroupInfo" in rule:
        return rule["ReferencedGroupInfo"]["GroupId"] in peer.groups
    return ip_address(peer.address) in ip_network(rule["CidrIpv4"])


def _passes(rule: dict[str, Any], protocol: str, port: int) -> bool:
    if rule["IpProtocol"] == "-1":
        return True
    return rule["IpProtocol"] == protocol and rule["FromPort"] <= port <= rule["ToPort"]


def allowed(rules: list[dict[str, Any]], source: Interface, destination: Interface, protocol: str, port: int) -> bool:
    """Say whether a connection is let out of its source and into its destination; answers follow, as groups do."""
    return all(
        any(
            rule["GroupId"] in here.groups
            and rule["IsEgress"] == leaving
            and _names(rule, there)
            and _passes(rule, protocol, port)
            for rule in rules
        )
        for here, there, leaving in ((source, destination, True), (destination, source, False))
    )


class Ec2Mocks(mocks.Mocks):
    """Makes in EC2 what the program asks for, as the stand-in for pulumi-aws does."""

    def __init__(self, ec2: Any) -> None:
        self.ec2 = ec2
        self.made: dict[str, tuple[str, str, dict[str, Any]]] = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        """Refuse: the component calls no function of a provider."""
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Create and read it."""
        kind = TYPES.get(args.typ)
        if kind is None:
            return f"shop/{args.name}", args.inputs
        # Every number is a float on the way to the engine; a provider gets it as its schema says.
        asked = {key: int(each) if isinstance(each, float) else each for key, each in args.inputs.items()}
        asked |= {kind.autoname: args.name} if kind.autoname else {}
        identity = kind.create(lambda _service: self.ec2, asked, kind.timeout)
        self.made[args.name] = (args.typ, identity, asked)
        return identity, kind.read(lambda _service: self.ec2, identity, asked) or {}


@dataclass(frozen=True)
class Network:
    """A cluster's network with one application's pods."""

    ec2: Any
    made: dict[str, tuple[str, str, dict[str, Any]]]
    pod: Interface
    node: Interface
    core_dns: Interface
    stranger: Interface

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule there is."""
        return self.ec2.describe_security_group_rules()["SecurityGroupRules"]


@pytest.fixture
def network() -> Iterator[Network]:
    """Return a cluster's group as EKS makes it, a stranger's, and a pod's by the component."""
    with mock_aws():
        ec2 = boto3.client("ec2", region_name="eu-central-1")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        cluster, other = (
            ec2.create_security_group(VpcId=vpc, GroupName=name, Description=name)["GroupId"]
            for name in ("eks-cluster", "other")
        )
        itself = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": cluster}]}
        ec2.authorize_security_group_ingress(GroupId=cluster, IpPermissions=[itself])
        anyone = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[anyone])
        mocked = Ec2Mocks(ec2)
        error = error_of(
            mocked,
            lambda: PodSecurityGroup(
                "web",
                {
                    "vpc_id": vpc,
                    "core_dns_security_group_id": cluster,
                    "namespace": "shop",
                    "pod_selector": {},
                    "branch_interfaces": {"instance_types": ["m6i.large"], "pods_per_node": 1},
                    "probe_ports": [PROBE],
                    "tags": {"team": "shop"},
                },
            ),
        )
        assert error == ""
        yield Network(
            ec2,
            mocked.made,
            pod=Interface("10.0.1.10", frozenset({mocked.made["web"][1]})),
            node=Interface("10.0.1.20", frozenset({cluster})),
            core_dns=Interface("10.0.2.30", frozenset({cluster})),
            stranger=Interface("10.0.3.40", frozenset({other})),
        )
        ec2.close()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_pods_can_ask_core_dns(network: Network, protocol: str) -> None:
    """Port 53 of CoreDNS is open to the pods over both protocols, and its other ports are not."""
    assert allowed(network.rules(), network.pod, network.core_dns, protocol, DNS)
    assert not allowed(network.rules(), network.pod, network.core_dns, protocol, DNS + 1)


def test_the_kubelet_can_probe_the_port_given_and_no_other(network: Network) -> None:
    """From a node to the pod, on the probe's port over TCP only."""
    assert allowed(network.rules(), network.node, network.pod, "tcp", PROBE)
    assert not allowed(network.rules(), network.node, network.pod, "tcp", PROBE + 1)
    assert not allowed(network.rules(), network.node, network.pod, "udp", PROBE)


def test_the_pods_reach_and_are_reached_by_nobody_else(network: Network) -> None:
    """Even somebody who lets everyone in gets nothing from the pods, and none of their ports."""
    for port in (DNS, PROBE):
        assert allowed(network.rules(), network.node, network.stranger, "tcp", port)
        assert not allowed(network.rules(), network.pod, network.stranger, "tcp", port)
        assert not allowed(network.rules(), network.stranger, network.pod, "tcp", port)


@pytest.mark.parametrize(
    ("name", "server", "protocol", "port"),
    [
        ("web-to-core-dns-udp", "core_dns", "udp", DNS),
        ("web-to-core-dns-tcp", "core_dns", "tcp", DNS),
        ("web-at-core-dns-udp", "core_dns", "udp", DNS),
        ("web-at-core-dns-tcp", "core_dns", "tcp", DNS),
        (f"web-from-kubelet-{PROBE}", "pod", "tcp", PROBE),
    ],
)
def test_every_rule_of_the_component_is_needed(
    network: Network, name: str, server: str, protocol: str, port: int
) -> None:
    """Without any one of them, on either side, what it is there for is no longer allowed."""
    client = network.node if server == "pod" else network.pod
    kind, identity, asked = network.made[name]
    assert allowed(network.rules(), client, getattr(network, server), protocol, port)
    TYPES[kind].delete(lambda _service: network.ec2, identity, asked, 1)
    assert not allowed(network.rules(), client, getattr(network, server), protocol, port)


def test_a_rule_reads_back_as_it_was_asked_for(network: Network) -> None:
    """A refresh shows no change, the description of a rule that names a group included."""
    rules = {name: each for name, each in network.made.items() if "Rule" in each[0]}
    assert len(rules) == 5
    for kind, identity, asked in rules.values():
        found = TYPES[kind].read(lambda _service: network.ec2, identity, asked)
        assert found is not None
        assert {key: found.get(key) for key in asked} == asked
