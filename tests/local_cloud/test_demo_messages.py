from pathlib import Path

import pytest

from local_cloud import demo
from stacks.reading import parse


def test_a_mistake_in_a_stack_file_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of a list in a message is text, not a style for the terminal."""

    def refused(_demo: object) -> int:
        parse({"network": {"zones": "a"}}, "stacks/Pulumi.dev.yaml")
        return 0

    assert demo._reported(tmp_path, refused) == 1
    assert "it has to be a list, like [a, b]" in capsys.readouterr().out
