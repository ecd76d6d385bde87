"""A kubelet for one DaemonSet: runs a pod's containers as its template says, in namespaces instead of an image."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.interception import NODE_CACHE
from lab.namespaces import LabError
from lab.node import NODE, NODE_NAME, VPC_RESOLVER, Node
from tools import locate

Spec = Mapping[str, Any]

_FIELDS = {"spec.nodeName": NODE_NAME, "status.hostIP": NODE, "status.podIP": NODE}
_ETC = ("alternatives", "passwd", "group", "nsswitch.conf", "protocols", "services", "ld.so.cache", "hosts")


def node_cache() -> Path:
    """Return the program the containers run as node-cache: `NODE_CACHE` of the environment, or the stand-in."""
    chosen = os.environ.get("NODE_CACHE")
    if chosen is None:
        return locate("node-cache-stand-in")
    if not os.access(chosen, os.X_OK):
        raise LabError(f"NODE_CACHE={chosen} is not a program; name node-cache's binary or unset it.")
    return Path(chosen).resolve()


class Container:
    """One container of a pod."""

    def __init__(self, node: Node, spec: Spec, mounts: Mapping[str, Path], directory: Path) -> None:
        self.name: str = spec["name"]
        self.log = directory / f"{self.name}.log"
        self._spec = spec
        root = directory / f"{self.name}.root"
        root.mkdir()
        with self.log.open("wb") as log:
            self._process = node.host.start(
                (
                    "unshare",
                    "--mount",
                    "--pid",
                    "--fork",
                    "--kill-child=KILL",
                    "sh",
                    "-euc",
                    self._script(root, mounts),
                ),
                log,
            )
        self._first = self._first_process()

    def _script(self, root: Path, mounts: Mapping[str, Path]) -> str:
        at = shlex.quote(str(root))
        lines = [f"cd / && mount -t tmpfs tmpfs {at}", f"mkdir {at}/etc {at}/proc {at}/dev {at}/usr {at}/run {at}/tmp"]  # noqa: S108  # inside the container's root
        lines += [f"mount --bind /usr {at}/usr", f"mount -t proc proc {at}/proc", f"mount --rbind /dev {at}/dev"]
        for name in ("bin", "sbin", "lib", "lib64"):
            lines.append(
                f"if [ -L /{name} ]; then cp -P /{name} {at}/{name}; "
                f"elif [ -d /{name} ]; then mkdir {at}/{name}; mount --bind /{name} {at}/{name}; fi"
            )
        lines += [f"cp -a /etc/{name} {at}/etc/ 2>/dev/null || true" for name in _ETC]
        lines.append(f"echo nameserver {VPC_RESOLVER} >{at}/etc/resolv.conf")
        for target, source in {NODE_CACHE: node_cache(), **mounts}.items():
            goal = f"{at}{shlex.quote(target)}"
            make = f"mkdir -p {goal}" if source.is_dir() else f'mkdir -p "$(dirname {goal})" && touch {goal}'
            lines.append(f"{make} && mount --bind {shlex.quote(str(source))} {goal}")
        security: Spec = self._spec.get("securityContext", {})
        if security.get("readOnlyRootFilesystem"):
            lines.append(f"mount -o remount,ro {at}")
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        for variable in self._spec.get("env", ()):
            environment[variable["name"]] = (
                variable["value"] if "value" in variable else _FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            )
        added = [f"+{name.lower()}" for name in security.get("capabilities", {}).get("add", ())]
        command = [
            "env", "-i", *(f"{key}={value}" for key, value in environment.items()),
            "setpriv", f"--bounding-set={','.join(['-all', *added])}",
            *(["--no-new-privs"] if security.get("allowPrivilegeEscalation") is False else []), "--",
            *self._spec.get("command", ()), *self._spec.get("args", ()),
        ]  # fmt: skip
        lines.append(f"exec chroot {at} {shlex.join(command)}")
        return "\n".join(lines)

    def _first_process(self) -> int:
        """Return the process id, as the lab sees it, of the container's process 1."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for _ in range(100):
            if self._process.poll() is not None:
                break
            found = children.read_text().split()
            if found:
                return int(found[0])
            time.sleep(0.02)
        raise LabError(f"container {self.name} did not start: {self.log.read_text()}")

    @property
    def running(self) -> bool:
        """Whether the container's process is there."""
        return self._process.poll() is None

    def probe(self, name: str) -> bool:
        """Run one of the container's exec probes inside it; a probe it does not have succeeds."""
        probe: Spec | None = self._spec.get(name)
        if probe is None:
            return True
        inside = ["nsenter", "--target", str(self._first), "--mount", "--pid", "--net", "--root", "--wd", "--"]
        try:
            asked = subprocess.run(
                [*inside, *probe["exec"]["command"]],
                check=False, capture_output=True, timeout=probe.get("timeoutSeconds", 1),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return asked.returncode == 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container's process 1."""
        if self.running:
            os.kill(self._first, number)

    def wait(self, seconds: float) -> bool:
        """Wait for the container to end and say whether it did."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_seconds: float) -> None:
        """End the container as the kubelet does: TERM, and KILL when the grace is over."""
        self.signal(signal.SIGTERM)
        if not self.wait(grace_seconds):
            self._process.kill()
            self._process.wait()


class Pod:
    """A pod of the rendered DaemonSet on the lab's node; crashed containers are not restarted (crash loop)."""

    def __init__(self, node: Node, objects: Mapping[str, Spec], name: str) -> None:
        self._node = node
        self._objects = objects
        self._spec: Spec = objects["daemonSet"]["spec"]["template"]["spec"]
        self._directory = node.directory / name
        self.sidecars: list[Container] = []
        self.containers: list[Container] = []

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

    def start(self, ready_seconds: float = 30) -> None:
        """Start the pod and wait until its containers have started and are ready."""
        self._directory.mkdir()
        self._node.prepare_interface()
        volumes = self._volumes()

        def run(spec: Spec) -> Container:
            mounts = {each["mountPath"]: volumes[each["name"]] for each in spec.get("volumeMounts", ())}
            return Container(self._node, spec, mounts, self._directory)

        for spec in self._spec.get("initContainers", ()):
            container = run(spec)
            if spec.get("restartPolicy") == "Always":
                self.sidecars.append(container)
                self._until_probed(container, "startupProbe", ready_seconds)
            elif not container.wait(ready_seconds):
                container.stop(0)
                raise LabError(f"init container {container.name} does not end: {container.log.read_text()}")
        for spec in self._spec["containers"]:
            self.containers.append(run(spec))
        for container in self.containers:
            self._until_probed(container, "startupProbe", ready_seconds)
            self._until_probed(container, "readinessProbe", ready_seconds)
        self._node.settle()

    def _until_probed(self, container: Container, probe: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not container.probe(probe):
            if time.monotonic() > end or not container.running:
                raise LabError(f"{probe} of {container.name} fails; its log:\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """Return what the containers wrote."""
        return "".join(f"== {each.name}\n{each.log.read_text()}" for each in (*self.sidecars, *self.containers))

    def crash(self) -> None:
        """Kill the containers (not the sidecars) without a warning, and do not restart them."""
        for container in self.containers:
            container.signal(signal.SIGKILL)
            container.wait(5)

    def stop(self) -> None:
        """Delete the pod: its containers first, then the sidecars in reverse, within one grace period."""
        end = time.monotonic() + self._spec.get("terminationGracePeriodSeconds", 30)
        for container in (*self.containers, *reversed(self.sidecars)):
            container.stop(max(end - time.monotonic(), 0))
        self.containers.clear()
        self.sidecars.clear()
        shutil.rmtree(self._directory)
