"""The benchmark's table and pictures in the documentation, made from a run's results and from nothing else."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from lab.bench.alternatives import ALTERNATIVES, UDP
from lab.bench.loss import EVENTS
from lab.bench.results import SPEEDS, Results
from lab.bench.rounds import Spread
from lab.bench.subject import DIRECT, OURS, UPSTREAM_RULES, Variant
from lab.bench.workloads import RECORDS_OF_A_WIDE_ANSWER, WORKLOADS

PAGE = Path(__file__).parents[2] / "docs" / "benchmark.md"
PICTURES = PAGE.with_suffix("")
BEGIN, END = "<!-- figures: written by the benchmark -->", "<!-- end of figures -->"

_SUBJECTS = (DIRECT, UPSTREAM_RULES, OURS)
_COLOURS = {DIRECT.name: "#9aa5b1", UPSTREAM_RULES.name: "#e07b39", OURS.name: "#2f6fb0"}
_TITLES = {each.name: each.title for each in (*_SUBJECTS, UDP, *ALTERNATIVES[1:])}
# The same results give the same bytes: no date, no random identifiers, text as text.
_STYLE: dict[RcKeyType, str | int] = {
    "svg.hashsalt": "node-local-dns",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _spread(found: Spread, digits: int = 0) -> str:
    return f"{found.median:,.{digits}f} ({found.low:,.{digits}f} to {found.high:,.{digits}f})"


def _share(found: Spread) -> str:
    return f"{100 * found.median:+.1f} % ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def _workload_rows(results: Results) -> list[list[str]]:
    measured = {(each.workload, each.subject) for each in results.samples}
    rows: list[list[str]] = []
    for workload in WORKLOADS:
        for variant in (*_SUBJECTS, UDP):
            if (workload.name, variant.name) not in measured:
                continue
            figures = {
                figure: results.spread(variant.name, workload.name, figure)
                for figure in (
                    "queries_per_second", "p50_microseconds", "p99_microseconds",
                    "reached_coredns", "cache_cpu", "coredns_cpu",
                )
            }  # fmt: skip
            rows.append([
                f"{workload.name}: {variant.title}",
                _spread(figures["queries_per_second"]),
                _spread(figures["p50_microseconds"]), _spread(figures["p99_microseconds"]),
                f"{figures['reached_coredns'].median:.1f} %",
                f"{figures['cache_cpu'].median:.0f}", f"{figures['coredns_cpu'].median:.0f}",
            ])  # fmt: skip
    return rows


def _loss_rows(results: Results) -> list[list[str]]:
    def cell(event: str, interception: str) -> str:
        rows = results.lost(event, interception)
        lost, sent = (statistics.median([getattr(each, field) for each in rows]) for field in ("lost", "sent_after"))
        worst = max(each.lost for each in rows)
        return f"{lost:.0f} (at most {worst}) of {sent:.0f}"

    return [[event, cell(event, "upstream"), cell(event, "socket")] for event in reversed(EVENTS)]


def table(results: Results) -> str:
    """Return the figures as Markdown."""
    machine = results.machine
    rounds = len({each.round for each in results.samples})
    idle = results.memory[0].empty_mebibytes if results.memory else 0
    setting = (
        f"Measured with `{machine.command}` in {rounds} rounds on {machine.processors} processors "
        f"({machine.processor}, {machine.memory_gibibytes} GiB, Linux {machine.kernel}), node-cache: "
        f"{machine.node_cache}, {machine.dnsperf}. Load of the machine before the run: {machine.load:.1f}. "
        "Median of the rounds, smallest and largest in brackets.\n"
    )
    parts = [
        setting,
        _table(
            ["workload", "questions/s", "p50 µs", "p99 µs", "reach CoreDNS", "cache CPU µs/question",
             "CoreDNS CPU µs/question"],
            _workload_rows(results),
        ),
        "Conntrack entries on the node, each question from a port of its own (the pod's + the cache's own):\n",
        _table(
            ["", *(each.name for each in WORKLOADS)],
            [[variant.title, *(f"{each.of_client} + {each.of_cache} for {each.questions}"
                               for each in results.conntrack if each.subject == variant.name)]
             for variant in _SUBJECTS],
        ),
        "Questions lost of those asked from the event on, 1,000 a second:\n",
        _table(["", UPSTREAM_RULES.title, OURS.title], _loss_rows(results)),
        "By how much our rules are slower than upstream's, each round compared with itself:\n",
        _table(
            ["", *(each.name for each in WORKLOADS)],
            [[what, *(_share(results.slower(each.name, figure, more_is_better=more)) for each in WORKLOADS)]
             for figure, more, what in SPEEDS],
        ),
        f"Memory of full caches (empty: {idle:.0f} MiB), all zones with answers of the same size:\n",
        _table(
            ["in the cache", "peak MiB", "with all that may wait", "limit we set, MiB", "bytes per answer, or denial"],
            [[each.title, f"{each.full_mebibytes:.0f}", f"{each.peak_mebibytes:.0f}" if each.refused else "",
              str(each.bound_mebibytes), f"{each.bytes_per_entry:,.0f}"] for each in results.memory],
        ),
        "The default Corefile and alternatives to it, all at once, while the names expire again and again:\n",
        _table(
            ["", "questions", "had to wait for CoreDNS", "reached CoreDNS", "p99 µs"],
            [["default" if each.variant == OURS.name else _TITLES[each.variant], f"{each.sent:,}",
              f"{each.waited:,}", f"{each.reached_coredns:,}", f"{each.p99_microseconds:,.0f}"]
             for each in results.alternatives],
        ),
    ]  # fmt: skip
    return "\n".join(parts)


def _bars(axes: Axes, results: Results, figure: str, title: str) -> None:
    width = 0.8 / len(_SUBJECTS)
    for place, subject in enumerate(_SUBJECTS):
        found = [results.spread(subject.name, workload.name, figure) for workload in WORKLOADS]
        axes.bar(
            [number + (place - 1) * width for number in range(len(found))], [each.median for each in found], width,
            yerr=[[each.median - each.low for each in found], [each.high - each.median for each in found]],
            label=subject.title, color=_COLOURS[subject.name], capsize=2, error_kw={"linewidth": 0.8},
        )  # fmt: skip
    axes.set_xticks(range(len(WORKLOADS)), [each.name for each in WORKLOADS])
    axes.set_title(title, loc="left")
    axes.legend(frameon=False)


def _throughput(results: Results) -> Figure:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    _bars(figure.subplots(), results, "queries_per_second", "Questions answered per second (whiskers: all rounds)")
    return figure


def _latency(results: Results) -> Figure:
    figure = Figure(figsize=(7, 5.2), layout="constrained")
    half, most = figure.subplots(2)
    _bars(half, results, "p50_microseconds", "Latency at 1,000 questions/s, p50 in µs")
    _bars(most, results, "p99_microseconds", "p99 in µs")
    return figure


def _loss(results: Results) -> Figure:
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    rules: tuple[tuple[Variant, str], ...] = ((UPSTREAM_RULES, "upstream"), (OURS, "socket"))
    for place, (variant, interception) in enumerate(rules):
        share = [
            100 * sum(each.lost for each in rows) / sum(each.sent_after for each in rows)
            for rows in (results.lost(event, interception) for event in EVENTS)
        ]
        bars = axes.barh([number + (0.5 - place) * 0.36 for number in range(len(share))], share, 0.34,
                         label=variant.title, color=_COLOURS[variant.name])  # fmt: skip
        axes.bar_label(bars, [f"{each:.1f} %" for each in share], padding=3)
    axes.set_yticks(range(len(EVENTS)), list(EVENTS))
    axes.set_xlim(0, 115)
    axes.set_title("Questions lost, of those asked from the event on (%)", loc="left")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _memory(results: Results) -> Figure:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for records in sorted({each.records for each in results.memory}):
        rows = [each for each in results.memory if each.records == records]
        title = "denials only" if records == 0 else f"answers of {records}, and denials"
        axes.plot([each.capacity for each in rows], [each.full_mebibytes for each in rows], "o-", label=title)
    widest = [each for each in results.memory if each.records == RECORDS_OF_A_WIDE_ANSWER]
    axes.plot([each.capacity for each in widest], [each.peak_mebibytes for each in widest], "o-",
              label=f"answers of {RECORDS_OF_A_WIDE_ANSWER}, denials, and all that may wait")  # fmt: skip
    axes.plot([each.capacity for each in widest], [each.bound_mebibytes for each in widest], "k--",
              label="memory limit we set")  # fmt: skip
    axes.set_xlabel("capacity of each of the four large caches")
    axes.set_title("Resident memory of a full cache, MiB", loc="left")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


DRAWINGS = {"throughput": _throughput, "latency": _latency, "loss": _loss, "memory": _memory}


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw every picture into `directory`; the same results make the same files."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn: list[Path] = []
    with mpl.rc_context(rc=_STYLE):
        for name, make in DRAWINGS.items():
            drawn.append(directory / f"{name}.svg")
            figure = make(results)
            for axes in figure.axes:
                axes.spines[["top", "right"]].set_visible(False)
            figure.savefig(drawn[-1], metadata={"Date": None, "Creator": None})
    return drawn


def with_table(page: str, results: Results) -> str:
    """Return the page with the results' table between its two marks. Raises `ValueError` without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"docs/benchmark.md has no lines {BEGIN!r} and {END!r}, so the figures have no place. Put them back."
        )
    return f"{before}{BEGIN}\n\n{table(results)}\n{END}{after}"
