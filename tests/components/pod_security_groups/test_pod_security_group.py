"""What a pod's security group refuses, and what it asks for."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from components.pod_security_groups.branch_interfaces import branch_interface_problems
from components.pod_security_groups.label_selector import ANY_VALUE, can_match
from components.pod_security_groups.pod_security_group import (
    CORE_DNS_POD_LABELS,
    PodSecurityGroup,
    PodSecurityGroupArgs,
    check,
    egress_rules,
    ingress_rules,
)
from components.pod_security_groups.traffic_rules import TrafficProtocol, description_problems
from tests.mocked_engine import Recorder, error_of, record

ARGUMENTS: dict[str, Any] = {
    "vpc_id": "vpc-1",
    "core_dns_security_group_id": "sg-cluster",
    "namespace": "shop",
    "pod_selector": {"match_labels": {"app": "web"}},
    "branch_interfaces": {"instance_types": ["m6i.large"], "pods_per_node": 1},
}
WEB: dict[str, Any] = {"description": "Web", "protocol": "tcp", "port": 80, "cidr": "10.0.0.0/16"}
POLICY = "kubernetes:vpcresources.k8s.aws/v1beta1:SecurityGroupPolicy"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"


class Registrations(mocks.Mocks):
    """Everything that was asked of the engine: type, name and inputs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        """Refuse: the component calls no function of a provider."""
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Keep what was asked for."""
        self.asked.append((args.typ, args.name, args.inputs))
        return f"shop/{args.name}-id" if args.typ == POLICY else f"{args.name}-id", args.inputs


def arguments(change: Mapping[str, Any]) -> Any:
    """Return good arguments with a change; one that is None is not given."""
    return {key: value for key, value in {**ARGUMENTS, **change}.items() if value is not None}


def recorded(change: Mapping[str, Any]) -> tuple[Recorder, dict[str, str]]:
    """Return all that the component asks for, and what it tells."""
    made, told = Recorder({POLICY: {"<id>": "shop/web-0a1b"}}), {}

    def make() -> None:
        group = PodSecurityGroup("web", arguments(change))
        group.security_group_id.apply(lambda value: told.update(group=value))
        group.policy_name.apply(lambda value: told.update(policy=value))

    assert record(make, made) == ""
    return made, told


def deploy(change: Mapping[str, Any], name: str = "web") -> tuple[Registrations, str]:
    """Return what the component asks for, and the error that it ends with."""
    made = Registrations()
    return made, error_of(made, lambda: PodSecurityGroup(name, arguments(change)))


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"match_labels": {"k8s-app": "kube-dns"}}, True),
        ({"match_labels": {"app.kubernetes.io/name": "coredns"}}, True),
        ({"match_labels": {"app.kubernetes.io/name": "web"}}, False),
        ({"match_labels": {"k8s-app": "web"}}, False),
        ({"match_labels": {"app": "web"}}, False),
        ({"match_labels": {"k8s-app": "kube-dns", "app": "web"}}, False),
        ({"match_expressions": [{"key": "k8s-app", "operator": "In", "values": ["web", "kube-dns"]}]}, True),
        ({"match_expressions": [{"key": "k8s-app", "operator": "In", "values": ["web"]}]}, False),
        ({"match_expressions": [{"key": "k8s-app", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"match_expressions": [{"key": "k8s-app", "operator": "NotIn", "values": ["kube-dns"]}]}, False),
        ({"match_expressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"match_expressions": [{"key": "k8s-app", "operator": "Exists"}]}, True),
        ({"match_expressions": [{"key": "app", "operator": "Exists"}]}, False),
        ({"match_expressions": [{"key": "k8s-app", "operator": "DoesNotExist"}]}, False),
        ({"match_expressions": [{"key": "app", "operator": "DoesNotExist"}]}, True),
        ({"match_labels": {"pod-template-hash": "5d78c9869d"}}, True),
        ({"match_expressions": [{"key": "pod-template-hash", "operator": "NotIn", "values": ["5d78c9869d"]}]}, True),
        (
            {
                "match_labels": {"k8s-app": "kube-dns"},
                "match_expressions": [{"key": "k8s-app", "operator": "NotIn", "values": ["kube-dns"]}],
            },
            False,
        ),
    ],
)
def test_a_selector_matches_as_kubernetes_says(selector: Any, matches: bool) -> None:
    """Equality and every operator, for labels that are there, are not, and whose value nobody knows."""
    assert all(labels["pod-template-hash"] is ANY_VALUE for labels in CORE_DNS_POD_LABELS)
    checked = check("web", arguments({"pod_selector": selector}))
    assert any(can_match(checked.get("pod_selector", {}), labels) for labels in CORE_DNS_POD_LABELS) == matches


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"pod_selector": {}}, True),
        ({"pod_selector": {"match_labels": {"app": "web"}}}, False),
        (
            {"pod_selector": {"match_expressions": [{"key": "k8s-app", "operator": "NotIn", "values": ["kube-dns"]}]}},
            False,
        ),
        ({"pod_selector": None, "service_account_selector": {}}, True),
        ({"pod_selector": None, "service_account_selector": {"match_labels": {"k8s-app": "kube-dns"}}}, True),
        ({"pod_selector": None, "service_account_selector": {"match_labels": {"app": "web"}}}, False),
        (
            {
                "pod_selector": None,
                "service_account_selector": {
                    "match_expressions": [{"key": "k8s-app", "operator": "NotIn", "values": ["kube-dns"]}]
                },
            },
            True,  # the account of some versions has no label
        ),
    ],
)
def test_core_dns_keeps_its_group(change: dict[str, Any], refused: bool) -> None:
    """A selector that can take CoreDNS out of its group is refused in its namespace, and in no other."""
    [key] = [key for key in ("pod_selector", "service_account_selector") if change.get(key) is not None]
    spelt = {"pod_selector": "podSelector", "service_account_selector": "serviceAccountSelector"}[key]
    made, error = deploy({**change, "namespace": "kube-system"})
    if refused:
        assert error == _report(
            f"{spelt} selects the pods of CoreDNS in kube-system: they would move out of the group from which the "
            "cluster expects DNS, and no pod could resolve a name. Select the pods meant by a label that CoreDNS does "
            "not have, or add {key: k8s-app, operator: NotIn, values: [kube-dns]} to its matchExpressions."
        )
        assert made.asked == []
    else:
        assert error == ""
    assert deploy(change)[1] == ""


def _report(*problems: str) -> str:
    noun = "mistake" if len(problems) == 1 else "mistakes"
    return "\n".join(
        [
            f"PodSecurityGroup 'web' has {len(problems)} {noun}; nothing of it was created or changed.",
            *(f"  {each}" for each in problems),
        ]
    )


SEE = "See the arguments of PodSecurityGroup in docs/pod-security-groups.md."
PORTS = "Give port (and toPort, at least as high) between 1 and 65535."
PEERS = "a rule is for one peer. Give exactly one of cidr, securityGroupId, prefixListId."
SELECT = (
    "a SecurityGroupPolicy selects by one of them. Give one (an empty podSelector selects every pod of the namespace)."
)
HOW_MANY = (
    "branchInterfaces must say how many pods with security groups there will be, once: either podsPerNode, or pods "
    "together with nodes. Without it pods could stay Pending for want of a branch interface."
)
LARGER = "Use larger instance types (the flex ones have the fewest interfaces) or more nodes, or ask for fewer pods."


def _branches(*types: str, **figures: Any) -> dict[str, Any]:
    return {"branch_interfaces": {"instance_types": list(types), **figures}}


REFUSALS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "misspelt": ({"namespce": "shop"}, [f"namespce: Extra inputs are not permitted. {SEE}"]),
    "missing": ({"vpc_id": None}, [f"vpcId: Field required. {SEE}"]),
    "wrong type": ({"vpc_id": 5}, [f"vpcId: Input should be a valid string. {SEE}"]),
    "no such operator": (
        {"pod_selector": {"match_expressions": [{"key": "app", "operator": "Is"}]}},
        ["podSelector.matchExpressions.0.operator: Input should be 'In', 'NotIn', 'Exists' or 'DoesNotExist'. " + SEE],
    ),
    "no selector": (
        {"pod_selector": None},
        [f"neither podSelector nor serviceAccountSelector is given; {SELECT}"],
    ),
    "both selectors": (
        {"service_account_selector": {}},
        [f"both podSelector and serviceAccountSelector are given; {SELECT}"],
    ),
    "an operator without values": (
        {"pod_selector": {"match_expressions": [{"key": "app", "operator": "In"}]}},
        [
            (
                "podSelector.matchExpressions[0] (app In) needs at least one value: the selector would select nothing, "
                "and pods would start without their security groups. Give the values."
            )
        ],
    ),
    "values without use": (
        {
            "pod_selector": None,
            "service_account_selector": {
                "match_expressions": [{"key": "app", "operator": "Exists", "values": ["web"]}]
            },
        },
        [
            (
                "serviceAccountSelector.matchExpressions[0] (app Exists) needs no values: the selector would select "
                "nothing, and pods would start without their security groups. Remove them."
            )
        ],
    ),
    "six groups": (
        {"additional_security_group_ids": ["sg-1", "sg-2", "sg-3", "sg-4", "sg-5"]},
        [
            (
                "additionalSecurityGroupIds has 5 groups, with the pods' own 6; a SecurityGroupPolicy takes 1 to 5. "
                "Name at most 4, or move rules into the pods' own group."
            )
        ],
    ),
    "a group twice": (
        {"additional_security_group_ids": ["sg-1", "sg-1"]},
        [
            (
                "additionalSecurityGroupIds names sg-1 twice; EC2 refuses an interface that has a group twice. "
                "Name each once."
            )
        ],
    ),
    "no port": (
        {"probe_ports": [0, 8080, 65536]},
        [
            f"probePorts has {port}, which is no port: the kubelet's probe would fail and the pod never be ready. "
            "Give ports between 1 and 65535."
            for port in (0, 65536)
        ],
    ),
    "the name of an own rule out": (
        {"egress": {"core-dns-udp": WEB}},
        [
            (
                "egress has a rule named core-dns-udp, a name of the component's own rules: that one would be lost. "
                "Choose another name."
            )
        ],
    ),
    "the name of an own rule in": (
        {"probe_ports": [8080], "ingress": {"kubelet-8080": WEB}},
        [
            (
                "ingress has a rule named kubelet-8080, a name of the component's own rules: that one would be lost. "
                "Choose another name."
            )
        ],
    ),
    "a rule twice": (
        {"egress": {"dns": {"description": "x", "protocol": "udp", "port": 53, "security_group_id": "sg-cluster"}}},
        [
            (
                "egress.dns allows the same as egress.core-dns-udp; EC2 refuses a rule that is there already. "
                "Remove one of them."
            )
        ],
    ),
    "no peer": (
        {"egress": {"db": {"description": "x", "protocol": "tcp", "port": 5432}}},
        [f"egress.db names no peer; {PEERS}"],
    ),
    "two peers": (
        {"egress": {"db": {**WEB, "prefix_list_id": "pl-1"}}},
        [f"egress.db names cidr and prefixListId; {PEERS}"],
    ),
    "no network": (
        {"egress": {"db": {**WEB, "cidr": "10.0.0.1/16"}}},
        ["egress.db.cidr is no IPv4 network: 10.0.0.1/16 has host bits set. Write it like 10.0.0.0/16."],
    ),
    "everything on a port": (
        {"egress": {"db": {**WEB, "protocol": "-1"}}},
        [
            (
                "egress.db allows every protocol, which takes no port: EC2 would open all ports, not port 80. "
                "Name the protocol tcp or udp, or remove the port."
            )
        ],
    ),
    "a range backwards": (
        {"egress": {"db": {**WEB, "to_port": 79}}},
        [f"egress.db has the ports 80 to 79, which are none. {PORTS}"],
    ),
    "a rule without ports": (
        {"egress": {"db": {"description": "x", "protocol": "tcp", "cidr": "10.0.0.0/16"}}},
        [f"egress.db has the ports None to None, which are none. {PORTS}"],
    ),
    "a rule without a reason": (
        {"ingress": {"db": {**WEB, "description": " "}}},
        ["ingress.db.description is empty; whoever reads the group's rules has to know why. Say it."],
    ),
    "a reason EC2 refuses": (
        {"ingress": {"db": {**WEB, "description": "shop's < web"}}},
        [
            (
                "ingress.db.description has ' <, which EC2 refuses in a description, after it has made other things. "
                "Use ASCII letters, digits, spaces and ._-:/()#,@[]+=;{}!$* only."
            )
        ],
    ),
    "a long reason": (
        {"ingress": {"db": {**WEB, "description": "x" * 256}}},
        ["ingress.db.description: the description has 256 characters, and EC2 takes 255. Shorten it."],
    ),
    "no figure": (_branches("m6i.large"), [HOW_MANY]),
    "both figures": (_branches("m6i.large", pods_per_node=1, pods=1, nodes=1), [HOW_MANY]),
    "pods without nodes": (_branches("m6i.large", pods=1), [HOW_MANY]),
    "no pod": (
        _branches("m6i.large", pods_per_node=0),
        ["branchInterfaces.podsPerNode is 0, which cannot hold or be a pod. Give at least 1."],
    ),
    "no node": (
        _branches("m6i.large", pods=1, nodes=0),
        ["branchInterfaces.nodes is 0, which cannot hold or be a pod. Give at least 1."],
    ),
    "no instance type": (
        _branches(pods_per_node=1),
        [
            (
                "branchInterfaces.instanceTypes is empty, so nobody can tell whether the pods find room. "
                "List the instance types of the node groups."
            )
        ],
    ),
    "a family": (
        _branches("m6i", pods_per_node=1),
        ["branchInterfaces.instanceTypes: 'm6i' is not an EC2 instance type for nodes. Write it like m6i.large."],
    ),
    "no trunk": (
        _branches("t3.large", pods_per_node=1),
        [
            (
                "branchInterfaces.instanceTypes has t3.large, which carries no branch interface at all: pods with "
                "security groups would stay Pending on such nodes for ever. Use a Nitro type such as m6i.large."
            )
        ],
    ),
    "an unknown figure": (
        _branches("x9.large", pods_per_node=1),
        [
            (
                "branchInterfaces.instanceTypes has x9.large, whose number of branch interfaces is unknown here, so "
                "nobody can tell whether the pods find room. Look it up (a node shows it as allocatable "
                "vpc.amazonaws.com/pod-eni; pkg/aws/vpc/limits.go of aws/amazon-vpc-resource-controller-k8s lists all) "
                "and say so: branchInterfaces.limits: {x9.large: <number>}."
            )
        ],
    ),
    "a figure above the known one": (
        _branches("m6i.large", pods_per_node=1, limits={"m6i.large": 50}),
        [
            (
                "branchInterfaces.limits gives m6i.large 50 branch interfaces, but it carries 9: pods beyond that "
                "would stay Pending. Remove it there; the figure is known."
            )
        ],
    ),
    "several types, of which one is none and one carries none": (
        _branches("m6i", "t3.large", "m6i.large", pods_per_node=1),
        [
            "branchInterfaces.instanceTypes: 'm6i' is not an EC2 instance type for nodes. Write it like m6i.large.",
            (
                "branchInterfaces.instanceTypes has t3.large, which carries no branch interface at all: pods with "
                "security groups would stay Pending on such nodes for ever. Use a Nitro type such as m6i.large."
            ),
        ],
    ),
    "one too many on one node": (
        _branches("m6i.large", pods=10, nodes=1),
        [
            (
                "branchInterfaces asks for 10 pods with security groups, and 1 nodes of m6i.large can hold 9 "
                f"(9 branch interfaces a node): 1 would stay Pending. {LARGER}"
            )
        ],
    ),
    "nodes without pods": (_branches("m6i.large", nodes=1), [HOW_MANY]),
    "a pod a node, and nodes": (_branches("m6i.large", pods_per_node=1, nodes=1), [HOW_MANY]),
    "a figure that is none": (
        _branches("x9.large", pods_per_node=1, limits={"x9.large": 0}),
        [
            (
                "branchInterfaces.instanceTypes has x9.large, which carries no branch interface at all: pods with "
                "security groups would stay Pending on such nodes for ever. Use a Nitro type such as m6i.large."
            )
        ],
    ),
    "one too many on a node": (
        _branches("m6i.xlarge", "m6i.large", pods_per_node=10),
        [
            (
                "branchInterfaces asks for 10 pods with security groups, and a node of m6i.large can hold 9 "
                f"(9 branch interfaces a node): 1 would stay Pending. {LARGER}"
            )
        ],
    ),
    "one too many on all": (
        _branches("m6i.large", pods=28, nodes=3),
        [
            (
                "branchInterfaces asks for 28 pods with security groups, and 3 nodes of m6i.large can hold 27 "
                f"(9 branch interfaces a node): 1 would stay Pending. {LARGER}"
            )
        ],
    ),
    "one more than the given figure": (
        _branches("x9.large", pods_per_node=4, limits={"x9.large": 3}),
        [
            (
                "branchInterfaces asks for 4 pods with security groups, and a node of x9.large can hold 3 "
                f"(3 branch interfaces a node): 1 would stay Pending. {LARGER}"
            )
        ],
    ),
    "several": (
        {"pod_selector": None, "egress": {"db": {**WEB, "to_port": 79}}},
        [
            f"neither podSelector nor serviceAccountSelector is given; {SELECT}",
            f"egress.db has the ports 80 to 79, which are none. {PORTS}",
        ],
    ),
}


@pytest.mark.parametrize(("change", "problems"), REFUSALS.values(), ids=REFUSALS)
def test_a_mistake_is_refused_before_anything_is_asked_for(change: dict[str, Any], problems: list[str]) -> None:
    """All that is wrong is told at once, with key, reason and remedy, and the engine is asked for nothing."""
    made, error = deploy(change)
    assert error == _report(*problems)
    assert made.asked == []


def test_what_is_checked_must_be_known_while_planning() -> None:
    """An output in place of a namespace is refused with what to give instead."""

    async def refused() -> str:
        with pytest.raises(pulumi.RunError) as error:
            check("web", arguments({"namespace": pulumi.Output.from_input("shop")}))
        return str(error.value)

    assert asyncio.run(refused()) == _report(
        "namespace is an output, which is unknown while planning, but it decides what is checked before anything is "
        "created. Give it as plain text, and depends_on for the order."
    )


def test_a_name_that_makes_no_description_is_refused() -> None:
    """The resource's name is part of descriptions, so it has to suit EC2."""
    made, error = deploy({}, name="web's")
    assert error.splitlines()[1:] == [
        (
            "  the name of the resource has ', which EC2 refuses in a description, after it has made other things. "
            "Use ASCII letters, digits, spaces and ._-:/()#,@[]+=;{}!$* only."
        )
    ]
    assert made.asked == []


