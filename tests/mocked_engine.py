"""Run a program, or a part of one, in this process, with mocks in place of the engine."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pulumi
from pulumi.runtime import mocks
from pulumi.runtime.stack import run_pulumi_func


class DependencyMonitor(mocks.MockMonitor):
    """Keeps what each resource waits for, by type: the names of other resources."""

    def __init__(self, mocked: mocks.Mocks) -> None:
        super().__init__(mocked)
        self.waits_for: dict[str, set[str]] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Answer as the mocks do."""
        self.waits_for[request.type] = {urn.rpartition("::")[2] for urn in request.dependencies}
        return super().RegisterResource(request)


def _but_for_what_is_returned(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell what nobody asked for, but for the error that ended the program: each output waiting for it has it too."""
    if not isinstance(context.get("exception"), pulumi.RunError):
        loop.default_exception_handler(context)


def ended(program: Callable[[], Awaitable[None]]) -> str:
    """Run what configures the SDK and then asks the mocks, until all is answered; return the error that ended it."""

    async def run() -> str:
        # The SDK opens an event loop in each thread that asks the mocks, and closes none.
        thread = ThreadPoolExecutor(1, initializer=lambda: asyncio.set_event_loop(asyncio.new_event_loop()))
        asyncio.get_running_loop().set_default_executor(thread)
        asyncio.get_running_loop().set_exception_handler(_but_for_what_is_returned)
        try:
            await program()
        except pulumi.RunError as error:
            return str(error)
        finally:
            thread.submit(lambda: asyncio.get_event_loop().close()).result()
        return ""

    # The SDK keeps its settings in context variables: a context of its own leaves other runs without them.
    return contextvars.copy_context().run(lambda: asyncio.run(run()))


def error_of(mocked: mocks.Mocks, make: Callable[[], object], monitor: mocks.MockMonitor | None = None) -> str:
    """Make resources, wait until the mocks have answered for all, and return the error that ended it, if any."""

    async def run() -> None:
        mocks.set_mocks(mocked, preview=False, monitor=monitor)
        await run_pulumi_func(lambda: (make(), None)[1])

    return ended(run)
