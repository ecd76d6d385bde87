"""What stops an update, and what it then says; the engine that runs it is in tests/engine/test_strict_pods.py."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pulumi
import pytest

from components.cache.node_local_dns import NodeLocalDns, NodeLocalDnsArgs, NodeLocalDnsSettings, manifests
from components.running_cluster import strict_pods_guard
from components.running_cluster.cni_state import CniState, verified_at
from components.running_cluster.strict_pods import Owner, SecurityGroupPod
from components.running_cluster.strict_pods_guard import StrictPodsError, has_to_look, problem, second_cache, unknown
from tests.aws_node import STANDARD, STRICT, aws_node_daemon_set, aws_node_pod
from tests.mocked_engine import Recorder, record

DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
SERVICE = "kubernetes:core/v1:Service"


def objects(**settings: Any) -> Mapping[str, dict[str, Any]]:
    """Return the cache's objects with these settings."""
    return manifests(
        NodeLocalDnsSettings.model_validate(settings), cluster_dns_ip="172.20.0.10", upstream_ip="172.20.9.9"
    )


def cache(**settings: Any) -> dict[str, Any]:
    """Return the DaemonSet with these settings."""
    return objects(**settings)["daemonSet"]


def aws_node(mode: str = "standard", pod_eni: str = "true") -> dict[str, Any]:
    """Return the DaemonSet aws-node."""
    return aws_node_daemon_set({"POD_SECURITY_GROUP_ENFORCING_MODE": mode, "ENABLE_POD_ENI": pod_eni})


def pod(name: str, **other: Any) -> SecurityGroupPod:
    """Return a judged pod."""
    values: dict[str, Any] = {
        "namespace": "shop", "name": name, "uid": name, "node": "node-1", "mode": "strict",
        "owner": Owner("shop", "Deployment", "orders"), "reason": "it is old", "leaving": False, **other,
    }  # fmt: skip
    return SecurityGroupPod(**values)


@pytest.mark.parametrize("guarded", ["daemonSet", "upstreamService"])
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, False),
        ({}, {"corefile": {"external": {"successTtl": 60}}}, False),
        ({}, {"image": "registry.k8s.io/dns/k8s-dns-node-cache:1.26.9"}, False),
        ({}, {"interception": "upstream"}, True),
        ({}, {"localAddress": "169.254.30.10"}, True),
        ({}, {"ignoreStrictPods": True}, False),
        ({"ignoreStrictPods": True}, {}, True),
    ],
)
def test_what_cannot_take_dns_from_anybody_asks_nobody(
    guarded: str, old: dict[str, Any], new: dict[str, Any], expected: bool
) -> None:
    """Another interception does; so does what was installed unseen. The first object tells it as well as the last."""
    assert has_to_look(objects(**old)[guarded], objects(**new)[guarded]) is expected
    assert has_to_look(cache(**old), objects(**new)[guarded]) is expected


@pytest.mark.parametrize("guarded", ["daemonSet", "upstreamService"])
def test_what_is_new_or_says_nothing_of_itself_is_looked_at(guarded: str) -> None:
    """The first installation, and one from before there was a guard."""
    new = objects()[guarded]
    assert has_to_look(None, new)
    assert has_to_look({**new, "metadata": {}}, new)


def test_a_new_cluster_passes() -> None:
    """With no pod and no node there is nothing to lose."""
    assert problem(CniState(aws_node=aws_node())) is None
    assert problem(CniState()) is None
    assert problem(CniState(aws_node=aws_node(), pods=[pod("a", mode="standard")])) is None
    assert problem(CniState(aws_node=aws_node("strict", pod_eni="false"))) is None


def test_the_refusal_names_every_pod() -> None:
    """With its node, owner, mode and reason, and the command that helps."""
    pods = [
        pod("orders-1"),
        pod("orders-2", mode="unknown", node="", reason="nobody knows", leaving=True),
        pod("legacy", owner=None),
        pod("new", mode="standard"),
    ]
    assert problem(CniState(aws_node=aws_node(), pods=pods)) == (
        "3 running pods with a security group are not known to have the rules of standard mode; under strict rules "
        "every name a pod asks for would time out:\n"
        "  shop/orders-1 on node-1 (Deployment shop/orders): strict, because it is old\n"
        "  shop/orders-2 on no node yet (Deployment shop/orders): unknown, because nobody knows, and it is being "
        "deleted\n"
        "  shop/legacy on node-1 (no owner: nothing makes it anew): strict, because it is old\n"
        "Recreate them: `./eks-node-local-dns migrate` shows what it would do, `./eks-node-local-dns migrate --apply` "
        "does it, on the "
        "cluster that KUBECONFIG (or --stack) names; a pod without an owner is yours to delete. "
        "Then run `pulumi up` again."
    )


