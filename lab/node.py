"""One worker node, the VPC around it, CoreDNS on another node, and the pods on this one."""

import contextlib
import functools
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.cache.interception import INTERFACE, socket_table_address
from lab import kube_proxy, vpc_cni
from lab.namespaces import BUSY_SECONDS, LabError, Namespace
from lab.vpc_cni import EnforcingMode, host_link
from tools import locate

VPC_CIDR = "10.0.0.0/16"
NODE_NAME = "ip-10-0-1-10.ec2.internal"
NODE = "10.0.1.10"
NODE_GATEWAY = "10.0.1.1"
PLAIN_POD = "10.0.1.20"
BRANCH_POD = "10.0.2.20"
CORE_DNS = "10.0.3.10"
VPC_RESOLVER = "10.0.0.2"
CLUSTER_DNS = "172.20.0.10"
UPSTREAM = "172.20.30.30"


@dataclass(frozen=True, kw_only=True)
class BranchPod:
    """A pod with a SecurityGroupPolicy, and the branch ENI that is its own."""

    name: str
    address: str
    gateway: str
    """Where its subnet's traffic goes first."""

    vlan: int
    """How the trunk ENI tells its packets from those of other branch ENIs."""

    @property
    def subnet_link(self) -> str:
        """The VPC's end of the branch ENI."""
        return f"branch{self.vlan}"


SGP_POD = BranchPod(name="sgp-pod", address=BRANCH_POD, gateway="10.0.2.1", vlan=2)
SECOND_SGP_POD = BranchPod(name="sgp-pod-2", address="10.0.4.20", gateway="10.0.4.1", vlan=3)
"""The other replica of the same owner, for scenarios that create it."""

Backend = Literal["nft", "legacy"]
"""Which of the two kinds of iptables kube-proxy and the CNI write their rules with."""

BACKENDS: tuple[Backend, ...] = ("nft", "legacy")

