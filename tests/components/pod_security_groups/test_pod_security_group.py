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
from components.pod_security_groups.traffic_rules import LONGEST_DESCRIPTION, TrafficProtocol, description_problems
from tests.mocked_engine import DependencyMonitor, error_of

ARGUMENTS: dict[str, Any] = {
    "vpc_id": "vpc-1",
    "core_dns_security_group_id": "sg-cluster",
    "namespace": "shop",
    "pod_selector": {"match_labels": {"app": "web"}},
    "branch_interfaces": {"instance_types": ["m6i.large"], "pods_per_node": 1},
}
WEB: dict[str, Any] = {"description": "Web", "protocol": "tcp", "port": 80, "cidr": "10.0.0.0/16"}
POLICY = "kubernetes:vpcresources.k8s.aws/v1beta1:SecurityGroupPolicy"
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
    ],
)
def test_as_many_pods_as_there_are_interfaces_are_accepted(demand: Any) -> None:
    """The limit itself is allowed, on one node and on all."""
    assert branch_interface_problems(demand) == []


def test_the_longest_description_is_accepted() -> None:
    """The limit itself is allowed."""
    assert description_problems("key", "x" * LONGEST_DESCRIPTION) == []


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


def test_the_engine_is_asked_for_rules_before_the_policy() -> None:
    """The group and every rule on both sides are there before the SecurityGroupPolicy that pods start with."""
    made, error = deploy(
        {
            "pod_selector": {"match_expressions": [{"key": "app", "operator": "In", "values": ["web"]}]},
            "egress": {"range": {**WEB, "to_port": 90}},
            "additional_security_group_ids": ["sg-1"],
        }
    )
    assert error == ""
    kinds = [kind for kind, _, _ in made.asked]
    assert kinds[-1] == POLICY
    assert (kinds.count(EGRESS), kinds.count(INGRESS)) == (3, 2)
    [policy] = [inputs for kind, _, inputs in made.asked if kind == POLICY]
    assert policy["metadata"] == {"namespace": "shop"}
    assert policy["spec"] == {
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]},
        "securityGroups": {"groupIds": ["web-id", "sg-1"]},
    }
    named = {name: inputs for _, name, inputs in made.asked}
    assert (named["web-to-range"]["fromPort"], named["web-to-range"]["toPort"]) == (80, 90)
    for protocol in ("udp", "tcp"):
        there = named[f"web-at-core-dns-{protocol}"]
        assert (there["securityGroupId"], there["referencedSecurityGroupId"]) == ("sg-cluster", "web-id")
        assert (there["ipProtocol"], there["fromPort"], there["toPort"]) == (protocol, 53, 53)


def test_the_policy_waits_for_every_rule() -> None:
    """No pod can get the group before the group, and CoreDNS' group, have all their rules."""
    made = Registrations()
    monitor = DependencyMonitor(made)
    given = arguments({"probe_ports": [8080], "ingress": {"web": WEB}, "egress": {"web": WEB}})
    assert error_of(made, lambda: PodSecurityGroup("web", given), monitor) == ""
    rules = {name for kind, name, _ in made.asked if kind in {INGRESS, EGRESS}}
    assert len(rules) == 7
    assert rules <= monitor.waits_for[POLICY]
