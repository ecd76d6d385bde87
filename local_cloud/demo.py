"""The demo: the project's own programs, up on the local cloud, and down again."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pulumi.automation import CommandError, EngineEvent
from rich.console import Console
from rich.status import Status
from rich.table import Table

from local_cloud import cloud as local
from local_cloud.layout import Layout
from local_cloud.stacks import ROOT, Run, Stack
from stacks.mistakes import SettingsError
from stacks.reading import load_stack_file
from tools import MissingToolError, locate, provision

CONSUMER = ROOT / "examples" / "consumer"
_PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
_LINE_SECONDS = 15.0  # between two signs of life where there is no terminal to redraw

_console = Console(soft_wrap=True, highlight=False)


class _Progress:
    """Shows what is going on: a redrawn line on a terminal, now and then a line elsewhere."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._status: Status | None = None
        self._said = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator["_Progress"]:
        begun = time.monotonic()
        if _console.is_terminal:
            with _console.status(self.title) as self._status:
                yield self
        else:
            _console.print(f"{self.title} ...")
            yield self
        _console.print(f"{self.title}: {time.monotonic() - begun:.1f} s")

    def say(self, text: str) -> None:
        """Show a detail."""
        if self._status is not None:
            self._status.update(f"{self.title}: {text}")
        elif time.monotonic() - self._said > _LINE_SECONDS:
            self._said = time.monotonic()
            _console.print(f"  {text}")

    def watch(self, event: EngineEvent) -> None:
        """Show which resource the engine is at."""
        if event.resource_pre_event:
            urn = event.resource_pre_event.metadata.urn
            self.say(urn.rsplit("::", maxsplit=1)[-1])


def _counts(run: Run) -> str:
    counted = Counter(each.operation for each in run.changes())
    return ", ".join(f"{number} to {operation}" for operation, number in sorted(counted.items())) or "no changes"


class _Demo:
    """One checkout's demo."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory)
        self.projects = self.layout.directory / "projects"
        self._owner = self.layout.state / "made-on"

    def stack(self, environment: dict[str, str], name: str, project: Path = ROOT) -> Stack:
        return Stack(environment, self.projects, name, project)

    def known_stacks(self) -> list[tuple[Path, str]]:
        """Return (project, stack) of everything brought up, consumers first: they stand on the others."""
        return [
            (project, each.name)
            for project in (CONSUMER, ROOT)
            for each in sorted((self.projects / project.name).glob("*"))
        ]

    def forget_state_of_another_cloud(self, identity: str) -> None:
        """Drop state that describes a cloud that is gone; the objects went with it."""
        known = self._owner.read_text() if self._owner.exists() else identity
        if known != identity:
            _console.print("The local cloud that earlier stacks were on is gone: starting anew.")
            self.forget()
        self.layout.state.mkdir(parents=True, exist_ok=True)
        self._owner.write_text(identity)

    def forget(self) -> None:
        """Remove state and copies of stack files."""
        shutil.rmtree(self.layout.state, ignore_errors=True)
        shutil.rmtree(self.projects, ignore_errors=True)

    def break_stale_lock(self, stack: Stack) -> None:
        """Remove the lock of a run that was killed: the demo's own lock says that none is under way."""
        if any((self.layout.state / ".pulumi" / "locks").rglob("*.json")):
            stack.unlock()


def _tools_in_background(pool: ThreadPoolExecutor) -> Future[dict[str, Path]]:
    last: dict[str, float] = dict.fromkeys(_PROGRAMS, 0.0)

    def report(name: str, phase: str, fraction: float | None) -> None:
        now = time.monotonic()
        if now - last[name] > _LINE_SECONDS:
            last[name] = now
            share = "" if fraction is None else f" {fraction:.0%}"
            _console.print(f"  {name}: {phase}{share}")

    return pool.submit(provision, _PROGRAMS, report)


def _engine() -> Path:
    with _Progress("Pulumi engine").shown() as progress:
        return locate(
            "pulumi", lambda _name, phase, share: progress.say(f"{phase}{'' if share is None else f' {share:.0%}'}")
        )


def bring_up(stack: str, directory: Path) -> int:
    """Bring the stack and its consumer up; return the exit code."""
    source = ROOT / "stacks" / f"Pulumi.{stack}.yaml"
    if not source.exists():
        known = ", ".join(sorted(each.stem.removeprefix("Pulumi.") for each in source.parent.glob("Pulumi.*.yaml")))
        _console.print(f"There is no stack file {source.relative_to(ROOT)}; STACK is one of {known}.")
        return 2
    return _reported(directory, lambda demo: _bring_up(demo, stack, source))


