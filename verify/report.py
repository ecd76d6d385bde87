"""What a run found, for people, programs and pipelines."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import asdict
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Column, Table

from verify.findings import Finding, Verdict
from verify.run import Outcome

EXIT_CODES = {Verdict.OK: 0, Verdict.FAILED: 1, Verdict.UNKNOWN: 2}

_SENTENCES = {
    Verdict.OK: "Healthy: DNS works wherever it was looked at.",
    Verdict.FAILED: "Unhealthy: DNS is broken, or will be.",
    Verdict.UNKNOWN: "Could not tell: not everything could be looked at.",
}


def show(outcome: Outcome, console: Console, *, hints: bool) -> None:
    """Print a table of the nodes, what is wrong, what could not be told or seen, and the verdict."""
    nodes: dict[str, Counter[Verdict]] = defaultdict(Counter)
    for each in outcome.findings:
        nodes[each.place or "cluster"][each.verdict] += 1
    # A node's whole name is what a person copies.
    table = Table(Column("where", overflow="fold"), *Verdict, title="DNS, by node")
    for place, counts in sorted(nodes.items(), key=lambda each: (each[0] != "cluster", each[0])):
        table.add_row(place, *(str(counts[each] or "") for each in Verdict))
    console.print(table)
    for verdict in (Verdict.FAILED, Verdict.UNKNOWN, Verdict.NOT_VISIBLE):
        groups: dict[tuple[str, int | None, str, str], list[str]] = defaultdict(list)
        for each in outcome.findings:
            if each.verdict is verdict:
                groups[each.check, each.number, each.evidence, each.remedy].append(each.place or "cluster")
        for (check, number, evidence, remedy), places in groups.items():
            where = f"{places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}"
            mode = f" (failure mode {number})" if number else ""
            console.print(f"{verdict}: {check}{mode}, {where}: {evidence}", markup=False)
            if hints and remedy:
                console.print(f"  -> {remedy}", markup=False)
    console.print(_SENTENCES[outcome.verdict])


def show_changes(before: Outcome, after: Outcome, console: Console, *, at: str) -> None:
    """Print each check whose verdict is another than before, and the verdict."""
    old, new = ({(each.place, each.check): each for each in outcome.findings} for outcome in (before, after))
    changes = 0
    for place, check in {**old, **new}:
        was, now = old.get((place, check)), new.get((place, check))
        if (was.verdict if was else Verdict.OK) is not (now.verdict if now else Verdict.OK):
            changes += 1
            became = f"{now.verdict}: {now.evidence}" if now else "said no more"
            console.print(
                f"{at} {place or 'cluster'}: {check}: {was.verdict if was else 'new'} -> {became}", markup=False
            )
    console.print(f"{at} {changes or 'no'} changes. {_SENTENCES[after.verdict]}")


def as_json(outcome: Outcome, *, one_line: bool = False) -> str:
    """Return everything as JSON."""
    findings = [asdict(each) for each in outcome.findings]
    told = {"verdict": outcome.verdict, "nodes": outcome.nodes, "findings": findings}
    return json.dumps(told, indent=None if one_line else 1)


_NOT_IN_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(outcome: Outcome) -> str:
    """Return everything as JUnit's XML: a suite for each node, a case for each check."""
    places: dict[str, list[Finding]] = defaultdict(list)
    for each in outcome.findings:
        places[each.place or "cluster"].append(each)
    root = ET.Element("testsuites", name="verify")
    kinds = {Verdict.FAILED: "failure", Verdict.UNKNOWN: "error", Verdict.NOT_VISIBLE: "skipped"}
    for place, findings in places.items():
        counts = Counter(each.verdict for each in findings)
        numbers: dict[str, str] = {
            f"{kind}{'' if kind == 'skipped' else 's'}": str(counts[verdict]) for verdict, kind in kinds.items()
        }
        suite = ET.SubElement(root, "testsuite", {"name": place, "tests": str(len(findings)), **numbers})
        for each in findings:
            case = ET.SubElement(suite, "testcase", name=each.check, classname=place)
            if each.verdict in kinds:
                ET.SubElement(case, kinds[each.verdict], message=_NOT_IN_XML.sub("?", each.evidence)).text = each.remedy
    return ET.tostring(root, encoding="unicode", xml_declaration=True)
