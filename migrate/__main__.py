"""`python -m migrate`: recreate the pods that still have the rules of strict mode."""

import getpass
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.running_cluster.cni_state import CniState, look
from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError
from components.running_cluster.lease import BusyError, Lease, alone
from components.running_cluster.strict_pods import Owner, SecurityGroupPod
from migrate import add_on, report
from migrate.plan import Plan, owners_of, plan
from migrate.recreate import Options, Recreation, Result, workload_of
from migrate.refusal import refusal

STRICT_PODS_LEFT = 1
COULD_NOT_TELL = 2

LEASE = Lease("kube-system", "migrate-to-standard-mode")
"""Held while pods are recreated: two runs at once would each count the pods of the other as serving."""

_UNLIMITED = 10_000
"""Columns of an output that is no terminal: what reads it does not want lines broken."""


class UsageError(Exception):
    """What was asked for does not exist."""


@dataclass(frozen=True)
class Selection:
    """Which pods the command is about."""

    namespace: str | None = None
    owners: tuple[str, ...] = ()
    """As kubectl has it, e.g. deployment/orders; empty: all."""

    def of(self, state: CniState) -> list[SecurityGroupPod]:
        """Return the pods."""
        wanted = {each.lower() for each in self.owners}
        return [
            each
            for each in state.pods
            if self.namespace in {None, each.namespace}
            and (not wanted or (each.owner is not None and _short(each.owner) in wanted))
        ]

    def check(self, pods: list[SecurityGroupPod]) -> None:
        """Raise `UsageError` for an owner that has none of these pods: a misspelt one must not look done."""
        known = {_short(each.owner) for each in pods if each.owner}
        for each in self.owners:
            if each.lower() not in known:
                raise UsageError(f"--owner {each}: it has no running pod with a security group here")


def _short(owner: Owner) -> str:
    return f"{owner.kind}/{owner.name}".lower()


def connect(stack: str | None, kubeconfig: Path | None, context: str | None) -> KubernetesApi:
    """Return the API of a stack's cluster, or of a kubeconfig's. Raises `KubernetesApiError`."""
    if stack is None:
        return KubernetesApi.from_kubeconfig(kubeconfig, context)
    return KubernetesApi.from_stack(stack, context)


def _after_rollout_of_aws_node(api: KubernetesApi, state: CniState, timeout: float, said: Console) -> CniState:
    """Return the state once aws-node runs everywhere as it is configured, or when that takes too long."""
    end = time.monotonic() + timeout
    while state.configured == "standard" and state.makes_strict_pods and time.monotonic() < end:
        said.print(f"waiting for the rollout of aws-node: {', '.join(state.nodes_by_mode['strict'])}", markup=False)
        time.sleep(min(5, timeout))
        state = look(api)
    return state


def _plans(api: KubernetesApi, pods: list[SecurityGroupPod]) -> dict[Owner | None, Plan]:
    suspects = owners_of(each for each in pods if each.mode != "standard")
    return {owner: plan(owner, workload_of(api, owner) if owner else None, found) for owner, found in suspects.items()}


def _this_run() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container, whose user need not have a name
        user = "somebody"
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"


def _apply(api: KubernetesApi, plans: dict[Owner | None, Plan], options: Options, said: Console) -> list[Result]:
    # What ends by itself comes last: nothing else has to wait until it does.
    owners = sorted(filter(None, plans), key=lambda owner: (plans[owner].way == "wait", owner))
    recreation = Recreation(api, options, lambda owner, text: said.print(f"{owner}: {text}", markup=False))

    def stop() -> None:
        said.print("The lease could not be renewed in time and is another run's now: this one ends.")
        recreation.stop()

    with alone(api, LEASE, _this_run(), stop):
        results = recreation.run(owners)
    bare = [Result(None, "left", plans[None].why)] if None in plans else []
    return [*results, *bare]


def _count(pods: list[SecurityGroupPod]) -> str:
    return f"{len(pods)} {'pod is' if len(pods) == 1 else 'pods are'} not known to have the rules of standard mode"


