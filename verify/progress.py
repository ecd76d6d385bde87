"""Says how far long work is: in place on a terminal, with a line now and then in a log."""

import time
from typing import Self

from rich.console import Console

_PAUSE_SECONDS = 10


class Progress:
    """What is said while a block runs."""

    def __init__(self, console: Console, text: str, *, announced: bool = True) -> None:
        self._console, self._text, self._announced = console, text, announced
        self._status = console.status(text)
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        elif self._announced:
            self._console.print(self._text, markup=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def say(self, text: str) -> None:
        """Say how far it is; what is said off a terminal is said at most every ten seconds."""
        if self._console.is_terminal:
            self._status.update(text)
        elif time.monotonic() - self._said >= _PAUSE_SECONDS:
            self._said = time.monotonic()
            self._console.print(text, markup=False)