@pytest.mark.parametrize(
    "demand",
    [
        {"instance_types": ["m6i.large"], "pods_per_node": 9},
        {"instance_types": ["m6i.large"], "pods": 27, "nodes": 3},
        {"instance_types": ["x9.large"], "pods_per_node": 3, "limits": {"x9.large": 3}},
        {"instance_types": ["m7i-flex.large", "m6i.4xlarge"], "pods_per_node": 3},
        {"instance_types": ["m6i.large"], "pods_per_node": 8, "limits": {"m6i.large": 8}},
        {"instance_types": ["m6i.large"], "pods_per_node": 9, "limits": {"m6i.large": 9}},
        {"instance_types": ["x9.large"], "pods_per_node": 1, "limits": {"x9.large": 1}},
    ],
)
def test_as_many_pods_as_there_are_interfaces_are_accepted(demand: Any) -> None:
    """The limit itself is allowed, on one node and on all."""
    assert branch_interface_problems(demand) == []


def test_the_longest_description_is_accepted() -> None:
    """The limit itself is allowed, of EC2's every character."""
    every = "azAZ09 ._-:/()#,@[]+=;{}!$*"
    assert description_problems("key", every + "x" * (255 - len(every))) == []


@pytest.mark.parametrize(
    "rule",
    [
        {"port": 1},
        {"port": 65535},
        {"port": 1, "to_port": 65535},
        {"port": 80, "to_port": 80},
        {"protocol": "udp", "port": 53},
        {"protocol": "-1", "port": None},
        {"cidr": "0.0.0.0/0"},
        {"cidr": None, "prefix_list_id": "pl-1"},
        {"cidr": None, "security_group_id": "sg-1"},
    ],
)
def test_a_rule_that_ec2_takes_is_taken(rule: dict[str, Any]) -> None:
    """At every end of what it takes."""
    merged = {key: value for key, value in {**WEB, **rule}.items() if value is not None}
    for direction in ("ingress", "egress"):
        checked: Any = check("web", arguments({direction: {"own": merged}}))
        assert checked[direction]["own"]["description"] == "Web"


