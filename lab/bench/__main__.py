"""`python -m lab.bench`: measure DNS on a node three ways, and fail if a claim of ours does not hold."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import psutil
import typer
from rich.console import Console
from rich.table import Table

from components.cache.corefile import CacheSettings
from lab import namespaces
from lab.bench import alternatives, conntrack, loss, memory, pages, rounds
from lab.bench.results import Machine, Results
from lab.bench.subject import DIRECT, OURS, UPSTREAM_RULES, running
from lab.bench.workloads import WORKLOADS
from lab.kubelet import node_cache
from tools import locate
from tools.provisioning import MissingToolError

OUTPUT = Path(__file__).parents[2] / ".local" / "bench"

Step = TypeVar("Step")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float
    """Of each measurement of throughput, and again of latency. Many short rounds: what disturbs the machine then
    disturbs both of a pair."""

    slack: float
    """See `Results.slack`."""

    loss_rounds: int
    capacities: tuple[int, ...]
    expiry_seconds: float
    """For which the alternatives are asked; names of Services live five seconds."""


_DEFAULT_CAPACITY = CacheSettings().success_capacity
FULL = Plan(
    rounds=15, seconds=0.6, slack=0.1, loss_rounds=3, capacities=(1024, _DEFAULT_CAPACITY, 30_000), expiry_seconds=21
)
# Too little to tell more than a factor of two.
SHORT = Plan(rounds=2, seconds=0.3, slack=1, loss_rounds=1, capacities=(1024,), expiry_seconds=7)


def _machine(command: str) -> Machine:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    printed = subprocess.run([locate("dnsperf"), "-H"], check=False, capture_output=True, text=True).stdout
    version = next((line.removeprefix("Version ") for line in printed.splitlines() if line.startswith("Version")), "")
    return Machine(
        command=command,
        kernel=platform.release(),
        processor=models[0] if models else platform.machine(),
        processors=os.cpu_count() or 1,
        memory_gibibytes=round(psutil.virtual_memory().total / 1024**3),
        load=os.getloadavg()[0],
        node_cache=node_cache().name,
        dnsperf=f"dnsperf {version}".strip(),
    )


def measure(plan: Plan, command: str, say: Callable[[str], None]) -> Results:
    """Measure everything; `say` is told what is being done."""
    results = Results(machine=_machine(command), slack=plan.slack)

    def each(title: str, steps: Iterable[Step], into: list[Step], total: int) -> None:
        say(f"{title}: 0/{total}")
        for number, step in enumerate(steps, 1):
            into.append(step)
            say(f"{title}: {number}/{total}")

    say("starting a node for each way")
    with running(DIRECT, UPSTREAM_RULES, OURS, alternatives.UDP) as subjects:
        three = subjects[:3]
        each("conntrack", conntrack.measure(three, WORKLOADS), results.conntrack, len(three) * len(WORKLOADS))
        measured = {workload: three if workload.repeated else subjects for workload in WORKLOADS}
        total = plan.rounds * sum(len(taking_part) for taking_part in measured.values())
        turns = rounds.take_turns(measured, plan.rounds, plan.seconds)
        each("throughput and latency", turns, results.samples, total)
    each("loss", loss.measure(plan.loss_rounds), results.losses, plan.loss_rounds * len(loss.EVENTS) * 2)
    sizes = len(plan.capacities) * len(memory.MEASURED)
    each("memory of full caches", memory.measure(plan.capacities), results.memory, sizes)
    each("alternatives", alternatives.measure(plan.expiry_seconds), results.alternatives,
         len(alternatives.ALTERNATIVES))  # fmt: skip
    return results


def _show(results: Results, console: Console) -> bool:
    figures = Table("workload", "way", "questions/s", "p50 µs", "p99 µs", title="Median of the rounds (all rounds)")
    for workload in WORKLOADS:
        figures.add_section()
        for variant in (DIRECT, UPSTREAM_RULES, OURS):
            found = [results.spread(variant.name, workload.name, figure)
                     for figure in ("queries_per_second", "p50_microseconds", "p99_microseconds")]  # fmt: skip
            cells = [f"{each.median:.0f} ({each.low:.0f} to {each.high:.0f})" for each in found]
            figures.add_row(workload.name, variant.title, *cells)
    console.print(figures)
    claims = Table("claim", "found", "", title="What we claim")
    for claim in results.claims():
        claims.add_row(claim.statement, claim.found, "[green]holds[/]" if claim.holds else "[bold reverse red]NO[/]")
    console.print(claims)
    return all(claim.holds for claim in results.claims())


def main(
    *,
    short: Annotated[bool, typer.Option("--short", help="About a minute, and no more than rough figures.")] = False,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Also write the table and pictures of docs/benchmark.md.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Directory of report.json and the pictures.")] = OUTPUT,
) -> None:
    """Measure CoreDNS directly, the cache with upstream's rules and with ours; exit 1 if a claim does not hold."""
    console = Console(width=None if Console().is_terminal else 160)
    if short and write_docs:
        console.print("--short measures too little for the documentation: leave out one of --short and --write-docs.")
        raise typer.Exit(2)
    try:
        namespaces.become_root([sys.executable, "-m", "lab.bench", *sys.argv[1:]])
        for program in ("ip", "iptables", "nft", "dnsperf"):
            locate(program)
        for stale in namespaces.sweep():
            console.print(f"removed {stale}, which a dead lab left behind")
        with console.status("") as status:
            command = " ".join(["python -m lab.bench", *sys.argv[1:]]) if sys.argv[0] == __file__ else "lab.bench"

            def say(what: str) -> None:
                status.update(what)
                if not console.is_terminal:
                    console.print(what, highlight=False)

            results = measure(SHORT if short else FULL, command, say)
    except (namespaces.LabError, MissingToolError) as problem:
        console.print(str(problem), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    right = _show(results, console)
    output.mkdir(parents=True, exist_ok=True)
    plain = {"right": right, "claims": [asdict(each) for each in results.claims()], **asdict(results)}
    (output / "report.json").write_text(json.dumps(plain, indent=2) + "\n")
    pages.draw(results, output)
    console.print(f"Report and pictures: {output}", soft_wrap=True, highlight=False)
    if write_docs:
        pages.PAGE.write_text(pages.with_table(pages.PAGE.read_text(), results))
        pages.draw(results, pages.PICTURES)
        (pages.PICTURES / "report.json").write_text(json.dumps(plain, indent=2) + "\n")
    if not right:
        console.print("Not every claim holds.")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
