import pytest

from tests.program.recorder import Recording
from tests.program.runs import recording


class _Recorded(dict[str, Recording]):
    def __missing__(self, name: str) -> Recording:
        return recording(name)


@pytest.fixture(scope="session")
def recordings() -> dict[str, Recording]:
    """Run the program once for each of `RUNS` that is looked at."""
    return _Recorded()
