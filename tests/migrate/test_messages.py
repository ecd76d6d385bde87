"""What the command says of a state, each time in full."""

from typing import Any

import pytest

from components.running_cluster.cni_state import CniState
from components.running_cluster.strict_pods import Owner, SecurityGroupPod
from migrate.__main__ import conclusion
from migrate.add_on import AddOn
from migrate.recreate import Result
from migrate.refusal import refusal
from migrate.report import mode_text
from tests.aws_node import container


def aws_node(mode: str = "standard", node: str = "node-1", pod_eni: str = "true") -> dict[str, Any]:
    """Return aws-node's pod or, as far as it matters here, its DaemonSet."""
    spec = {"nodeName": node, "containers": [container(mode, pod_interfaces=pod_eni)]}
    return {"spec": {**spec, "template": {"spec": spec}}}


def pod(name: str, mode: Any = "strict") -> SecurityGroupPod:
    """Return a judged pod."""
    owner = Owner("shop", "Deployment", "orders")
    return SecurityGroupPod("shop", name, name, "node-1", owner, mode, "it is old", leaving=False)


ABSENT = CniState()
STRICT = CniState(aws_node=aws_node("strict"))
ROLLING = CniState(aws_node=aws_node(), aws_node_pods=[aws_node("strict", "b"), aws_node("strict", "a"), aws_node()])
STANDARD = CniState(aws_node=aws_node(), aws_node_pods=[aws_node()])

NOBODY_CAN_SAY = "There is no DaemonSet aws-node, so nobody can say which rules a new pod would get."
AGAIN = (
    "The DaemonSet aws-node is in strict mode: recreated pods would get strict rules again. Set "
    "vpcCni.podSecurityGroupEnforcingMode to standard and run `pulumi up`; if something else manages the vpc-cni "
    "add-on, set env.POD_SECURITY_GROUP_ENFORCING_MODE to standard in its configuration values."
)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ABSENT, NOBODY_CAN_SAY),
        (STRICT, AGAIN),
        (
            ROLLING,
            (
                "aws-node still runs in strict mode on a, b: pods recreated there would get strict rules again. See "
                "why its rollout does not go on (`kubectl -n kube-system rollout status daemonset/aws-node`)."
            ),
        ),
        (STANDARD, None),
    ],
)
def test_why_recreating_would_not_help(state: CniState, expected: str | None) -> None:
    """What is in the way, and what removes it."""
    assert refusal(state) == expected


OLD, LATE, NEW = pod("old"), pod("late", "unknown"), pod("new", "standard")


def with_pods(state: CniState, *pods: SecurityGroupPod) -> CniState:
    """Return a state with these pods."""
    return CniState(aws_node=state.aws_node, aws_node_pods=state.aws_node_pods, pods=pods)


@pytest.mark.parametrize(
    ("state", "chosen", "outcome", "code", "text"),
    [
        (STANDARD, [], None, 0, "No pod has strict rules, and none can get them."),
        (with_pods(STANDARD, NEW), [NEW], "done", 0, "No pod has strict rules, and none can get them."),
        (
            with_pods(STANDARD, OLD, NEW),
            [OLD, NEW],
            None,
            1,
            "1 pod is not known to have the rules of standard mode: shop/old.",
        ),
        (
            with_pods(STANDARD, OLD, LATE),
            [OLD, LATE],
            "done",
            1,
            "2 pods are not known to have the rules of standard mode: shop/old, shop/late.",
        ),
        (
            with_pods(STANDARD, OLD, LATE),
            [OLD],
            None,
            1,
            (
                "1 pod is not known to have the rules of standard mode: shop/old. Outside this selection 1 pod is not "
                "known to have the rules of standard mode."
            ),
        ),
        (
            with_pods(STANDARD, OLD, LATE, NEW),
            [NEW],
            None,
            0,
            (
                "No pod in this selection has strict rules, and none can get them. Outside this selection 2 pods are "
                "not known to have the rules of standard mode."
            ),
        ),
        (
            STANDARD,
            [],
            "failed",
            1,
            "No pod has strict rules any more, but not everything went well; see above.",
        ),
        (STRICT, [], None, 1, f"No pod has strict rules now, but new ones would get them. {AGAIN}"),
        (ABSENT, [], None, 2, NOBODY_CAN_SAY),
        (
            with_pods(ABSENT, LATE),
            [LATE],
            None,
            2,
            "1 pod is not known to have the rules of standard mode: shop/late.",
        ),
    ],
)
def test_the_last_sentence_and_the_exit_code(
    state: CniState, chosen: list[SecurityGroupPod], outcome: Any, code: int, text: str
) -> None:
    """Of all pods, of those that were chosen, and of a cluster that cannot say."""
    results = None if outcome is None else [Result(None, outcome, "")]
    assert conclusion(state, chosen, results) == (code, text)


ASKS = AddOn("standard", "The vpc-cni add-on asks for standard mode.")


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (
            ABSENT,
            (
                "There is no DaemonSet aws-node: nobody can say in which mode pods are made. The vpc-cni add-on asks "
                "for standard mode."
            ),
        ),
        (
            ROLLING,
            (
                "The vpc-cni add-on asks for standard mode. DaemonSet aws-node asks for standard mode; it runs in "
                "standard mode on 1 nodes and in strict mode on 2."
            ),
        ),
        (
            CniState(aws_node=aws_node(pod_eni="false")),
            (
                "The vpc-cni add-on asks for standard mode. DaemonSet aws-node asks for standard mode; it runs in "
                "standard mode on 0 nodes and in strict mode on 0. ENABLE_POD_ENI is off: no new pod gets a security "
                "group of its own."
            ),
        ),
    ],
)
def test_the_mode_as_the_add_on_and_the_daemon_set_ask_and_as_it_runs(state: CniState, expected: str) -> None:
    """All three, since each can differ from the next."""
    assert mode_text(state, ASKS) == expected
