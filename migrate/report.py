"""What the command says: the state, what would be done, and what was."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from components.running_cluster.cni_state import CniState
from components.running_cluster.strict_pods import Owner, SecurityGroupPod
from migrate.add_on import AddOn
from migrate.plan import Plan
from migrate.recreate import Result

_VERBS = {
    "restart": "restart its rollout",
    "evict": "evict its pods one by one",
    "wait": "wait for its pods to end",
    "by hand": "nothing",
}
_COLOURS = {"standard": "green", "strict": "red", "unknown": "yellow"}


def _named(owner: Owner | None) -> str:
    return str(owner) if owner else "pods without an owner"


def mode_text(state: CniState, add_on: AddOn) -> str:
    """Return which mode pods get: as the add-on asks, as the DaemonSet asks, and as it runs."""
    if state.configured == "absent":
        return f"There is no DaemonSet aws-node: nobody can say in which mode pods are made. {add_on.said}"
    running = {mode: len(names) for mode, names in state.nodes_by_mode.items()}
    off = "" if state.pod_interfaces else " ENABLE_POD_ENI is off: no new pod gets a security group of its own."
    return (
        f"{add_on.said} DaemonSet aws-node asks for {state.configured} mode; it runs in standard mode on "
        f"{running['standard']} nodes and in strict mode on {running['strict']}.{off}"
    )


def show_state(
    state: CniState, add_on: AddOn, pods: Iterable[SecurityGroupPod], plans: Mapping[Owner | None, Plan], out: Console
) -> None:
    """Print the mode, every pod with a security group, and what is to be done for each owner."""
    out.print(mode_text(state, add_on), markup=False)
    order = ["strict", "unknown", "standard"]
    listed = sorted(pods, key=lambda each: (order.index(each.mode), str(each)))
    if not listed:
        out.print("No running pod has a security group of its own.")
        return
    table = Table("pod", "node", "owner", "mode", "because", box=None, pad_edge=False)
    for each in listed:
        leaving = " (being deleted)" if each.leaving else ""
        owner = f"{each.owner.kind} {each.owner.name}" if each.owner else "-"
        mode = f"[{_COLOURS[each.mode]}]{each.mode}[/]"
        table.add_row(str(each), each.node or "-", owner, mode, f"{each.reason}{leaving}")
    out.print(table)
    for owner, chosen in plans.items():
        out.print(f"{_named(owner)}: {_VERBS[chosen.way]} ({chosen.why})", markup=False)


def show_results(results: Iterable[Result], out: Console) -> None:
    """Print what became of each owner."""
    for each in results:
        out.print(f"{_named(each.owner)}: {each.outcome}: {each.detail}", markup=False)


def _owner(owner: Owner | None) -> dict[str, str] | None:
    return None if owner is None else {"namespace": owner.namespace, "kind": owner.kind, "name": owner.name}


def as_json(
    state: CniState,
    add_on: AddOn,
    pods: Iterable[SecurityGroupPod],
    plans: Mapping[Owner | None, Plan],
    results: Iterable[Result] | None,
) -> str:
    """Return everything as one JSON document; `results` is null in a dry run."""
    document: dict[str, Any] = {
        "addOn": {"mode": add_on.mode, "said": add_on.said},
        "configuredMode": state.configured,
        "podInterfaces": state.pod_interfaces,
        "nodes": state.nodes_by_mode,
        "pods": [
            {
                "namespace": each.namespace,
                "name": each.name,
                "uid": each.uid,
                "node": each.node,
                "owner": _owner(each.owner),
                "mode": each.mode,
                "reason": each.reason,
                "leaving": each.leaving,
            }
            for each in pods
        ],
        "plan": [{"owner": _owner(owner), "way": each.way, "why": each.why} for owner, each in plans.items()],
        "results": None
        if results is None
        else [{"owner": _owner(each.owner), "outcome": each.outcome, "detail": each.detail} for each in results],
    }
    return json.dumps(document, indent=2)
