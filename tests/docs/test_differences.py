"""The chart of differences claims for us what a test shows: the test it names is there."""

import re
from pathlib import Path

from components.cache.alerts import alerts

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "differences.md").read_text().splitlines()
    if line.startswith("|")
]


def test_every_row_names_a_test_that_exists() -> None:
    """No claim of ours is without its test, and no test that a row names is gone."""
    head, _, *rows = ROWS
    assert head[-2:] == ["here", "shown by"]
    for row in rows:
        assert len(row) == len(head), row
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row[-1])
        assert named or row[-1].startswith("the same"), row[0]
        for file, test in named:
            assert f"def {test}" in (ROOT / file).read_text(), f"{row[0]}: {file}::{test}"


def test_the_number_of_alerts_is_right() -> None:
    """The row about alerts counts them as they are."""
    [said] = [row[-2] for row in ROWS if row[0] == "alerts"]
    assert said.startswith(f"{len(alerts('n', 's', 1))}, ")
