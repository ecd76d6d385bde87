"""`python -m lab`: show the failure and the fix, and fail if either is not as we say."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lab import namespaces, scenarios
from lab.kubelet import node_cache
from tools import locate
from tools.provisioning import MissingToolError

REPORT = Path(__file__).parents[1] / ".local" / "lab" / "report.json"
_NOBODY = "nobody"


def _cell(checks: list[scenarios.Check]) -> str:
    found = sorted({each.answered_by or _NOBODY for each in checks})
    if all(each.right for each in checks):
        colour = "red" if found == [_NOBODY] else "green"
        return f"[{colour}]{' / '.join(found)}[/]"
    wrong = "; ".join(
        f"{each.protocol}: {each.answered_by or _NOBODY}, expected {each.expected_by or _NOBODY}"
        for each in checks if not each.right
    )  # fmt: skip
    return f"[bold reverse red]{wrong}[/]"


def show(report: scenarios.Report, console: Console) -> None:
    """Print the report: who answered whom, what was lost, and the route that explains the strict case."""
    table = Table("scenario", "server", "plain-pod", "sgp-pod", "host", title="Who answers (UDP and TCP)")
    rows: dict[tuple[str, str], dict[str, list[scenarios.Check]]] = {}
    for each in report.checks:
        rows.setdefault((each.scenario, each.server), {}).setdefault(each.client, []).append(each)
    last = ""
    for (scenario, server), clients in rows.items():
        cells = [_cell(clients[name]) if name in clients else "" for name in ("plain-pod", "sgp-pod", "host")]
        if scenario != last:
            table.add_section()
        table.add_row(scenario if scenario != last else "", server, *cells)
        last = scenario
    console.print(table)
    for each in report.loads:
        verdict = "as expected" if each.right else f"NOT AS EXPECTED ({each.at_least} to {each.at_most})"
        asked = f"{each.sent} questions over {each.protocol.upper()}"
        console.print(f"{each.scenario}: {each.client} lost {each.lost} of {asked}, {verdict}")
    for state in report.states:
        left = "the node is as it was" if state.right else f"THE NODE DIFFERS: {state.leftovers}"
        console.print(f"{state.scenario}: {left}", markup=False)
    if report.strict_route:
        console.print("\nWhy, in strict mode: the node sends the pod's question out of the branch ENI:")
        console.print(f"  {report.strict_route}", markup=False, highlight=False)


def main(
    only: Annotated[list[str] | None, typer.Argument(help="Scenarios to run; all of them if none is named.")] = None,
    *,
    output: Annotated[Path, typer.Option(help="Where the report is written.")] = REPORT,
) -> None:
    """Run the lab's scenarios and exit 1 unless every check is as expected."""
    console = Console(width=None if Console().is_terminal else 140)
    names = only or list(scenarios.SCENARIOS)
    unknown = [name for name in names if name not in scenarios.SCENARIOS]
    if unknown:
        console.print(f"No such scenario: {', '.join(unknown)}. There are: {', '.join(scenarios.SCENARIOS)}.")
        raise typer.Exit(2)
    report = scenarios.Report()
    try:
        namespaces.become_root([sys.executable, "-m", "lab", *names, "--output", str(output.resolve())])
        for program in ("ip", "iptables", "nft"):
            locate(program)
        console.print(f"node-cache: {node_cache()}", soft_wrap=True, highlight=False)
        for stale in namespaces.sweep():
            console.print(f"removed {stale}, which a dead lab left behind")
        with console.status(f"0 of {len(names)} done") as status:
            for number, name in enumerate(scenarios.run(names, report), 1):
                status.update(f"{number} of {len(names)} done: {name}")
                if not console.is_terminal:
                    console.print(f"{number} of {len(names)} done: {name}", highlight=False)
    except (namespaces.LabError, MissingToolError) as problem:
        console.print(str(problem), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    show(report, console)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report.plain(), indent=2) + "\n")
    console.print(f"\nReport: {output}", soft_wrap=True, highlight=False)
    if not report.right:
        console.print("Not everything is as expected.")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