def test_a_mode_that_would_make_strict_pods_is_refused_too() -> None:
    """Also where there is no such pod yet."""
    assert problem(CniState(aws_node=aws_node("strict"))) == (
        "The DaemonSet aws-node is in strict mode, so every pod with a security group that is made from now on would "
        "have no DNS. Set vpcCni.podSecurityGroupEnforcingMode (or POD_SECURITY_GROUP_ENFORCING_MODE of the vpc-cni "
        "add-on) to standard first."
    )
    rolling = [aws_node_pod(STRICT, "b"), aws_node_pod(STRICT, "a"), aws_node_pod(STANDARD, "c")]
    assert problem(CniState(aws_node=aws_node(), aws_node_pods=rolling)) == (
        "aws-node still runs in strict mode on a, b: pods with a security group made there would have no DNS. Wait "
        "for `kubectl -n kube-system rollout status daemonset/aws-node`."
    )


def test_not_knowing_is_said() -> None:
    """It names what failed and what the deployer needs."""
    assert unknown(RuntimeError("GET /api/v1/pods: forbidden")) == (
        "Could not tell whether running pods would lose DNS: the cluster could not be asked for them.\n"
        "  GET /api/v1/pods: forbidden\n"
        "Whoever deploys has to reach its API and may read pods, nodes, DaemonSets, and in kube-system "
        "ControllerRevisions (docs/runbooks/migrate.md). Then run `pulumi up` again."
    )


@pytest.mark.parametrize(
    ("settings", "expected"), [({}, True), ({"ignoreStrictPods": True}, False), (None, False), ("unmarked", False)]
)
def test_the_time_of_installation_counts_only_if_it_was_looked(settings: Any, expected: bool) -> None:
    """A cache that was installed under the override, or before there was a guard, proves nothing."""
    installed = None if settings is None else cache(**({} if settings == "unmarked" else settings))
    if installed is not None:
        metadata = {} if settings == "unmarked" else installed["metadata"]
        installed["metadata"] = {**metadata, "creationTimestamp": "2026-01-02T03:04:05Z"}
    assert verified_at(installed) == (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) if expected else None)


def kubeconfig(**user: Any) -> str:
    """Return a kubeconfig of an API server that is not there."""
    return json.dumps({
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "c", "user": user}], "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    })  # fmt: skip


def check(
    kind: str = DAEMON_SET,
    *,
    ignore: bool = False,
    text: str = kubeconfig(token="t"),  # noqa: S106  # of nobody
    old: dict[str, Any] | None = None,
) -> None:
    """Run the hook's function before an installation, or before a change of what was installed with settings."""

    async def run() -> None:
        hook = strict_pods_guard._check(pulumi.Output.from_input(text), ignore=ignore)
        guarded = "daemonSet" if kind == DAEMON_SET else "upstreamService"
        before = None if old is None else objects(**old)[guarded]
        await hook(pulumi.ResourceHookArgs("urn", "", "name", kind, old_inputs=before, new_inputs=objects()[guarded]))

    asyncio.run(run())


def test_a_cluster_that_cannot_be_asked_stops_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Could not tell is no; the override makes a warning of it."""
    with pytest.raises(StrictPodsError, match="Could not tell whether running pods would lose DNS") as refused:
        check()
    assert "the Kubernetes API does not answer" in str(refused.value)
    assert str(refused.value).startswith("The cache is not installed.\n")
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    check(ignore=True)
    assert "Could not tell" in warnings[0]


def test_a_command_that_gives_no_token_stops_the_update() -> None:
    """The client would go on as nobody, and be told that it may not."""
    command = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "false", "args": []}
    with pytest.raises(StrictPodsError, match=r"its command .* failed or is not there"):
        check(text=kubeconfig(exec=command))


@pytest.mark.parametrize(
    ("kind", "installed", "stopped"),
    [
        (SERVICE, {}, False),
        (SERVICE, {"interception": "upstream"}, True),
        (SERVICE, {"ignoreStrictPods": True}, True),
        (SERVICE, None, True),
        (DAEMON_SET, {}, True),
    ],
)
def test_repairing_what_is_installed_is_not_stopped(
    monkeypatch: pytest.MonkeyPatch, kind: str, installed: dict[str, Any] | None, stopped: bool
) -> None:
    """A lost Service of a cache that runs is made again, whatever pods there are, if the cache stays as it is."""
    state = CniState(aws_node=aws_node(), pods=[pod("a")], cache=None if installed is None else cache(**installed))
    monkeypatch.setattr(strict_pods_guard, "_ask", lambda _kubeconfig: (state, []))
    expected = pytest.raises(StrictPodsError) if stopped else contextlib.nullcontext()
    with expected:
        check(kind)


@pytest.mark.parametrize("kind", [SERVICE, DAEMON_SET])
def test_a_change_is_looked_at_if_it_can_take_dns_from_somebody(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Then it is refused like an installation, and what is there stays; any other asks nobody."""
    state = CniState(aws_node=aws_node(), pods=[pod("a")], cache=cache(interception="upstream"))
    monkeypatch.setattr(strict_pods_guard, "_ask", lambda _kubeconfig: (state, []))
    with pytest.raises(StrictPodsError) as refused:
        check(kind, old={"interception": "upstream"})
    assert str(refused.value).startswith("The cache is left as it is.\n1 running pod with a security group is not")
    with pytest.raises(StrictPodsError, match="1 running pod"):
        check(kind, old={"ignoreStrictPods": True})
    monkeypatch.delattr(strict_pods_guard, "_ask")
    check(kind, old={"image": "registry.k8s.io/dns/k8s-dns-node-cache:1.26.9"})


