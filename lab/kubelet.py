"""A kubelet for one DaemonSet: runs a pod's containers as its template says, in namespaces instead of an image."""

import contextlib
import http.client
import itertools
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.cache.interception import NODE_CACHE, upstream_rules
from lab.namespaces import BUSY_SECONDS, LabError
from lab.node import NODE, NODE_NAME, VPC_RESOLVER, Node
from tools import locate

Spec = Mapping[str, Any]

_FIELDS = {"spec.nodeName": NODE_NAME, "status.hostIP": NODE, "status.podIP": NODE}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# What node-cache's image has (its base, kubernetes/release images/build/distroless-iptables), and nothing else.
_PROGRAMS = (
    "cat", "chmod", "grep", "ipset", "kmod", "ln", "modprobe", "nft", "rm", "sleep", "wc",
    *(f"iptables-{kind}{what}" for kind in ("legacy", "nft") for what in ("", "-restore", "-save")),
)  # fmt: skip

_IPTABLES = Path(__file__).with_name("iptables.sh")
_CONTAINER = Path(__file__).with_name("container.sh")

BACK_OFF = (0.7, 13.0, 22.0, 42.0, 91.0)
"""Seconds between a container's end and its next start under a real kubelet of 1.35, as they were measured.

Its pause is none at first and doubles from ten seconds; the rest is how soon it looks. Each container has its own.
"""

SOON = (0.3,)
"""A shorter pause, for what does not depend on it."""

LEAST_GRACE_SECONDS = 2.0
"""What a container gets to end even when the pod's grace is used up (minimumGracePeriodInSeconds of the kubelet).

Here a container that works gets `BUSY_SECONDS` more, because the lab shows what an end leaves behind and not how fast
it is: a kubelet kills it.
"""


def node_cache() -> Path:
    """Return the program the containers run as node-cache: `NODE_CACHE` of the environment, or the stand-in."""
    chosen = os.environ.get("NODE_CACHE")
    if chosen is None:
        return locate("node-cache-stand-in")
    if not os.access(chosen, os.X_OK):
        raise LabError(f"NODE_CACHE={chosen} is not a program; name node-cache's binary or unset it.")
    return Path(chosen).resolve()


def _programs() -> dict[str, Path]:
    """Return the image's programs by their names: those of them that the machine has."""
    found = {name: shutil.which(name, path=_PATH) for name in _PROGRAMS}
    return {"iptables": _IPTABLES} | {name: Path(path).resolve() for name, path in found.items() if path is not None}


