"""Which external programs the project runs, at which version, and where each comes from."""

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class GoProgram:
    """A program compiled from a pinned Go module, unless the machine has a suitable one."""

    folder: str
    """Folder beside this file whose go.mod and go.sum pin the module and all it needs."""

    package: str
    """Import path of the program's main package; `.` is the folder itself."""

    purpose: str
    """What the project needs it for, for the sentence that says it is missing."""

    version_command: tuple[str, ...] = ()
    """Arguments that make a program found on PATH print its version; empty: PATH is not searched."""

    at_least: str = ""
    """Oldest suitable version on PATH (the version of the module is always suitable)."""

    exactly: bool = False
    """Only `at_least` itself is suitable: the project makes claims about that very version."""

    linker_variables: dict[str, str] = field(default_factory=dict)
    """Variables that the program's own release build sets: version numbers it prints and checks."""

    @property
    def source(self) -> Path:
        """Where the module that pins this program lies."""
        return HERE / self.folder

    @property
    def build_command(self) -> tuple[str, ...]:
        """`go build` up to, but without, `-o`: reproducible, without debug tables."""
        variables = "".join(f" -X {key}={value}" for key, value in self.linker_variables.items())
        return ("go", "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w{variables}")


@dataclass(frozen=True, kw_only=True)
class DebianProgram:
    """A program that comes with the operating system; it belongs to the kernel or has no pinned source."""

    package: str
    """Debian and Ubuntu package that holds it."""

    purpose: str
    """What the project needs it for, for the sentence that says it is missing."""


Program = GoProgram | DebianProgram

_PULUMI = "3.259.0"
_KUBERNETES = "1.35.4"
_KUBERNETES_VERSION_VARIABLES = {
    f"k8s.io/component-base/version.{name}": value
    for name, value in {
        "gitVersion": f"v{_KUBERNETES}",
        "gitMajor": _KUBERNETES.split(".", maxsplit=1)[0],
        "gitMinor": _KUBERNETES.split(".")[1],
        "gitTreeState": "clean",
    }.items()
}

# In the order in which `make demo` needs them: the first preview wants nothing but the engine.
PROGRAMS: dict[str, Program] = {
    "pulumi": GoProgram(
        folder="pulumi",
        package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        purpose="the engine that plans and applies every change",
        version_command=("version",),
        # Since 3.238 a failing after-hook fails the deployment, which the guards rely on.
        at_least="3.238.0",
        linker_variables={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": f"v{_PULUMI}"},
    ),
    "etcd": GoProgram(
        folder="etcd",
        package="go.etcd.io/etcd/server/v3",
        purpose="what the local cloud's API servers store their objects in",
        version_command=("--version",),
        at_least="3.5.0",
    ),
    "kube-apiserver": GoProgram(
        folder="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-apiserver",
        purpose="the Kubernetes API of the local cloud's clusters",
        version_command=("--version",),
        at_least="1.33.0",
        linker_variables=_KUBERNETES_VERSION_VARIABLES,
    ),
    "kubectl": GoProgram(
        folder="kubernetes",
        package="k8s.io/kubernetes/cmd/kubectl",
        purpose="looking at a cluster through the kubeconfig the stack exports",
        version_command=("version", "--client"),
        at_least="1.30.0",
        linker_variables=_KUBERNETES_VERSION_VARIABLES,
    ),
    "package-sdk": GoProgram(
        folder="package-sdk",
        package=".",
        purpose="writing the component package's SDKs with Pulumi's own generators, for its tests",
    ),
    "node-cache-stand-in": GoProgram(
        folder="node-cache-stand-in",
        package=".",
        purpose="CoreDNS 1.13.2 with node-cache's plugins, flags and networking, for the lab and its tests",
    ),
    "promtool": GoProgram(
        folder="promtool",
        package="github.com/prometheus/prometheus/cmd/promtool",
        purpose="testing that every alert fires when it should and is silent otherwise",
    ),
    "actionlint": GoProgram(
        folder="actionlint",
        package="github.com/rhysd/actionlint/cmd/actionlint",
        purpose="checking the workflows",
    ),
    "dnsperf": DebianProgram(package="dnsperf", purpose="the benchmark's load"),
    "dig": DebianProgram(package="bind9-dnsutils", purpose="the questions of verify's probes, in the lab"),
    "curl": DebianProgram(package="curl", purpose="the same probes' look at health and metrics"),
    "iptables": DebianProgram(package="iptables", purpose="the packet rules of the lab's node"),
    "nft": DebianProgram(package="nftables", purpose="what the CNI and kube-proxy write past iptables, in the lab"),
    "ip": DebianProgram(package="iproute2", purpose="the lab's network namespaces"),
}
