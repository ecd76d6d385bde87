"""A Pulumi program that runs in this process, and leaves nothing open when the engine ends the run before it."""

import asyncio
import os
import runpy
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulumi.automation import _stack
from pulumi.automation._server import LanguageServer

from local_cloud.cloud import ROOT

_ENDS_WITHIN = 10.0  # seconds; once the engine is gone, nothing is waited for


class InlineProgram:
    """A project's `__main__.py`, for the Automation API to call; `close` it when the engine is done."""

    def __init__(self, project: Path) -> None:
        self._main = project / "__main__.py"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = threading.Event()

    def __call__(self) -> None:
        """Run the program, on the SDK's event loop and in its thread."""
        self._loop = asyncio.get_running_loop()
        with _importable(ROOT):
            runpy.run_path(str(self._main), run_name="__main__")

    def close(self) -> None:
        """Return once nothing of the program is left."""
        if self._loop is not None:  # else the engine has not asked for the program
            self._ended.wait(_ENDS_WITHIN)

    def end(self) -> None:
        """End what the SDK has left, in its thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.set_exception_handler(lambda _loop, _context: None)  # whom it concerned knows
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            if pending:
                self._loop.run_until_complete(asyncio.wait(pending, timeout=_ENDS_WITHIN))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
        self._ended.set()


class _Server(LanguageServer):
    """The SDK's server of programs, which leaves none behind.

    An engine that ends a run, at an object that is not there for instance, is gone before the program is. The SDK
    then fails to tell it so, and leaves the program where it waits, with its event loop (pulumi 3.272.0,
    pulumi/automation/_server.py): the garbage collector finds them later, in the middle of something else.
    """

    def Run(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802  # the protocol's names
        """Run the program."""
        try:
            return super().Run(request, context)
        finally:
            if isinstance(self.program, InlineProgram):
                self.program.end()


# What `automation.Stack` serves its program with.
_stack.LanguageServer = _Server  # pyright: ignore[reportPrivateImportUsage]


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Let a program import the project's rooms, as it can when its own project runs it."""
    text = os.fspath(root)
    added = text not in sys.path
    if added:
        sys.path.insert(0, text)
    try:
        yield
    finally:
        if added:
            sys.path.remove(text)