@pytest.mark.parametrize("ports", [(0, None), (-1, None), (65536, None), (65535, 65536), (0, 80), (None, 80)])
def test_ports_that_are_none_are_refused(ports: tuple[int | None, int | None]) -> None:
    """Beside each end."""
    first, last = ports
    rule = {**WEB, "port": first, "to_port": last}
    given = {key: value for key, value in rule.items() if value is not None}
    _, error = deploy({"egress": {"own": given}})
    assert error == _report(
        f"egress.own has the ports {first} to {first if last is None else last}, which are none. {PORTS}"
    )


def test_every_protocol_takes_no_range_either() -> None:
    """A last port alone would be lost."""
    rule = {"description": "All", "protocol": "-1", "to_port": 80, "cidr": "10.0.0.0/8"}
    assert "egress.own allows every protocol, which takes no port" in deploy({"egress": {"own": rule}})[1]


def test_rules_are_the_same_if_peer_ports_and_protocol_are() -> None:
    """Each of them makes another rule; a range of one port is that port; what is unknown yet is not judged."""
    other: list[dict[str, Any]] = [
        {"protocol": "udp"}, {"port": 81}, {"to_port": 81}, {"cidr": "10.1.0.0/16"},
        {"cidr": None, "security_group_id": "sg-1"}, {"cidr": None, "prefix_list_id": "sg-1"},
    ]  # fmt: skip
    for change in other:
        rule = {key: value for key, value in {**WEB, **change}.items() if value is not None}
        assert deploy({"egress": {"a": WEB, "b": rule}})[1] == ""
    same = {**WEB, "to_port": 80, "description": "Other words"}
    assert deploy({"ingress": {"a": WEB, "b": same, "c": same}})[1] == _report(
        *(
            f"ingress.{name} allows the same as ingress.a; EC2 refuses a rule that is there already. "
            "Remove one of them."
            for name in "bc"
        )
    )

    async def known_later() -> Any:
        group = pulumi.Output.from_input("sg-1")
        rule = {"description": "Later", "protocol": "tcp", "port": 80, "security_group_id": group}
        return check("web", arguments({"egress": {"a": rule, "b": rule, "c": WEB}}))

    assert set(asyncio.run(known_later())["egress"]) == {"a", "b", "c"}


