"""Stops an update that would take DNS from pods: it asks the cluster right before the cache is installed."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import pulumi

from components.running_cluster.cni_state import MARK, REFUSED, CniState, look
from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError
from components.running_cluster.other_caches import find_other_caches
from components.running_cluster.strict_pods import SecurityGroupPod, entries, part

OVERRIDE = "nodeLocalDns.ignoreStrictPods"
"""The setting that lets an update pass all the same."""


INTERCEPTION = "eks-node-local-dns/interception"
"""Annotation of the cache's first object: which DaemonSet is to follow, as far as packets are concerned."""


class StrictPodsError(pulumi.RunError):
    """The cache is not installed (or changed), because pods would lose DNS, or nobody can tell that they would not."""


def interception(daemon_set: Mapping[str, Any]) -> str:
    """Return a short name of what decides which packets a DaemonSet's cache takes: what its containers run."""
    pod = part(daemon_set, "spec", "template", "spec")
    runs = [
        (each.get("name"), each.get("command"), each.get("args"))
        for kind in ("initContainers", "containers")
        for each in entries(pod, kind)
    ]
    return hashlib.sha256(json.dumps(runs).encode()).hexdigest()[:16]


def _interception(manifest: Mapping[str, Any]) -> str:
    return str(part(manifest, "metadata", "annotations").get(INTERCEPTION) or interception(manifest))


def has_to_look(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Say whether going from one object of the cache (None: none) to another can take DNS from a pod of strict rules.

    The objects are its DaemonSet, or the one that is made before all others. So can a cache that was installed unseen
    and is now to count as looked at.
    """
    if old is None or _interception(old) != _interception(new):
        return True
    before, after = (part(each, "metadata", "annotations").get(MARK) for each in (old, new))
    return after == REFUSED != before


def _line(pod: SecurityGroupPod) -> str:
    ending = ", and it is being deleted" if pod.leaving else ""
    owner = str(pod.owner) if pod.owner else "no owner: nothing makes it anew"
    return f"  {pod} on {pod.node or 'no node yet'} ({owner}): {pod.mode}, because {pod.reason}{ending}"


def _reasons(state: CniState) -> Iterable[str]:
    if state.suspects:
        one = len(state.suspects) == 1
        yield (
            f"{len(state.suspects)} running pod{'' if one else 's'} with a security group {'is' if one else 'are'} not "
            "known to have the rules of standard mode; under strict rules every name a pod asks for would time out:"
        )
        yield from map(_line, state.suspects)
    if state.makes_strict_pods and state.configured == "strict":
        yield (
            "The DaemonSet aws-node is in strict mode, so every pod with a security group that is made from now on "
            "would have no DNS. Set vpcCni.podSecurityGroupEnforcingMode (or POD_SECURITY_GROUP_ENFORCING_MODE of the "
            "vpc-cni add-on) to standard first."
        )
    elif state.makes_strict_pods:
        yield (
            "aws-node still runs in strict mode on " + ", ".join(state.nodes_by_mode["strict"]) + ": pods with a "
            "security group made there would have no DNS. Wait for `kubectl -n kube-system rollout status "
            "daemonset/aws-node`."
        )


def problem(state: CniState) -> str | None:
    """Return why the cache must not be installed in this state, and what to do about it; None if it may."""
    reasons = list(_reasons(state))
    if not reasons:
        return None
    if state.suspects:
        reasons.append(
            "Recreate them: `./eks-node-local-dns migrate` shows what it would do, `./eks-node-local-dns migrate "
            "--apply` does it, on the cluster that KUBECONFIG (or --stack) names; a pod without an owner is yours to "
            "delete. "
            "Then run `pulumi up` again."
        )
    return "\n".join(reasons)


def second_cache(others: Sequence[str]) -> str | None:
    """Return why the cache must not be installed beside these others, and what to do about it; None if there are none.

    What would then be lost is not only the DNS of pods with strict rules, so nothing overrides it.
    """
    if not others:
        return None
    one = len(others) == 1
    return (
        f"Something else has installed {'a NodeLocal DNS cache' if one else 'NodeLocal DNS caches'} in this cluster:\n"
        + "".join(f"  {each}\n" for each in others)
        + "Two on a node answer on the same addresses, and the one that leaves takes interface and rules from the "
        f"other. Remove {'it' if one else 'them'} with whatever installed {'it' if one else 'them'}, in the order of "
        "docs/runbooks/adopt.md (Another NodeLocal DNS), then run `pulumi up` again."
    )


def unknown(error: Exception) -> str:
    """Return why the cache must not be installed when the cluster could not be asked."""
    return (
        "Could not tell whether running pods would lose DNS: the cluster could not be asked for them.\n"
        f"  {error}\n"
        "Whoever deploys has to reach its API and may read pods, nodes, DaemonSets, and in kube-system "
        "ControllerRevisions (docs/runbooks/migrate.md). Then run `pulumi up` again."
    )


def _ask(kubeconfig: str) -> tuple[CniState, list[str]]:
    api = KubernetesApi.from_kubeconfig(kubeconfig)
    try:
        return look(api), find_other_caches(api)
    finally:
        api.close()


def _check(
    kubeconfig: pulumi.Output[str], *, ignore: bool
) -> Callable[[pulumi.ResourceHookArgs], Coroutine[Any, Any, None]]:
    async def check(args: pulumi.ResourceHookArgs) -> None:
        old, new = args.old_inputs, args.new_inputs or {}
        if old is not None and not has_to_look(old, new):
            return
        kept = "The cache is left as it is" if old else "The cache is not installed"
        try:
            # In a thread: the program goes on answering the engine meanwhile.
            state, others = await asyncio.to_thread(_ask, await kubeconfig.future() or "")
        except KubernetesApiError as error:
            found = unknown(error)
        else:
            # What belongs to a cache that is there is its repair, and takes DNS from nobody.
            of_the_cache = args.type == "kubernetes:apps/v1:DaemonSet"
            if not of_the_cache and old is None and state.cache is not None and not has_to_look(state.cache, new):
                return
            if second := second_cache(others):
                raise StrictPodsError(f"{kept}.\n{second}")
            found = problem(state)
        if found is None:
            return
        if not ignore:
            raise StrictPodsError(f"{kept}.\n{found}\nTo go on nevertheless, set {OVERRIDE}: true for one update.")
        pulumi.log.warn(f"{OVERRIDE} is on, so this did not stop the update:\n{found}")

    return check


def strict_pods_guard(name: str, kubeconfig: pulumi.Output[str], *, ignore: bool) -> pulumi.ResourceHook:
    """Return a hook for the time before the cache is made or changed, so that nothing of it is if a pod would lose DNS.

    It belongs to the object that all others wait for, which has to say by `INTERCEPTION` what they will be, and to the
    DaemonSet. With `ignore`, what would be refused is a warning. The engine runs hooks in an update only: a preview
    asks nobody.
    """
    return pulumi.ResourceHook(f"{name}-strict-pods", _check(kubeconfig, ignore=ignore))
