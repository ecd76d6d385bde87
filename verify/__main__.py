"""`python -m verify`: prove that DNS works on the cluster that KUBECONFIG, or a stack, points at."""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.running_cluster.kubernetes_api import KubernetesApiError
from components.running_cluster.lease import BusyError
from verify import crash, report
from verify.cluster import SYSTEM, Cluster, look
from verify.connection import connect
from verify.findings import Finding, Verdict
from verify.options import Options
from verify.probe import IMAGE
from verify.progress import Progress
from verify.run import Outcome, could_not_look, run_once

COULD_NOT_TELL = report.EXIT_CODES[Verdict.UNKNOWN]


def _interrupted(_number: int, _frame: Any) -> None:  # noqa: ANN401  # the signal module's signature
    raise KeyboardInterrupt


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C, or the end of the input
        return False


@dataclass(frozen=True, kw_only=True)
class _Command:
    """What the command was asked for."""

    options: Options
    as_json: bool
    junit: Path | None
    fix_hints: bool
    crash_test: str | None
    yes: bool
    out: Console
    said: Console
    """Where progress and problems are said: not in between what a program reads."""

    watch: int | None

    def look(self, cluster: Cluster) -> Outcome:
        """Look once. Raises `KubernetesApiError` and `BusyError`."""
        with Progress(self.said, "looking at the cluster", announced=self.watch is None) as progress:
            outcome = run_once(
                cluster, self.options, lambda done, total, name: progress.say(f"{done} of {total} looks: {name}")
            )
        if self.crash_test is not None:
            outcome.findings += self._crash(cluster, self.crash_test, outcome)
        return outcome

    def _crash(self, cluster: Cluster, node: str, outcome: Outcome) -> list[Finding]:
        """Make a healthy node's cache crash, if somebody agrees, and return what became of DNS there."""
        facts = look(cluster)
        reason = crash.refusal(facts, node, outcome.findings, crash.now())
        if reason:
            return crash.not_tried(node, reason)
        question = (
            f"The cache on {node} will crash once. Pods there ask CoreDNS until the kubelet has started it again, "
            "mostly some seconds; questions under way may be lost. Go on?"
        )
        if not self.yes and not (sys.stdin.isatty() and _agreed(question)):
            return crash.not_tried(node, "nobody agreed to it; answer the question with y, or give --yes")
        with Progress(self.said, "crash test") as progress:
            return crash.crash_once(
                cluster, facts, self.options, node, lambda text: progress.say(f"crash test: {text}")
            )

    def show(self, outcome: Outcome, before: Outcome | None) -> bool:
        """Print what was found, or what is new since the last time; say whether that could be done."""
        if self.as_json:
            self.out.print(report.as_json(outcome, one_line=self.watch is not None), markup=False)
        elif before is None:
            report.show(outcome, self.out, hints=self.fix_hints)
        else:
            report.show_changes(before, outcome, self.out, at=f"{crash.now():%H:%M:%S}")
        if self.junit is None:
            return True
        try:
            self.junit.write_text(report.as_junit(outcome))
        except OSError as error:
            self.said.print(f"--junit: the report could not be written: {error}; name a file that can be", markup=False)
            return False
        return True

    def could_not_look(self, problem: Exception) -> int:
        """Tell, also in the reports that were asked for, that nothing was found out; return the code."""
        known = isinstance(problem, KubernetesApiError | BusyError)
        reason = str(problem) if known else f"this command has a defect: {type(problem).__name__}: {problem}"
        self.said.print(f"{crash.now():%H:%M:%S} could not look: {reason}", markup=False)
        if self.as_json or self.junit is not None:
            replace(self, out=self.out if self.as_json else self.said).show(could_not_look(reason), None)
        return COULD_NOT_TELL

    def run(self, connection: Callable[[], Cluster]) -> int:
        """Look once, or until Ctrl-C; return the code of the last look."""
        last: Outcome | None = None
        code = COULD_NOT_TELL
        try:
            cluster = connection()
            while True:
                try:
                    outcome = self.look(cluster)
                except (KubernetesApiError, BusyError) as problem:
                    code = self.could_not_look(problem)
                    if last is None:
                        return code
                else:
                    # First: whoever has read the report may end this before it is done with printing.
                    code = report.EXIT_CODES[outcome.verdict]
                    before, last = last, outcome
                    if not self.show(outcome, before):
                        code = code or COULD_NOT_TELL
                if self.watch is None:
                    return code
                time.sleep(self.watch)
        except KeyboardInterrupt:
            self.said.print("Interrupted; what was made is removed.")
            return code
        except Exception as problem:  # noqa: BLE001  # a defect of this command is no verdict on a cluster
            return self.could_not_look(problem)


def _contradiction(node: list[str] | None, crash_test: list[str], watch: int | None) -> str:
    """Say what is wrong with the options of a crash test; empty if nothing."""
    if len(set(crash_test)) > 1:
        return "--crash-test takes one node at a time: were the fallback broken, only one may lose DNS"
    if crash_test and node and set(node) != set(crash_test):
        return "--crash-test looks at its own node only; leave --node away"
    return "--crash-test is made once; leave --watch away" if crash_test and watch is not None else ""


def main(
    *,
    node: Annotated[list[str] | None, typer.Option(help="Only this node; may be given more than once.")] = None,
    namespace: Annotated[str, typer.Option(help="Namespace of the probes.")] = SYSTEM,
    stack: Annotated[str | None, typer.Option(help="Take the kubeconfig from this stack's outputs.")] = None,
    security_group: Annotated[
        list[str] | None,
        typer.Option(help="Security group of the pod behind one; default: those of every SecurityGroupPolicy."),
    ] = None,
    external_name: Annotated[str, typer.Option(help="External name that is asked for.")] = "example.com",
    timeout: Annotated[int, typer.Option(help="Seconds a probe may take.", min=5)] = 60,
    image: Annotated[str, typer.Option(help="Image of the probes, with sh, ip, ss, dig and curl.")] = IMAGE,
    parallel: Annotated[int, typer.Option(help="Nodes probed at once.", min=1)] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON; with --watch one document a line.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report to this file.")] = None,
    watch: Annotated[int | None, typer.Option(help="Look again after this many seconds, until Ctrl-C.", min=1)] = None,
    fix_hints: Annotated[bool, typer.Option(help="Say what to do about what is wrong.")] = True,
    crash_test: Annotated[
        list[str] | None,
        typer.Option(help="Make the cache on this node crash once, and prove that DNS goes on without it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a crash test.")] = False,
) -> None:
    """Prove that DNS works: exit code 0 healthy, 1 unhealthy, 2 could not tell.

    Makes probe pods for some seconds and changes nothing else, but for --crash-test; removes them, also after Ctrl-C.
    """
    crashed = crash_test or []
    contradiction = _contradiction(node, crashed, watch)
    if contradiction:
        raise typer.BadParameter(contradiction)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    said = Console(stderr=True, soft_wrap=True, highlight=False)
    command = _Command(
        options=Options(
            nodes=tuple(crashed[:1] or node or ()),
            namespace=namespace,
            timeout=timeout,
            parallel=parallel,
            external=external_name,
            groups=tuple(security_group or ()),
            image=image,
        ),
        as_json=as_json,
        junit=junit,
        fix_hints=fix_hints,
        crash_test=crashed[0] if crashed else None,
        yes=yes,
        watch=watch,
        out=Console(soft_wrap=True, highlight=False),
        said=said,
    )
    raise typer.Exit(command.run(partial(connect, stack, parallel)))


app = typer.Typer(add_completion=False)
app.command()(main)

if __name__ == "__main__":
    app()