def test_four_groups_beside_their_own_are_taken() -> None:
    """The most that a policy has; a group that is not known yet counts."""
    assert deploy({"additional_security_group_ids": ["sg-1", "sg-2", "sg-3", "sg-4"]})[1] == ""


def test_the_ports_at_both_ends_can_be_probed() -> None:
    """And each has a rule."""
    given = check("web", arguments({"probe_ports": [1, 65535]}))
    assert [each.get("port") for each in ingress_rules(given).values()] == [1, 65535]


def test_the_component_adds_dns_and_probes_to_what_it_is_given() -> None:
    """Port 53 of CoreDNS over UDP and TCP out; each probe port in, from the nodes, else from CoreDNS' group."""
    given: PodSecurityGroupArgs = check("web", arguments({"egress": {"web": WEB}, "probe_ports": [8080, 9090]}))
    out = egress_rules(given)
    assert {
        name: (each["protocol"], each.get("port"), each.get("security_group_id"), each.get("cidr"))
        for name, each in out.items()
    } == {
        "core-dns-udp": (TrafficProtocol.UDP, 53, "sg-cluster", None),
        "core-dns-tcp": (TrafficProtocol.TCP, 53, "sg-cluster", None),
        "web": (TrafficProtocol.TCP, 80, None, "10.0.0.0/16"),
    }
    for nodes, expected in ((None, "sg-cluster"), ("sg-nodes", "sg-nodes")):
        changed: Any = {**given, "node_security_group_id": nodes}
        assert {(each["protocol"], each.get("port"), each.get("security_group_id"))
                for each in ingress_rules(changed).values()} == {
            (TrafficProtocol.TCP, 8080, expected), (TrafficProtocol.TCP, 9090, expected)}  # fmt: skip