SERVER = f"""\
.:53 {{
    bind {CORE_DNS} {VPC_RESOLVER}
    template IN A {{
        answer "{{{{ .Name }}}} 30 IN A 192.0.2.7"
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


class Node:
    """The lab's worker node; `machines` are its namespaces by name, `server` is the Corefile of CoreDNS."""

    core_dns_process: int
    """Process id of CoreDNS, as the lab sees it."""

    def __init__(
        self,
        directory: Path,
        mode: EnforcingMode,
        backend: Backend = "nft",
        server: str = SERVER,
        *,
        kube_proxy_mode: kube_proxy.Mode = "iptables",
        external_snat: bool = False,
    ) -> None:
        self.directory = directory
        self.mode: EnforcingMode = mode
        self.backend: Backend = backend
        self._server = server
        self._kube_proxy_mode: kube_proxy.Mode = kube_proxy_mode
        self._external_snat = external_snat
        self.machines: dict[str, Namespace] = {}
        self.closing: list[threading.Event] = []
        """Set when the node goes, for whoever works on it meanwhile."""
        self._branch_lines: dict[str, list[str]] = {}

    @property
    def host(self) -> Namespace:
        """The node itself."""
        return self.machines["host"]

    def iptables(self, what: str = "", backend: Backend | None = None) -> Path:
        """Return the program of the node's kind of iptables, or of another: itself, `-save` or `-restore`."""
        return locate("iptables").with_name(f"iptables-{backend or self.backend}{what}")

    @property
    def router(self) -> Namespace:
        """The VPC: subnets' gateways and, where a scenario wants them, security groups."""
        return self.machines["router"]

    def _machine(self, name: str) -> Namespace:
        # The node's and its pods' iptables-legacy wait for one another, and for no other node's.
        lock = self.directory / ("xtables.lock" if name == "host" else f"{name}.xtables.lock")
        self.machines[name] = made = Namespace(name, {"XTABLES_LOCKFILE": str(lock)})
        # A node delivers between links that are not neighbours in any subnet; the kernel's check would not let it.
        made.sysctl(net__ipv4__ip_forward=1, net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__default__rp_filter=0)
        with contextlib.suppress(LabError):  # a kernel without it; its addresses settle long after a link is up
            made.sysctl(net__ipv6__conf__all__disable_ipv6=1, net__ipv6__conf__default__disable_ipv6=1)
        return made

    def _cable(self, one: str, link: str, other: str, far: str) -> None:
        name = self.machines[other].name
        self.machines[one].ip(f"link add {link} type veth peer name {far} netns {name}", f"link set {link} up")
        self.machines[other].ip(f"link set {far} up")

    def _hardware_address(self, machine: str, link: str) -> str:
        words = self.machines[machine].run(locate("ip"), "-oneline", "link", "show", "dev", link).split()
        return words[words.index("link/ether") + 1]

    def build(self) -> None:
        """Make the VPC, the node, CoreDNS and the plain pod."""
        for name in ("router", "host", "coredns", "plain-pod"):
            self._machine(name)
        self._cable("host", "eth0", "router", "node")
        self.host.sysctl(net__ipv4__conf__eth0__rp_filter=2)  # as the CNI's init container does
        self._cable("coredns", "eth0", "router", "other")
        self.host.ip(f"addr add {NODE}/24 dev eth0", f"route add default via {NODE_GATEWAY}")
        self.machines["coredns"].ip(
            f"addr add {CORE_DNS}/24 dev eth0", f"addr add {VPC_RESOLVER}/32 dev lo", "route add default via 10.0.3.1"
        )
        self.router.ip(
            f"addr add {NODE_GATEWAY}/24 dev node", "addr add 10.0.3.1/24 dev other",
            f"route add {VPC_RESOLVER} via {CORE_DNS}",
            # A VPC knows no ClusterIPs, and drops what it does not know without a word.
            "route add blackhole default",
            # A VPC does not ask who has an address: it knows which ENI.
            f"neigh replace {PLAIN_POD} lladdr {self._hardware_address('host', 'eth0')} dev node nud permanent",
        )  # fmt: skip
        self.host.ip(*vpc_cni.node_rules(self.mode))
        for pod in (SGP_POD, SECOND_SGP_POD):
            self._attach_branch(pod)
        self._write_packet_rules()
        self._attach("plain-pod", host_link("plain-pod", None), PLAIN_POD)
        self.host.ip(*vpc_cni.pod_routes("plain-pod", PLAIN_POD))
        self._start_coredns()

    def _write_packet_rules(self) -> None:
        """Write the rules of kubelet, kube-proxy and VPC CNI, in this order."""
        services = {"kube-system/kube-dns": CLUSTER_DNS, "kube-system/kube-dns-upstream": UPSTREAM}
        own_table = self.backend == "nft" and not self._external_snat
        tables = vpc_cni.mark_table(VPC_CIDR) if own_table else ""
        rules = kube_proxy.kubelet_rules()
        if self._kube_proxy_mode == "nftables":
            tables = kube_proxy.nftables_rules(services, CORE_DNS, NODE) + tables
        else:
            rules += kube_proxy.iptables_rules(services, CORE_DNS)
        rules += vpc_cni.packet_rules(VPC_CIDR, NODE, marks=not own_table, external_snat=self._external_snat)
        self.host.run(self.iptables("-restore"), "--noflush", given=rules)
        self.host.run(locate("nft"), "-f", "-", given=tables)

    def _attach_branch(self, pod: BranchPod) -> None:
        trunk = vpc_cni.trunk_link(pod.vlan)
        self._cable("host", trunk, "router", pod.subnet_link)
        self.router.ip(
            f"addr add {pod.gateway}/24 dev {pod.subnet_link}",
            f"neigh replace {pod.address} lladdr {self._hardware_address('host', trunk)} dev {pod.subnet_link} "
            "nud permanent",
        )
        self.host.ip(*vpc_cni.branch_routes(pod.vlan, pod.gateway))

    def disable_tcp_early_demux(self) -> None:
        """Set DISABLE_TCP_EARLY_DEMUX, as the CNI's init container does; a kernel has it on."""
        self.host.sysctl(net__ipv4__tcp_early_demux=0)

    def _attach(self, pod: str, link: str, address: str) -> None:
        self._cable("host", link, pod, "eth0")
        mac = self._hardware_address("host", link)
        self.machines[pod].ip(
            f"addr add {address}/32 dev eth0", "route add 169.254.1.1 dev eth0 scope link",
            "route add default via 169.254.1.1 dev eth0",
            f"neigh add 169.254.1.1 lladdr {mac} dev eth0 nud permanent",
        )  # fmt: skip

    def _start_coredns(self) -> None:
        corefile = self.directory / "coredns.corefile"
        corefile.write_text(self._server)
        with (self.directory / "coredns.log").open("wb") as log:
            started = self.machines["coredns"].start((locate("node-cache-stand-in"), "-conf", corefile), log)
        self.core_dns_process = started.pid
        end = time.monotonic() + BUSY_SECONDS
        sockets = Path("/proc/thread-self/net/udp")
        while socket_table_address(CORE_DNS) not in self.machines["coredns"].call(sockets.read_text):
            if started.poll() is not None or time.monotonic() > end:
                raise LabError(f"CoreDNS did not start: {(self.directory / 'coredns.log').read_text()}")
            time.sleep(0.01)

    def create_branch_pod(self, pod: BranchPod = SGP_POD) -> None:
        """Create a pod with a SecurityGroupPolicy, wired as the CNI's present mode says."""
        self._machine(pod.name)
        self._attach(pod.name, host_link(pod.name, self.mode), pod.address)
        self._branch_lines[pod.name] = vpc_cni.branch_pod_routes(pod.name, pod.address, pod.vlan, self.mode)
        self.host.ip(*self._branch_lines[pod.name])

    def delete_branch_pod(self, pod: BranchPod = SGP_POD) -> None:
        """Delete a pod with a SecurityGroupPolicy, its links and its routes."""
        self.host.ip(*vpc_cni.undo(self._branch_lines.pop(pod.name)))
        self.machines.pop(pod.name).close()

    def switch_to_standard(self) -> None:
        """Roll aws-node out in standard mode: only pods created from now on differ; the local table stays at 20."""
        self.mode = "standard"

    def refuse_dns_of_branch_pod(self) -> None:
        """Give the pod's security group no rule for port 53."""
        for protocol in ("udp", "tcp"):
            rule = ("-i", SGP_POD.subnet_link, "-p", protocol, "--dport", "53", "-j", "DROP")
            self.router.run(locate("iptables"), "-A", "FORWARD", *rule)

    def cut_coredns_off(self) -> None:
        """Make CoreDNS and the VPC resolver unreachable, silently."""
        self.router.run(locate("iptables"), "-I", "FORWARD", "-o", "other", "-j", "DROP")

    def prepare_interface(self) -> None:
        """Make the cache's link where the kernel has no dummy links, for a node-cache that cannot do without.

        If it is there, it stays as it is.
        """
        if not self._dummy_links:
            with contextlib.suppress(LabError):  # it is there already: another cache runs
                self.host.ip(f"link add name {INTERFACE} type bridge")

    @functools.cached_property
    def _dummy_links(self) -> bool:
        """Whether the kernel has the links that node-cache makes."""
        try:
            self.host.ip("link add name dummy-links type dummy", "link del dummy-links")
        except LabError:
            return False
        return True

    def settle(self, untracking: int) -> None:
        """Wait until so many of the cache's rules untrack packets, which may be after its pod is ready."""
        end = time.monotonic() + BUSY_SECONDS
        while (found := sum("NOTRACK" in line for line in self.leftovers())) < untracking:
            if time.monotonic() > end:
                raise LabError(f"the cache's rules do not come: {found} of {untracking} untrack packets.")
            time.sleep(0.05)

    def why(self, server: str) -> str:
        """Return how the node routes a packet of the pod with a branch ENI to `server`."""
        link = host_link(SGP_POD.name, self.mode)
        return self.host.run(locate("ip"), "route", "get", server, "from", BRANCH_POD, "iif", link, check=False).strip()

    def _rules(self) -> list[str]:
        """Return every packet rule and chain, of both kinds of iptables, without counters.

        A chain of the kernel's with the policy ACCEPT is left out, as none: iptables makes those of the tables it
        touches, and cannot remove them.
        """
        found: list[str] = []
        for backend in BACKENDS:
            table = ""
            for line in self.host.run(self.iptables("-save", backend)).splitlines():
                text = line.partition(" [")[0] if line.startswith(":") else line
                if text.startswith("*"):
                    table = text[1:]
                elif text.startswith("-") or (text.startswith(":") and not text.endswith(" ACCEPT")):
                    found.append(f"{backend} {table} {text}")
        return found

    def _own_tables(self) -> list[str]:
        """Return the lines of the tables that kube-proxy and the CNI have of their own, without counters."""
        found: list[str] = []
        for table in (kube_proxy.TABLE, vpc_cni.TABLE):
            listed = self.host.run(locate("nft"), "--stateless", "list", "table", "ip", table, check=False)
            found += [f"nft {table} {line.strip()}" for line in listed.splitlines()]
        return found

    def snapshot(self) -> list[str]:
        """Return all that an installation could change: links, addresses, routing rules, routes, packet rules."""
        looks = [("addr",), ("rule",), ("route", "show", "table", "all")]
        return [
            f"{look[0]} {line.strip()}"
            for look in looks
            for line in self.host.run(locate("ip"), "-oneline", *look).splitlines()
        ] + [*self._rules(), *self._own_tables()]

    def leftovers(self) -> list[str]:
        """Return what of the cache is on the node: its link and its packet rules."""
        links = self.host.run(locate("ip"), "-oneline", "link", "show").splitlines()
        return [line for line in links if INTERFACE in line] + [
            line
            for line in self._rules()
            if "NodeLocal DNS Cache" in line or "node-local-dns" in line or "NOTRACK" in line
        ]

    def close(self) -> None:
        """End what runs on them and remove every namespace."""
        for each in self.closing:
            each.set()
        for machine in self.machines.values():
            machine.close()
        self.machines.clear()


@contextlib.contextmanager
def worker_node(
    mode: EnforcingMode,
    backend: Backend = "nft",
    server: str = SERVER,
    *,
    kube_proxy_mode: kube_proxy.Mode = "iptables",
    external_snat: bool = False,
) -> Iterator[Node]:
    """Make a node whose CNI has `mode`, with a pod of each kind; it is gone at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="nodelocal-lab-") as directory:
        node = Node(
            Path(directory), mode, backend, server, kube_proxy_mode=kube_proxy_mode, external_snat=external_snat
        )
        try:
            node.build()
            node.create_branch_pod()
            yield node
        finally:
            node.close()
