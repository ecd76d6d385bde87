"""The memory limit that follows from the caches' sizes."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.cache.cache_memory import go_memory_limit_mebibytes, memory_bound_mebibytes
from components.cache.corefile import CorefileSettings

BENCHMARK = Path(__file__).parents[3] / "docs" / "benchmark" / "report.json"
MEASURED: list[dict[str, Any]] = json.loads(BENCHMARK.read_text())["memory"]


@pytest.mark.parametrize(("capacity", "limit"), [(1024, 207), (9984, 356), (30_000, 688)])
def test_limit_is_above_what_was_measured(capacity: int, limit: int) -> None:
    """Caches full of wide answers, with every query waiting that may, need less; the limit is not much more either."""
    sizes = {"successCapacity": capacity, "denialCapacity": capacity}
    settings = CorefileSettings.model_validate({"cluster": sizes, "external": sizes})
    assert settings.memory_bound_mebibytes() == limit
    peaks = [each["peak_mebibytes"] for each in MEASURED if each["capacity"] == capacity]
    assert len(peaks) == 3
    assert max(peaks) < limit < max(peaks) * 1.5


def test_default_limit() -> None:
    """The memory of a node's cache in MiB with the settings as they are."""
    assert CorefileSettings().memory_bound_mebibytes() == 356


@pytest.mark.parametrize(
    ("answers", "denials", "waiting", "limit"),
    [
        ((), (), 0, 48),
        ((), (), 1, 49),
        ((), (), 32, 49),
        ((), (), 33, 50),
        # CoreDNS makes any smaller cache one of 1024.
        ((0,), (), 0, 56),
        ((1023,), (), 0, 56),
        ((1024,), (), 0, 56),
        ((1310,), (), 0, 57),
        ((), (0,), 0, 50),
        ((), (1024,), 0, 50),
        ((), (1398,), 0, 50),
        ((), (1399,), 0, 51),
        ((100_000, 200_000), (300_000, 400_000), 10_000, 48 + 2060 + 1002 + 312),
    ],
)
def test_every_entry_counts(answers: tuple[int, ...], denials: tuple[int, ...], waiting: int, limit: int) -> None:
    """48 MiB, 7,200 bytes an answer, 1,500 a denial, 32 kB a waiting query; a begun MiB is a whole one."""
    assert memory_bound_mebibytes(answers, denials, waiting) == limit


@pytest.mark.parametrize(("limit", "collected"), [(207, 165), (356, 284), (688, 550)])
def test_garbage_is_collected_before_the_limit(limit: int, collected: int) -> None:
    """A fifth is left for the program's own text and the kernel."""
    assert go_memory_limit_mebibytes(limit) == collected