FULL: dict[str, Any] = {
    "node_security_group_id": "sg-nodes",
    "pod_selector": {
        "match_labels": {"tier": "web"},
        "match_expressions": [{"key": "app", "operator": "In", "values": ["web"]}],
    },
    "egress": {
        "range": {**WEB, "to_port": 90},
        "objects": {"description": "S3", "protocol": "tcp", "port": 443, "prefix_list_id": "pl-1"},
        "all": {"description": "All", "protocol": "-1", "security_group_id": "sg-2"},
    },
    "ingress": {"web": {**WEB, "protocol": "udp"}},
    "probe_ports": [8080],
    "additional_security_group_ids": ["sg-1"],
    "tags": {"team": "shop"},
}
OF_THE_GROUP: dict[str, Any] = {"securityGroupId": "web-id", "tags": {"team": "shop"}}


def test_all_that_the_engine_is_asked_for() -> None:
    """To the letter: which peer, which ports, and what an auditor reads beside them."""
    made, told = recorded(FULL)
    assert made.of_kind(GROUP) == {
        "web": {"description": "Pods of shop: web", "tags": {"team": "shop"}, "vpcId": "vpc-1"},
    }
    dns = {**OF_THE_GROUP, "fromPort": 53, "referencedSecurityGroupId": "sg-cluster", "toPort": 53}
    why = "at CoreDNS, when the cache of the node does not answer"
    assert made.of_kind(EGRESS) == {
        "web-to-core-dns-udp": {**dns, "description": f"DNS over UDP {why}", "ipProtocol": "udp"},
        "web-to-core-dns-tcp": {**dns, "description": f"DNS over TCP {why}", "ipProtocol": "tcp"},
        "web-to-range": {
            **OF_THE_GROUP,
            "cidrIpv4": "10.0.0.0/16",
            "description": "Web",
            "fromPort": 80,
            "ipProtocol": "tcp",
            "toPort": 90,
        },
        "web-to-objects": {
            **OF_THE_GROUP,
            "description": "S3",
            "fromPort": 443,
            "ipProtocol": "tcp",
            "prefixListId": "pl-1",
            "toPort": 443,
        },
        "web-to-all": {
            **OF_THE_GROUP,
            "description": "All",
            "ipProtocol": "-1",
            "referencedSecurityGroupId": "sg-2",
        },
    }
    at_core_dns = {
        "fromPort": 53,
        "referencedSecurityGroupId": "web-id",
        "securityGroupId": "sg-cluster",
        "tags": {"team": "shop"},
        "toPort": 53,
    }
    assert made.of_kind(INGRESS) == {
        "web-from-kubelet-8080": {
            **OF_THE_GROUP,
            "description": "Probes of the kubelet on port 8080",
            "fromPort": 8080,
            "ipProtocol": "tcp",
            "referencedSecurityGroupId": "sg-nodes",
            "toPort": 8080,
        },
        "web-from-web": {
            **OF_THE_GROUP,
            "cidrIpv4": "10.0.0.0/16",
            "description": "Web",
            "fromPort": 80,
            "ipProtocol": "udp",
            "toPort": 80,
        },
        "web-at-core-dns-udp": {
            **at_core_dns, "description": "DNS over UDP from the pods of shop: web", "ipProtocol": "udp",
        },
        "web-at-core-dns-tcp": {
            **at_core_dns, "description": "DNS over TCP from the pods of shop: web", "ipProtocol": "tcp",
        },
    }  # fmt: skip
    assert made.of_kind(POLICY) == {
        "web": {
            "apiVersion": "vpcresources.k8s.aws/v1beta1",
            "kind": "SecurityGroupPolicy",
            "metadata": {"namespace": "shop"},
            "spec": {
                "podSelector": {
                    "matchLabels": {"tier": "web"},
                    "matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}],
                },
                "securityGroups": {"groupIds": ["web-id", "sg-1"]},
            },
        }
    }
    assert told == {"group": "web-id", "policy": "web-0a1b"}
    assert made.outputs["web"] == {"securityGroupId": "web-id", "policyName": "web-0a1b"}
    children = [request for (kind, _), request in made.requests.items() if "index" not in kind and "Stack" not in kind]
    assert len(children) == 11
    assert {request.parent.rpartition(":")[2] for request in children} == {"web"}
    assert ("eks-node-local-dns:index:PodSecurityGroup", "web") in made.requests