def test_a_change_of_the_first_object_is_no_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the cache that runs is as the change would have it: the state may be behind, and pods are at stake."""
    state = CniState(aws_node=aws_node(), pods=[pod("a")], cache=cache())
    monkeypatch.setattr(strict_pods_guard, "_ask", lambda _kubeconfig: (state, []))
    with pytest.raises(StrictPodsError, match="1 running pod"):
        check(SERVICE, old={"interception": "upstream"})


def test_nothing_of_the_cache_is_made_or_changed_before_the_guard_was_asked() -> None:
    """It is asked before the first object and before the DaemonSet, at both; all others wait for the first."""
    made = Recorder({SERVICE: {"spec": {"clusterIP": "172.20.9.9"}}})
    arguments = NodeLocalDnsArgs(settings=NodeLocalDnsSettings(), cluster_dns_ip="172.20.0.10", kubeconfig="{}")
    assert record(lambda: NodeLocalDns("dns", arguments), made) == ""
    inside = {key: request for key, request in made.requests.items() if key[0].startswith("kubernetes:")}
    assert len(inside) == 5
    guarded = {(SERVICE, "dns-upstream"), (DAEMON_SET, "dns")}
    for key, request in inside.items():
        asked = [["dns-strict-pods"]] if key in guarded else [[]]
        assert [list(request.hooks.before_create), list(request.hooks.before_update)] == asked * 2
        if key != (SERVICE, "dns-upstream"):
            assert "dns-upstream" in made.waits_for(*key)
    assert made.waits_for(SERVICE, "dns-upstream") == set()
    assert made.waits_for(DAEMON_SET, "dns") >= {"dns-account", "dns-corefile"}


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"command": ["x"]}, True),
        ({"args": ["x"]}, True),
        ({"name": "x"}, True),
        ({"image": "x"}, False),
        ({"env": [{"name": "X", "value": "x"}]}, False),
    ],
)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_an_interception_is_what_the_containers_run(kind: str, change: dict[str, Any], other: bool) -> None:
    """Of those that come first too; and no more than that."""

    def daemon_set(**more: Any) -> dict[str, Any]:
        return {"spec": {"template": {"spec": {kind: [{"name": "c", "command": ["a"], "args": ["b"], **more}]}}}}

    before, after = (strict_pods_guard.interception(each) for each in (daemon_set(), daemon_set(**change)))
    assert (before != after) is other
    assert len(before) == 16


def test_a_second_cache_is_refused_whatever_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is said of it; without one nothing is."""
    assert second_cache([]) is None
    monkeypatch.setattr(strict_pods_guard, "_ask", lambda _kubeconfig: (CniState(), ["dns/nodelocaldns (x)"]))
    with pytest.raises(StrictPodsError, match="a NodeLocal DNS cache") as refused:
        check(SERVICE, ignore=True)
    assert str(refused.value) == (
        "The cache is not installed.\n"
        "Something else has installed a NodeLocal DNS cache in this cluster:\n"
        "  dns/nodelocaldns (x)\n"
        "Two on a node answer on the same addresses, and the one that leaves takes interface and rules from the "
        "other. Remove it with whatever installed it, in the order of docs/runbooks/adopt.md (Another NodeLocal DNS), "
        "then run `pulumi up` again."
    )


FOUND = (
    "1 running pod with a security group is not known to have the rules of standard mode; under strict rules every "
    "name a pod asks for would time out:\n  shop/a on node-1 (Deployment shop/orders): strict, because it is "
    "old\nRecreate them: `./eks-node-local-dns migrate` shows what it would do, `./eks-node-local-dns migrate "
    "--apply` does it, on the "
    "cluster that KUBECONFIG (or --stack) names; a pod without an owner is yours to delete. Then run `pulumi up` "
    "again."
)


def test_all_that_a_refused_update_says_and_all_that_the_override_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first word to the last."""
    state = CniState(aws_node=aws_node(), pods=[pod("a")])
    monkeypatch.setattr(strict_pods_guard, "_ask", lambda _kubeconfig: (state, []))
    with pytest.raises(StrictPodsError) as refused:
        check(SERVICE)
    assert str(refused.value) == (
        f"The cache is not installed.\n{FOUND}\n"
        "To go on nevertheless, set nodeLocalDns.ignoreStrictPods: true for one update."
    )
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    check(SERVICE, ignore=True)
    assert warnings == [f"nodeLocalDns.ignoreStrictPods is on, so this did not stop the update:\n{FOUND}"]