class Container:
    """One container of a pod, from its start to its end."""

    def __init__(
        self,
        node: Node,
        spec: Spec,
        mounts: Mapping[str, Path],
        directory: Path,
        *,
        attempt: int = 0,
        hidden: Iterable[str] = (),
    ) -> None:
        self.name: str = spec["name"]
        self.log = directory / f"{self.name}.log"
        self.spec = spec
        self._node = node
        root = directory / f"{self.name}.{attempt}.root"
        root.mkdir()
        security: Spec = spec.get("securityContext", {})
        told = {
            "ROOT": root,
            "WRITABLE": "no" if security.get("readOnlyRootFilesystem") else "yes",
            "SHELL_OF": shutil.which("dash") or shutil.which("sh") or "/bin/sh",
            "PROGRAMS": "\n".join(f"{program}\t{name}" for name, program in _programs().items()),
            "MOUNTS": "\n".join(
                f"{source}\t{target}" for target, source in {NODE_CACHE: node_cache(), **mounts}.items()
            ),
            "HIDDEN": " ".join(hidden),
            "RESOLVER": VPC_RESOLVER,
        }
        with self.log.open("ab") as log:
            self._process = node.host.start(
                ("env", *(f"{name}={value}" for name, value in told.items()),
                 "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "sh", _CONTAINER, *self._command(root)),
                log,
            )  # fmt: skip
        self.main_process = self._first_process()
        """Process id, as the lab sees it, of the container's process 1."""

    def _command(self, root: Path) -> list[str]:
        security: Spec = self.spec.get("securityContext", {})
        environment = {"PATH": _PATH}
        for variable in self.spec.get("env", ()):
            environment[variable["name"]] = (
                variable["value"] if "value" in variable else _FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            )
        added = [f"+{name.lower()}" for name in security.get("capabilities", {}).get("add", ())]
        return [
            "env", "-i", *(f"{name}={value}" for name, value in environment.items()), "chroot", str(root),
            # It comes along, but not on PATH: giving up rights is the last thing before the container's command.
            "/.lab/setpriv", f"--bounding-set={','.join(['-all', *added])}",
            *(["--no-new-privs"] if security.get("allowPrivilegeEscalation") is False else []), "--",
            *self.spec.get("command", ()), *self.spec.get("args", ()),
        ]  # fmt: skip

    def _first_process(self) -> int:
        """Return the process id, as the lab sees it, of the container's process 1."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        end = time.monotonic() + BUSY_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            found = children.read_text().split()
            if found:
                return int(found[0])
            time.sleep(0.005)
        raise LabError(f"container {self.name} did not start: {self.log.read_text()}")

    @property
    def running(self) -> bool:
        """Whether the container's process is there."""
        return self._process.poll() is None

    def execute(self, command: Iterable[str], seconds: float = 10) -> int | None:
        """Run a command inside the container and return its exit code; None when it took longer than `seconds`."""
        inside = ["nsenter", "--target", str(self.main_process), "--mount", "--pid", "--net", "--root", "--wd", "--"]
        try:
            return subprocess.run(
                [*inside, *command], check=False, capture_output=True, timeout=seconds, env={"PATH": _PATH}
            ).returncode
        except subprocess.TimeoutExpired:
            return None

    def _get(self, request: Spec, seconds: float) -> bool:
        def get() -> bool:
            connection = http.client.HTTPConnection(request.get("host", NODE), request["port"], timeout=seconds)
            try:
                connection.request("GET", request.get("path", "/"))
                return connection.getresponse().status in range(200, 400)
            except (OSError, http.client.HTTPException):
                return False
            finally:
                connection.close()

        return self._node.host.call(get)

    def probe(self, name: str) -> bool:
        """Run one of the container's probes; one it does not have succeeds."""
        probe: Spec | None = self.spec.get(name)
        if probe is None:
            return True
        seconds = probe.get("timeoutSeconds", 1)
        if "httpGet" in probe:
            return self._get(probe["httpGet"], seconds)
        return self.execute(probe["exec"]["command"], seconds) == 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's process 1."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self.main_process, number)

    def kill(self) -> None:
        """Kill the container's process 1 and return in the moment in which it is gone."""
        self.until_gone(lambda: self.signal(signal.SIGKILL))

    def until_gone(self, after: Callable[[], None] = lambda: None) -> None:
        """Call `after`, and return in the moment in which process 1 is gone, with its sockets."""
        try:
            process = os.pidfd_open(self.main_process)
        except ProcessLookupError:
            return
        try:
            after()
            if not select.select([process], [], [], BUSY_SECONDS)[0]:
                raise LabError(f"container {self.name} does not end.")
        finally:
            os.close(process)

    def wait(self, seconds: float) -> bool:
        """Wait for the container to end and say whether it did."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_seconds: float, before: Iterable["Container"] = ()) -> None:
        """End the container as the kubelet does: its preStop, then TERM, and KILL when the grace is over.

        TERM waits for the end of the containers `before` this one, as long as there is grace.
        """
        end = time.monotonic() + grace_seconds
        hook: Spec | None = self.spec.get("lifecycle", {}).get("preStop")
        if hook is not None and self.running:
            self.execute(hook["exec"]["command"], grace_seconds)
        for each in before:
            each.wait(max(end - time.monotonic(), 0))
        self.signal(signal.SIGTERM)
        if not self.wait(max(end - time.monotonic(), LEAST_GRACE_SECONDS)) and (
            self._hangs or not self.wait(BUSY_SECONDS)
        ):
            self._process.kill()
            self._process.wait()

    @property
    def _hangs(self) -> bool:
        """Whether process 1 was stopped, so that it does not end however long one waits."""
        stat = Path(f"/proc/{self.main_process}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"


class Pod:
    """A pod of the rendered DaemonSet on the lab's node.

    `back_off` are the pauses before a container that ended is started again, the last of them for every further time,
    and switch liveness probes on: `BACK_OFF` as a real kubelet's, or shorter ones. Without them containers stay dead,
    as in the middle of such a pause. With a `pace` of 2 startup and liveness probes come twice as often as the template
    says: what they decide is the same, in half the time. `hidden` are paths of the image, as shell patterns, that are
    empty here.
    """

    def __init__(
        self,
        node: Node,
        objects: Mapping[str, Spec],
        name: str,
        *,
        back_off: Sequence[float] = (),
        pace: float = 1,
        hidden: Iterable[str] = (),
    ) -> None:
        self._node = node
        self._objects = objects
        self._spec: Spec = objects["daemonSet"]["spec"]["template"]["spec"]
        self._directory = node.directory / name
        self._hidden = tuple(hidden)
        self._back_off = tuple(back_off)
        self._pace = pace
        self._ending, self._gone, self._counting = threading.Event(), threading.Event(), threading.Lock()
        node.closing.append(self._ending)
        self._mounts: Mapping[str, Path] = {}
        self.sidecars: list[Container] = []
        self.containers: list[Container] = []
        self.restarts = 0
        """How many times a container was started again; that one is among the containers by then."""

    @property
    def surges(self) -> bool:
        """Whether an update starts the new pod before the old one ends."""
        return bool(self._objects["daemonSet"]["spec"]["updateStrategy"]["rollingUpdate"].get("maxSurge"))

    @property
    def _untracking(self) -> int:
        """How many rules that untrack packets say that all are there: node-cache writes its own one by one."""
        own = not any("-setupiptables=false" in each.get("args", ()) for each in self._spec["containers"])
        return sum(rule.endswith("NOTRACK") for _, _, rule in upstream_rules("", "")) if own else 1

    def _volumes(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for volume in self._spec.get("volumes", ()):
            path = found[volume["name"]] = self._directory / "volumes" / volume["name"]
            if "hostPath" in volume:  # the node's own file, which all its pods share
                found[volume["name"]] = path = self._node.directory / Path(volume["hostPath"]["path"]).name
                path.touch()
            elif "configMap" in volume:
                path.mkdir(parents=True)
                (config,) = (
                    each for each in self._objects.values()
                    if each["kind"] == "ConfigMap" and each["metadata"]["name"] == volume["configMap"]["name"]
                )  # fmt: skip
                items = volume["configMap"].get("items") or [{"key": key, "path": key} for key in config["data"]]
                for item in items:
                    (path / item["path"]).write_text(config["data"][item["key"]])
            elif "emptyDir" in volume:
                path.mkdir(parents=True)
            else:
                raise LabError(f"the lab's kubelet knows no volume like {volume}")
        return found

    def _run(self, spec: Spec, attempt: int = 0) -> Container:
        mounts = {each["mountPath"]: self._mounts[each["name"]] for each in spec.get("volumeMounts", ())}
        return Container(self._node, spec, mounts, self._directory, attempt=attempt, hidden=self._hidden)

    def start(self, ready_seconds: float = BUSY_SECONDS) -> None:
        """Start the pod and wait until its containers have started and are ready."""
        self._directory.mkdir()
        self._node.prepare_interface()
        self._mounts = self._volumes()
        for spec in self._spec.get("initContainers", ()):
            container = self._run(spec)
            if spec.get("restartPolicy") == "Always":
                self.sidecars.append(container)
                self._until_probed(container, "startupProbe", ready_seconds)
            elif not container.wait(ready_seconds):
                container.stop(0)
                raise LabError(f"init container {container.name} does not end: {container.log.read_text()}")
        for spec in self._spec["containers"]:
            self.containers.append(self._run(spec))
        for container in self.containers:
            self._until_probed(container, "startupProbe", ready_seconds)
            self._until_probed(container, "readinessProbe", ready_seconds)
        if self._back_off:
            for containers in (self.sidecars, self.containers):
                for place in range(len(containers)):
                    threading.Thread(target=self._keep, args=(containers, place), daemon=True).start()
        self._node.settle(self._untracking)

    def _until_probed(self, container: Container, probe: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not container.probe(probe):
            if time.monotonic() > end or not container.running:
                raise LabError(f"{probe} of {container.name} fails; its log:\n{self.logs()}")
            time.sleep(0.1)

    def _keep(self, containers: list[Container], place: int) -> None:
        """Watch one container for as long as the pod lives: kill it when it is not alive, and start it again."""
        started = True  # by whoever started the pod
        for attempt in itertools.count(1):
            container = containers[place]
            self._watch(container, started=started)
            if self._ending.wait(self._back_off[min(attempt, len(self._back_off)) - 1]):
                break
            containers[place] = self._run(container.spec, attempt)
            started = False
            with self._counting:
                self.restarts += 1
        # The kernel ends a container together with the thread that started it.
        self._gone.wait()

    def _watch(self, container: Container, *, started: bool) -> None:
        """Return when the container has ended; run its startup probe until then or until it succeeds, then liveness."""
        name, failed, due = "livenessProbe" if started else "startupProbe", 0, time.monotonic()
        while container.running and not self._ending.wait(0.02):
            if name == "startupProbe" and name not in container.spec:
                name = "livenessProbe"
            probe: Spec = container.spec.get(name, {})
            if not probe or time.monotonic() < due:
                continue
            due = time.monotonic() + probe.get("periodSeconds", 10) / self._pace
            if container.probe(name):
                name, failed = "livenessProbe", 0
                continue
            failed += 1
            if failed >= probe.get("failureThreshold", 3) and not self._ending.is_set():
                container.stop(probe.get("terminationGracePeriodSeconds", self._grace))

    @property
    def _grace(self) -> float:
        return self._spec.get("terminationGracePeriodSeconds", 30)

    def logs(self) -> str:
        """Return what the containers wrote."""
        return "".join(f"== {each.name}\n{each.log.read_text()}" for each in (*self.sidecars, *self.containers))

    def crash(self, *names: str) -> None:
        """Kill containers without a warning: those named, or by default all but the sidecars."""
        every = [*self.sidecars, *self.containers]
        for container in [each for each in every if each.name in names] if names else list(self.containers):
            container.kill()

    def freeze(self, *names: str) -> None:
        """Hang containers: those named, or by default all but the sidecars."""
        every = [*self.sidecars, *self.containers]
        for container in [each for each in every if each.name in names] if names else list(self.containers):
            container.signal(signal.SIGSTOP)

    def stop(self, grace_seconds: float | None = None) -> None:
        """Delete the pod as the kubelet does: its containers, then the sidecars in reverse, within one grace period.

        Who hangs uses the grace up; whoever comes after gets `LEAST_GRACE_SECONDS`. `grace_seconds` replaces the
        pod's own.
        """
        grace = self._grace if grace_seconds is None else grace_seconds
        self._ending.set()
        order = [self.containers, *([each] for each in reversed(self.sidecars))]
        with ThreadPoolExecutor() as pool:
            turns = [
                pool.submit(container.stop, grace, [each for group in order[:turn] for each in group])
                for turn, group in enumerate(order)
                for container in group
            ]
        for turn in turns:
            turn.result()
        self._gone.set()
        self.containers.clear()
        self.sidecars.clear()
        shutil.rmtree(self._directory)


def replace(old: Pod, new: Pod, between: Callable[[], None] = lambda: None) -> None:
    """Replace a pod as the DaemonSet does: the new one first only where its update strategy allows a surge.

    `between` is called when the first of the two steps is done.
    """
    first, second = (new.start, old.stop) if new.surges else (old.stop, new.start)
    first()
    between()
    second()