def test_without_more_there_is_dns_and_nothing_else() -> None:
    """Every optional argument left out; an empty selector is every pod of the namespace."""
    made, _ = recorded({"pod_selector": None, "service_account_selector": {}})
    assert list(made.of_kind(EGRESS)) == ["web-to-core-dns-udp", "web-to-core-dns-tcp"]
    assert list(made.of_kind(INGRESS)) == ["web-at-core-dns-udp", "web-at-core-dns-tcp"]
    assert made.inputs(GROUP, "web")["tags"] == {}
    assert made.inputs(POLICY, "web")["spec"] == {
        "serviceAccountSelector": {}, "securityGroups": {"groupIds": ["web-id"]},
    }  # fmt: skip


def test_the_pods_can_be_told_by_their_service_account() -> None:
    """By its labels, spelt as Kubernetes spells them."""
    labelled = {"match_labels": {"app": "web"}}
    made, _ = recorded({"pod_selector": None, "service_account_selector": labelled})
    assert made.inputs(POLICY, "web")["spec"]["serviceAccountSelector"] == {"matchLabels": {"app": "web"}}


def test_the_policy_waits_for_every_rule() -> None:
    """No pod can get the group before the group, and CoreDNS' group, have all their rules."""
    made, _ = recorded({"probe_ports": [8080], "ingress": {"web": WEB}, "egress": {"web": WEB}})
    rules = {name for kind in (INGRESS, EGRESS) for name in made.of_kind(kind)}
    assert len(rules) == 7
    assert made.waits_for(POLICY, "web") == {*rules, "web"}
