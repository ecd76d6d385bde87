"""Running the project's own programs on the real engine, in this process, against a local cloud."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import yaml
from pulumi import automation
from pulumi.automation import EngineEvent, OpType

from local_cloud.cloud import ROOT
from local_cloud.inline_program import InlineProgram
from local_cloud.plugins.aws.__main__ import TYPES as AWS_TYPES
from tools import locate

Watcher = Callable[[EngineEvent], None]

CHANGES = frozenset({"create", "update", "delete", "replace", "create-replacement", "delete-replaced", "import"})
"""Operations that change something; `same`, `read` and `refresh` do not."""


@dataclass(frozen=True)
class Step:
    """One operation on one resource, in the order in which the engine began (or ended) it."""

    operation: str
    type: str
    name: str
    ended: bool
    urn: str


@dataclass
class Run:
    """What the engine did in one command."""

    steps: list[Step] = field(default_factory=list)
    """Every operation as it began and as it ended."""

    diagnostics: list[str] = field(default_factory=list)
    """Warnings and errors."""

    resources: int = 0
    """Resources that the program registered."""

    def changes(self) -> list[Step]:
        """Return what was changed (or, of a preview, would be), leaving out what stays as it is."""
        return [each for each in self.steps if not each.ended and each.operation in CHANGES]

    def order(self, operation: str) -> dict[str, tuple[int, int]]:
        """Return for each URN when an operation on it began and ended, as positions in the run."""
        found: dict[str, tuple[int, int]] = {}
        for position, step in enumerate(self.steps):
            if step.operation == operation:
                begun = found.get(step.urn, (position, position))[0]
                found[step.urn] = (begun, position)
        return found


_NAMED = {
    "aws:eks/cluster:Cluster": ("name",),
    "aws:eks/addon:Addon": ("clusterName", "addonName"),
    "aws:eks/nodeGroup:NodeGroup": ("clusterName", "nodeGroupName"),
    "aws:cloudwatch/logGroup:LogGroup": ("name",),
    "aws:iam/role:Role": ("name",),
}
"""Types of which there cannot be two of one name, and the inputs that make up the name."""


def _from_urn(urn: str) -> tuple[str, str]:
    parts = urn.split("::")
    return parts[2].rsplit("$", maxsplit=1)[-1], parts[-1]


@dataclass
class Stack:
    """A stack of a Pulumi project in this repository, on the state backend of a local cloud.

    The stack file is the project's own; the engine gets a copy, because it writes its encryption salt into it.
    """

    environment: Mapping[str, str]
    """What `.local/env` holds: backend, endpoint, credentials, PATH."""

    directory: Path
    """Where the copies are kept: beside the state they belong to."""

    name: str = "dev"
    """Name of the stack."""

    project: Path = ROOT
    """The project's folder: the one with Pulumi.yaml and __main__.py."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Configuration on top of the stack file's, whole keys with their namespace."""

    def preview(self, watch: Watcher | None = None) -> Run:
        """Plan, and change nothing."""
        return self._run("preview", watch)

    def up(self, watch: Watcher | None = None) -> Run:
        """Make the stack what the program says, finishing what a killed run left half done."""
        return self._run("up", watch)

    def refresh(self, watch: Watcher | None = None) -> Run:
        """Read every resource again; what comes back as changed has drifted."""
        return self._run("refresh", watch)

    def destroy(self, watch: Watcher | None = None) -> Run:
        """Delete everything the stack has, and the stack."""
        run = self._run("destroy", watch)
        self._automation().workspace.remove_stack(self.name)
        return run

    def outputs(self) -> dict[str, Any]:
        """Return the stack's outputs."""
        return {key: each.value for key, each in self._automation().outputs().items()}

    def exists(self) -> bool:
        """Say whether the backend knows the stack."""
        return any(each.name == self.name for each in self._workspace().list_stacks())

    def unlock(self) -> None:
        """Remove the lock that a killed run has left; the caller knows that no run is under way."""
        self._automation().cancel()

    def unprotect(self) -> None:
        """Take the protection off every resource, so that the stack can be destroyed."""
        stack = self._automation()
        state = stack.export_stack()
        for resource in (state.deployment or {}).get("resources", []):
            resource.pop("protect", None)
        stack.import_stack(state)

    def _workspace(self, program: InlineProgram | None = None) -> automation.LocalWorkspace:
        linked = self.directory / "engine" / "bin" / "pulumi"  # the SDK wants a folder with bin/pulumi in it
        if not linked.exists():
            linked.parent.mkdir(parents=True, exist_ok=True)
            linked.unlink(missing_ok=True)
            linked.symlink_to(locate("pulumi"))
        command = automation.PulumiCommand(str(linked.parents[1]))
        return automation.LocalWorkspace(
            work_dir=str(self._copy()),
            program=program,
            env_vars=dict(self.environment),
            pulumi_command=command,
        )

    def _automation(self, program: InlineProgram | None = None) -> automation.Stack:
        return automation.Stack.create_or_select(self.name, self._workspace(program))

    def _copy(self) -> Path:
        copy = self.directory / self.project.name / self.name
        copy.mkdir(parents=True, exist_ok=True)
        definition = yaml.safe_load((self.project / "Pulumi.yaml").read_text())
        source = self.project / definition.pop("stackConfigDir", ".") / f"Pulumi.{self.name}.yaml"
        # The copy runs in process, not in the project's virtual environment.
        definition["runtime"] = "python"
        (copy / "Pulumi.yaml").write_text(yaml.safe_dump(definition))
        target = copy / f"Pulumi.{self.name}.yaml"
        before = yaml.safe_load(target.read_text()) if target.exists() else {}
        now = (yaml.safe_load(source.read_text()) if source.exists() else None) or {}
        if "encryptionsalt" in before:
            now["encryptionsalt"] = before["encryptionsalt"]
        now["config"] = {**(now.get("config") or {}), **self.overrides}
        target.write_text(yaml.safe_dump(now))
        return copy

    def _run(self, command: str, watch: Watcher | None) -> Run:
        run = Run()
        program = InlineProgram(self.project)
        stack = self._automation(program)

        def on_event(event: EngineEvent) -> None:
            _record(run, event)
            if watch is not None:
                watch(event)

        if command in {"up", "destroy"}:
            self._finish_what_was_begun(stack)
        with _surrounded_by(self.environment), closing(program):
            getattr(stack, command)(on_event=on_event, on_output=lambda _line: None)
        return run

    def _finish_what_was_begun(self, stack: automation.Stack) -> None:
        """Clear what a killed run began and never recorded the end of, so that it can be begun again.

        Resources with a name of their own exist in AWS without being in the state and would be in the way of
        their own creation: they are deleted. (On a real account nothing is deleted for you: see the README.)
        """
        state = stack.export_stack()
        pending = (state.deployment or {}).get("pending_operations") or []
        for operation in pending:
            if operation["type"] == "creating":
                self._remove_half_made(operation["resource"])
        if pending:
            stack.refresh(clear_pending_creates=True, on_output=lambda _line: None)

    def _remove_half_made(self, resource: Mapping[str, Any]) -> None:
        # What is kept when its stack goes may have been there before: the next run finds it, and adopts it.
        if resource["type"] not in _NAMED or resource.get("retainOnDelete"):
            return
        inputs = resource["inputs"]
        region = yaml.safe_load((self._copy() / f"Pulumi.{self.name}.yaml").read_text())["config"].get("aws:region")
        session = boto3.Session(
            self.environment["AWS_ACCESS_KEY_ID"], self.environment["AWS_SECRET_ACCESS_KEY"], region_name=region
        )

        def client(service: str) -> Any:  # noqa: ANN401  # boto3 makes these classes at run time
            return session.client(service, endpoint_url=self.environment["AWS_ENDPOINT_URL"])

        kind = AWS_TYPES[resource["type"]]
        identity = ":".join(inputs[key] for key in _NAMED[resource["type"]])
        kind.delete(client, identity, inputs, kind.timeout)


def _record(run: Run, event: EngineEvent) -> None:
    if event.resource_pre_event:
        meta, ended = event.resource_pre_event.metadata, False
        run.resources += 1
    elif event.res_outputs_event:
        meta, ended = event.res_outputs_event.metadata, True
    elif event.diagnostic_event and event.diagnostic_event.severity in {"warning", "error"}:
        run.diagnostics.append(event.diagnostic_event.message)
        return
    else:
        return
    operation = meta.op.value if isinstance(meta.op, OpType) else str(meta.op)
    kind, name = _from_urn(meta.urn)
    run.steps.append(Step(operation, kind, name, ended, meta.urn))


@contextmanager
def _surrounded_by(environment: Mapping[str, str]) -> Iterator[None]:
    """Let what the program starts in this process, such as `aws` for a token, find the local cloud."""
    before = dict(os.environ)
    for name in before.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