def conclusion(state: CniState, pods: list[SecurityGroupPod], results: list[Result] | None) -> tuple[int, str]:
    """Return the exit code and the sentence that says why; `pods` are those that were chosen of the state's."""
    left = [each for each in pods if each.mode != "standard"]
    others = [each for each in state.suspects if each not in left]
    here, elsewhere = ("pod in this selection", f" Outside this selection {_count(others)}.") if others else ("pod", "")
    if left:
        code = COULD_NOT_TELL if state.configured == "absent" else STRICT_PODS_LEFT
        return code, f"{_count(left)}: {', '.join(map(str, left))}.{elsewhere}"
    if state.configured == "absent":
        return COULD_NOT_TELL, f"{refusal(state)}{elsewhere}"
    if any(each.outcome in {"failed", "interrupted", "not begun"} for each in results or ()):
        text = f"No {here} has strict rules any more, but not everything went well; see above.{elsewhere}"
        return STRICT_PODS_LEFT, text
    if state.makes_strict_pods:
        text = f"No {here} has strict rules now, but new ones would get them. {refusal(state)}{elsewhere}"
        return STRICT_PODS_LEFT, text
    return 0, f"No {here} has strict rules, and none can get them.{elsewhere}"


def _interrupted(_number: int, _frame: Any) -> None:  # noqa: ANN401  # the signal module's signature
    raise KeyboardInterrupt


@contextmanager
def _explained(said: Console) -> Iterator[None]:
    """Turn what can go wrong into a sentence and an exit code."""
    try:
        yield
    except (KubernetesApiError, UsageError, BusyError) as error:
        said.print(str(error), markup=False)
        raise typer.Exit(COULD_NOT_TELL) from None
    except KeyboardInterrupt:
        said.print("Interrupted. Nothing is half done: the next run goes on from here.")
        raise typer.Exit(STRICT_PODS_LEFT) from None


def main(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Recreate them; without it nothing is changed.")] = False,
    namespace: Annotated[str | None, typer.Option(help="Only pods of this namespace.")] = None,
    owner: Annotated[
        list[str] | None, typer.Option(help="Only pods of this owner, e.g. deployment/orders; may be repeated.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds an owner may make no progress.", min=1)] = 600,
    parallel: Annotated[int, typer.Option(help="Owners worked on at once.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    kubeconfig: Annotated[Path | None, typer.Option(help="Use this file instead of KUBECONFIG.")] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    stack: Annotated[str | None, typer.Option(help="Take the kubeconfig from this stack's outputs.")] = None,
) -> None:
    """Show which pods still have strict rules and, with --apply, recreate them owner by owner.

    Exit code 0: none is left of those chosen, and none can come. 1: some are left, or something failed. 2: could not
    tell, or another run is at work.
    """
    said, out = Console(stderr=True, soft_wrap=True, highlight=False), Console(soft_wrap=True, highlight=False)
    if not out.is_terminal:
        out.width = _UNLIMITED
    signal.signal(signal.SIGTERM, _interrupted)
    selection = Selection(namespace, tuple(owner or ()))
    with _explained(said):
        api = connect(stack, kubeconfig, context)
        state = look(api)
        pods = selection.of(state)
        selection.check(pods)
        plans = _plans(api, pods)
        asked = add_on.ask(api.user)
        if not as_json:
            report.show_state(state, asked, pods, plans, out)
        results: list[Result] | None = None
        if apply and plans:
            state = _after_rollout_of_aws_node(api, state, timeout, said)
            if why := refusal(state):
                said.print(f"{why} Nothing was changed.", markup=False)
            else:
                results = _apply(api, plans, Options(timeout=timeout, parallel=parallel), said)
                state = look(api)
                pods = selection.of(state)
        if as_json:
            out.print(report.as_json(state, asked, pods, plans, results), markup=False)
        elif results is not None:
            report.show_results(results, out)
        code, text = conclusion(state, pods, results)
        said.print(text if apply or not plans else f"{text} Nothing was changed: --apply recreates them.", markup=False)
        raise typer.Exit(code)


if __name__ == "__main__":
    typer.run(main)
