"""Run a part of a program in this process, with mocks in place of the engine."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_pulumi_func


class Recorder(mocks.MockMonitor):
    """Keeps every request as it reaches the engine, by type and name, and answers it with plain data.

    `states` are what AWS or Kubernetes adds to the inputs, by type: `<id>` is the id, and `<child>` has, by the output
    that refers to it, the type and state of a child that a remote component makes. `functions` are what data sources
    answer, by name: plain data, an error, or what makes one of the arguments.
    """

    def __init__(
        self, states: Mapping[str, Mapping[str, Any]] | None = None, functions: Mapping[str, Any] | None = None
    ) -> None:
        self.resources = {}
        self.requests: dict[tuple[str, str], Any] = {}
        self.reads: dict[tuple[str, str], Any] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self._states, self._functions = states or {}, functions or {}

    def inputs(self, kind: str, name: str) -> dict[str, Any]:
        """Return what a resource was asked to be."""
        return json_format.MessageToDict(self.requests[kind, name].object)

    def of_kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the inputs of all resources of a type, by name."""
        return {name: self.inputs(kind, name) for each, name in self.requests if each == kind}

    def waits_for(self, kind: str, name: str) -> set[str]:
        """Return the names of all that a resource waits for."""
        return {urn.rpartition("::")[2] for urn in self.requests[kind, name].dependencies}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Keep a registration."""
        urn = self.make_urn(request.parent, request.type, request.name)
        assert (request.type, request.name) not in self.requests, "the engine takes no two of one name"
        self.requests[request.type, request.name] = request
        state = json_format.MessageToDict(request.object) | dict(self._states.get(request.type, {}))
        identity = "" if request.type == "pulumi:pulumi:Stack" else state.pop("<id>", f"{request.name}-id")
        if child := state.pop("<child>", None):
            state |= {key: self._reference(urn, request.name, *each) for key, each in child.items()}
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, identity, state)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=_struct(state))

    def ReadResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Keep a look at what is there."""
        urn = self.make_urn(request.parent, request.type, request.name)
        self.reads[request.type, request.name] = request
        state = json_format.MessageToDict(request.properties) | dict(self._states.get(request.type, {}))
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, request.id, state)
        return resource_pb2.ReadResourceResponse(urn=urn, properties=_struct(state))

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Keep a component's outputs, by its name."""
        self.outputs[request.urn.rpartition("::")[2]] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)

    def Invoke(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Look a resource up, or answer a data source; what there is no answer for is not found."""
        answer = resource_pb2.ResourceInvokeResponse()
        arguments = json_format.MessageToDict(request.args)
        name = request.tok.rpartition(":")[2]
        if request.tok == "pulumi:pulumi:getResource":
            found: Any = self.resources[arguments["urn"]]._asdict()
        else:
            found = self._functions.get(name)
            found = found(arguments) if callable(found) else found
        if found is None:
            answer.failures.add(reason="couldn't find resource")
        elif isinstance(found, Exception):
            answer.failures.add(reason=str(found))
        else:
            getattr(answer, "return").CopyFrom(_struct(found))
        return answer

    def _reference(self, parent: str, name: str, kind: str, state: dict[str, Any]) -> dict[str, Any]:
        """Keep a child of a remote component, and return what its outputs refer to it by."""
        urn = self.make_urn(parent, kind, f"{name}-child")
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, name, state)
        return {rpc._special_sig_key: rpc._special_resource_sig, "urn": urn, "id": name}


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(dict(values))
    return made


class _Nothing(mocks.Mocks):
    """Of a recorder nothing is asked further."""

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        """Refuse."""
        raise NotImplementedError(args.token)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Refuse."""
        raise NotImplementedError(args.typ)


UNKNOWN = rpc.UNKNOWN
"""What the engine answers while it previews and does not know yet."""


def record(make: Callable[[], object], recorder: Recorder, *, preview: bool = False) -> str:
    """Make resources with a recorder in the engine's place, and return the error that ended it, if any."""
    return error_of(_Nothing(), make, recorder, preview=preview)


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


def error_of(
    mocked: mocks.Mocks,
    make: Callable[[], object],
    monitor: mocks.MockMonitor | None = None,
    *,
    preview: bool = False,
) -> str:
    """Make resources, wait until the mocks have answered for all, and return the error that ended it, if any."""

    async def run() -> None:
        mocks.set_mocks(mocked, preview=preview, monitor=monitor)
        await run_pulumi_func(lambda: (make(), None)[1])

    return ended(run)
