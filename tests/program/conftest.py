from collections.abc import Callable
from typing import Any

import pytest

from tests.program.recorder import Recording, recorded
from tests.program.runs import recording, run_of


class _Recorded(dict[str, Recording]):
    def __missing__(self, name: str) -> Recording:
        return recording(name)


@pytest.fixture(scope="session")
def record() -> Callable[[dict[str, Any]], Recording]:
    """Return what runs the program for one more entry of the form of `RUNS`."""
    return lambda description: recorded(run_of(description))


@pytest.fixture(scope="session")
def recordings() -> dict[str, Recording]:
    """Run the program once for each of `RUNS` that is looked at."""
    return _Recorded()
