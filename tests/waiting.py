"""How tests wait for what happens beside them: much longer than a busy machine needs, as a bound on for ever."""

import time
from collections.abc import Callable

WAITER = {"Delay": 1, "MaxAttempts": 240}
"""Configuration of boto3's waiters: seconds between two looks, and how many there are."""

_POLL_SECONDS = 0.05


def eventually(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(_POLL_SECONDS)