def _bring_up(demo: _Demo, name: str, source: Path) -> int:
    load_stack_file(source)
    with ThreadPoolExecutor() as pool:
        others = _tools_in_background(pool)
        engine = _engine()
        running = demo.layout.read_record()
        if running is None or running.process.process() is None:
            planned = demo.stack(local.environment(demo.layout, {"pulumi": engine}), name)
            if not demo.layout.state.exists():
                demo.layout.state.mkdir(parents=True)
                with _Progress("First preview, with neither AWS nor Kubernetes").shown() as progress:
                    run = planned.preview(progress.watch)
                _console.print(f"  {_counts(run)}")
                demo.forget()
        with _Progress("External programs").shown():
            programs = {"pulumi": engine, **others.result()}
    with _Progress("Local cloud").shown():
        cloud = local.LocalCloud.start(demo.layout.directory, programs, detached=True)
    identity = f"{cloud.record.process.pid} {cloud.record.endpoint}"
    demo.forget_state_of_another_cloud(identity)
    main = demo.stack(cloud.environment, name)
    consumer = demo.stack(cloud.environment, name, CONSUMER)
    demo.break_stale_lock(main)
    with _Progress(f"Up: stack {name}").shown() as progress:
        _console.print(f"  {_counts(main.up(progress.watch))}")
    _show_outputs(main)
    with _Progress("Up: the consumer, from these outputs").shown() as progress:
        _console.print(f"  {_counts(consumer.up(progress.watch))}")
    with _Progress("Second preview").shown() as progress:
        again = main.preview(progress.watch)
    _console.print(f"  {_counts(again)}")
    subprocess.run([engine, "stack", "select", name], cwd=ROOT, env=cloud.environment, check=True, capture_output=True)
    if again.changes():
        _console.print("The second preview should have found nothing to change.")
        for step in again.changes():
            _console.print(f"  {step.operation} {step.type} {step.name}")
        return 1
    proven = _prove(cloud, main)
    _show_what_next(cloud, main)
    return proven


def _show_outputs(stack: Stack) -> None:
    table = Table("output", "value", title=f"Outputs of stack {stack.name}")
    for key, value in stack.outputs().items():
        text = str(value)
        limit = 70  # characters, of certificates and the kubeconfig
        table.add_row(key, text if len(text) <= limit else f"{text[:limit]} ...")
    _console.print(table)


def _prove(cloud: local.LocalCloud, stack: Stack) -> int:
    """Run `verify` as far as a cluster without kubelets lets it; return 1 if it finds DNS broken."""
    kubeconfig = cloud.layout.directory / "kubeconfig-of-stack"
    kubeconfig.write_text(str(stack.outputs()["kubeconfig"]))
    _console.print("Verify, as far as it can look where no node has a kubelet:")
    sys.stdout.flush()
    done = subprocess.run(
        [sys.executable, "-m", "verify"],
        cwd=ROOT,
        env={**cloud.environment, "KUBECONFIG": str(kubeconfig)},
        check=False,
    )
    could_not_tell = 2
    return 0 if done.returncode in {0, could_not_tell} else 1


def _show_what_next(cloud: local.LocalCloud, stack: Stack) -> None:
    env = cloud.layout.env
    shown = env.relative_to(ROOT) if env.is_relative_to(ROOT) else env
    name = stack.outputs()["clusterName"]
    _console.print(
        f"\nIt is running. In a shell:\n\n  source {shown}\n  pulumi stack output\n"
        f"  aws eks describe-addon --cluster-name {name} --addon-name vpc-cni\n"
        "  pulumi stack output kubeconfig > .local/kubeconfig-of-stack\n"
        "  kubectl --kubeconfig .local/kubeconfig-of-stack -n kube-system get daemonset node-local-dns -o yaml\n"
        "\nNo pod runs there: the cluster has an API server and no kubelets. `make demo-down` removes everything."
    )


def take_down(directory: Path) -> int:
    """Destroy every stack, stop what was started and remove its files; return the exit code."""
    code = _reported(directory, _take_down)
    if code == 0:
        (directory / "demo.lock").unlink(missing_ok=True)
    return code


def _take_down(demo: _Demo) -> int:
    failed = False
    record = demo.layout.read_record()
    if record is not None and record.process.process() is not None:
        cloud = local.LocalCloud.start(demo.layout.directory, {"pulumi": locate("pulumi"), **provision(_PROGRAMS)})
        for project, name in demo.known_stacks():
            stack = demo.stack(cloud.environment, name, project)
            if not stack.exists():
                continue
            demo.break_stale_lock(stack)
            stack.unprotect()
            with _Progress(f"Destroy: {project.name if project == CONSUMER else 'stack'} {name}").shown() as progress:
                try:
                    run = stack.destroy(progress.watch)
                except CommandError as error:
                    failed = True
                    _console.print(str(error), markup=False)
                    _console.print("  Not everything could be destroyed; what is left goes with the local cloud.")
                    continue
            _console.print(f"  {len(run.changes())} deleted")
    local.stop(demo.layout)
    demo.forget()
    for leftover in ("plugins", "pulumi"):
        shutil.rmtree(demo.layout.directory / leftover, ignore_errors=True)
    (demo.layout.directory / "kubeconfig-of-stack").unlink(missing_ok=True)
    _console.print("Everything the demo made is gone.")
    return 1 if failed else 0


def _reported(directory: Path, action: Callable[[_Demo], int]) -> int:
    """Run an action alone, and turn what can go wrong into a message and an exit code."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / "demo.lock")
    try:
        with lock.acquire(timeout=0):
            return action(_Demo(directory))
    except Timeout:
        _console.print("Another `make demo` or `make demo-down` is at work in this folder; wait for it to end.")
    except (SettingsError, MissingToolError, local.LocalCloudError, CommandError) as error:
        _console.print(str(error), markup=False)  # a list like [a, b] is none of rich's tags
    except KeyboardInterrupt:
        _console.print("Interrupted. `make demo` goes on from here; `make demo-down` removes what there is.")
    finally:
        sys.stdout.flush()
    return 1
