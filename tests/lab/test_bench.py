import json
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner

from lab.bench import __main__, pages, rounds
from lab.bench.dnsperf import read
from lab.bench.results import Results
from lab.bench.rounds import Sample, Spread, percentile
from lab.bench.workloads import WORKLOADS
from lab.namespaces import LabError


@pytest.mark.lab
@pytest.mark.timeout(900)
def test_short_run_holds_every_claim_and_draws_the_same_pictures(tmp_path: Path) -> None:
    """A short run exits 0, counts no conntrack entry for cached DNS and some without a cache, and is redrawn alike."""
    application = typer.Typer()
    application.command()(__main__.main)
    done = CliRunner().invoke(application, ["--short", "--output", str(tmp_path)])
    report = json.loads((tmp_path / "report.json").read_text())
    assert [each for each in report["claims"] if not each["holds"]] == []
    assert done.exit_code == 0
    entries = {(each["subject"], each["workload"]): each["of_client"] for each in report["conntrack"]}
    assert entries["direct", "hit"] > 0
    assert entries["socket", "hit"] == entries["upstream", "hit"] == 0
    del report["right"], report["claims"]
    results = TypeAdapter(Results).validate_python(report)
    for again in pages.draw(results, tmp_path / "again"):
        assert again.read_bytes() == (tmp_path / again.name).read_bytes()
    assert "| hit: cache, our rules |" in pages.with_table(f"{pages.BEGIN}{pages.END}", results)


def _results(ours: list[float], theirs: list[float]) -> Results:
    """Return the results of rounds in which our rules and upstream's answered so many questions at every workload."""
    kept = Results.__new__(Results)
    kept.slack = 0.1
    kept.samples = [
        Sample(
            subject=subject, workload=workload.name, round=number, queries_per_second=speed,
            p50_microseconds=100_000 / speed, p99_microseconds=0, lost=0, reached_coredns=0, expired=0, cache_cpu=0,
            coredns_cpu=0, cache_memory=0, coredns_memory=0,
        )
        for subject, speeds in (("socket", ours), ("upstream", theirs))
        for number, speed in enumerate(speeds)
        for workload in WORKLOADS
    ]  # fmt: skip
    return kept


@pytest.mark.parametrize(("share", "right"), [(1.0, True), (0.95, True), (0.85, False)])
def test_slower_is_found_however_the_rounds_differ(share: float, right: bool) -> None:
    """Rounds that differ by far more than the rules do neither hide what is slower nor make it up."""
    theirs = [100.0, 900.0, 300.0, 1000.0, 200.0, 700.0, 400.0]
    claims = list(_results([share * each for each in theirs], theirs)._speed())
    assert len(claims) == 2 * len(WORKLOADS)
    assert {each.holds for each in claims} == {right}
    assert "at most 10% slower" in claims[0].statement


def test_round_that_something_disturbed_is_no_finding_of_a_few_rounds() -> None:
    """Of two rounds, as a short run has, one in which we were ten times slower says nothing; two do."""
    theirs = [100.0, 100.0]
    assert {each.holds for each in _results([10.0, 100.0], theirs)._speed()} == {True}
    assert {each.holds for each in _results([10.0, 20.0], theirs)._speed()} == {False}


def test_a_median_is_somewhere_between_ranks() -> None:
    """Of 15 rounds the median lies between the fourth and the twelfth in 19 of 20 runs; of five nobody can say."""
    assert Spread.of_median(range(15, 0, -1)) == Spread(median=8, low=4, high=12)
    assert Spread.of_median(range(1, 7)) == Spread(median=3.5, low=1, high=6)
    assert Spread.of_median([5, 1, 3]) == Spread(median=3, low=1, high=5)


def test_nobody_is_always_measured_in_the_wake_of_the_same_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every two rounds each of a pair is first once, and over the rounds everybody follows everybody else."""
    monkeypatch.setattr(rounds, "measure", lambda subject, _workload, number, _seconds: (number, subject))
    turns: list[Any] = list(rounds.take_turns({WORKLOADS[0]: ["a", "b", "c"]}, 14, 1))  # type: ignore[dict-item]
    orders = ["".join(subject for number, subject in turns if number == each) for each in range(14)]
    assert all(set(order) == set("abc") for order in orders)
    assert sum(order.index("a") < order.index("b") for order in orders) == 7
    assert {pair for order in orders for pair in (order[:2], order[1:])} == {"ab", "ba", "ac", "ca", "bc", "cb"}


def test_percentile_is_a_measured_value() -> None:
    """Percentiles are values that occurred; none at all is an error."""
    assert (percentile([3, 1, 2, 4], 50), percentile(range(1, 101), 99)) == (2, 99)
    with pytest.raises(LabError, match="no latency"):
        percentile([], 50)


def test_output_without_statistics_is_an_error() -> None:
    """What dnsperf prints when it fails is not taken for figures."""
    with pytest.raises(LabError, match="nothing was measured"):
        read("Error: no such file")


def test_page_without_marks_is_refused() -> None:
    """A page that lost the place of its figures is not silently left as it is."""
    with pytest.raises(ValueError, match="Put them back"):
        pages.with_table("# The benchmark", Results.__new__(Results))


def test_page_has_the_marks() -> None:
    """The documentation's page has a place for the figures."""
    page = pages.PAGE.read_text()
    assert page.index(pages.BEGIN) < page.index(pages.END)
