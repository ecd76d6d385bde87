"""Checks of the cache's process on one node: is it there, does it listen, has it room."""

import re

from components.cache.corefile import METRICS_PORT
from verify.check import check
from verify.cluster_facts import container_statuses, waits_for
from verify.facts import Facts
from verify.findings import Asked, Result, failed, ok, unknown
from verify.node_view import CACHE, NOT_INSTALLED, NodeView
from verify.questions import PROTOCOLS


@check(
    "port 53 is free",
    8,
    "listening sockets",
    "Stop what listens on port 53 of every address (`ss -lnp 'sport = :53'`).",
)
def port_is_free(view: NodeView, _host: Facts) -> Result:
    if view.expected_here is None:
        return NOT_INSTALLED
    if view.wildcards:
        explained = frozenset[Asked]() if view.cache_listens else view.failing_at(*CACHE)
        return failed(f"somebody listens at {', '.join(view.wildcards)}, where the cache binds too", explained)
    return ok("nobody else listens on port 53 of every address")


@check(
    "cache runs",
    21,
    "pods of the cache, and the node",
    "Look at the DaemonSet's events: taints, affinity, room on the node (`kubectl -n kube-system describe ds node-local-dns`).",
)
def cache_runs(view: NodeView, _host: Facts) -> Result:
    if view.excluded:
        return ok(f"no cache by design: {view.excluded}")
    if view.expected_here is None:
        return NOT_INSTALLED
    # What the probe sees counts: the API's list of pods is older.
    absent = "" if view.cache_listens or _lock_problems(view) else _absence(view)
    if not absent:
        return ok("the cache is on this node, or another check says why not")
    if view.starting:
        return unknown(f"{absent}; {view.starting}", view.failing_at(*CACHE))
    return failed(absent, view.failing_at(*CACHE))


def _absence(view: NodeView) -> str:
    """Say what of the cache is not on a node where it does not listen; empty if something is."""
    if view.cache_pods is not None and not view.cache_pods:
        return "the cache is installed and has no pod on this node"
    if view.leftovers or view.wildcards:
        return ""
    waiting = "".join(f"; its pod: {each}" for each in (*map(waits_for, view.cache_pods or ()), *view.events) if each)
    return f"nothing of the cache is on this node: no address, no rule, no socket{waiting}"


@check(
    "cache listens",
    1,
    "listening sockets and packet rules",
    "Look why it died (`kubectl -n kube-system logs --previous`, OOMKilled?); deleting its pod starts it anew.",
)
def cache_listens(view: NodeView, _host: Facts) -> Result:
    here = view.expected_here
    if here is None:
        return NOT_INSTALLED
    absent = [
        f"{address}:53/{protocol}"
        for address in (here.local_address, here.cluster_dns_ip) for protocol in PROTOCOLS
        if not view.listening(address, protocol)
    ]  # fmt: skip
    if not absent:
        return ok("the cache listens at both addresses over UDP and TCP")
    if view.wildcards or not view.leftovers or view.cache_pods == []:
        return ok("another check says why nobody listens")
    lost = view.failing_at("cluster", clients=("plain",), purposes=("internal",))
    what = "and every question to the ClusterIP is lost" if lost else "and CoreDNS answers at the ClusterIP instead"
    said = f"nobody listens at {', '.join(absent)}, the cache's addresses or rules are there, {what}"
    if view.starting and not lost:
        return unknown(f"{said}; {view.starting}", view.failing_at(*CACHE))
    return failed(said, view.failing_at(*CACHE))


def _lock_problems(view: NodeView) -> list[str]:
    """Return what keeps the cache's pod from starting, if it is the lock: the kubelet tells it in an event."""
    return [each for each in (*map(waits_for, view.cache_pods or ()), *view.events) if "xtables" in each]


@check(
    "rules are written without lock errors",
    10,
    "setup error metric, and states and events of the cache's pod",
    "Remove /run/xtables.lock if it is a directory (amazon-vpc-cni-k8s#3506) and restart kube-proxy and the cache.",
)
def no_lock_errors(view: NodeView, host: Facts) -> Result:
    if view.expected_here is None:
        return NOT_INSTALLED
    if problems := _lock_problems(view):
        return failed("; ".join(problems), frozenset() if view.cache_listens else view.failing_at(*CACHE))
    # One process has both ports, but after an update nobody may have node-cache's own.
    texts = [host.text(each).text for each in ("setup_metrics", "metrics") if host.text(each).seen]
    if view.cache_listens and not texts:
        return unknown(f"no metrics: {host.text('metrics').why_not}")
    errors = [float(each) for text in texts for each in re.findall(
        r'^coredns_nodecache_setup_errors_total\{[^}]*errortype="iptables_lock"[^}]*\} (\S+)', text, re.MULTILINE)]  # fmt: skip
    if errors and max(errors) > 0:
        return failed(f"{max(errors):.0f} times the xtables lock was not had")
    return ok("no error of the xtables lock")


@check(
    "memory is below the limit",
    15,
    "resident memory metric, and why the cache's containers ended",
    "Raise the limit with the cache sizes (the setting computes it), or lower nodeLocalDns.corefile.maxConcurrent.",
)
def memory_below_limit(view: NodeView, host: Facts) -> Result:
    here = view.expected_here
    if here is None or not view.cache_listens:
        return ok("no cache serves here")
    for pod in view.cache_pods or ():
        for each in container_statuses(pod):
            if (each.get("lastState", {}).get("terminated") or {}).get("reason") == "OOMKilled":
                return failed(f"{each['name']} was killed for its memory, {each.get('restartCount', 0)} restarts")
    found = re.search(r"^process_resident_memory_bytes (\S+)", host.text("metrics").text, re.MULTILINE)
    if found is None or here.memory_limit_bytes is None:
        return unknown("no memory metric, or no limit")
    share = float(found[1]) / here.memory_limit_bytes
    text = f"{share:.0%} of the limit of {here.memory_limit_bytes // 2**20} MiB"
    return failed(text) if share > 0.9 else ok(text)  # noqa: PLR2004  # the kernel kills at 1


@check(
    "metrics",
    None,
    "the cache's metrics on the node itself",
    "Look who else has port 9253, and at the Corefile's prometheus lines.",
)
def has_metrics(view: NodeView, host: Facts) -> Result:
    if view.expected_here is None or not view.cache_listens:
        return ok("no cache serves here")
    if view.hung:
        return ok("another check says that the cache hangs")
    seen = host.text("metrics")
    if seen.missing or not seen.seen:
        return unknown(seen.why_not) if seen.missing else failed(f"no metrics: {seen.why_not}")
    failures = re.findall(r"^coredns_reload_failed_total (\S+)", seen.text, re.MULTILINE)
    if "coredns_" not in seen.text:
        return failed("what answers on the metrics port is not the cache")
    return failed(f"{failures[0]} failed reloads") if any(float(each) > 0 for each in failures) else ok("served")


@check(
    "metrics are reachable",
    None,
    "a pod's requests to port 9253 of its own node's address and of another node's",
    "Prometheus asks nodes at their own address: allow TCP 9253 between nodes (security group), and leave the Corefile's "
    "`prometheus :9253` on every address.",
)
def metrics_are_reachable(view: NodeView, host: Facts) -> Result:
    if view.expected_here is None or not view.cache_listens:
        return ok("no cache serves here")
    if view.hung or not host.text("metrics").seen:
        return ok("another check says why there are none")
    pod = view.probes.get("plain")
    if pod is None:
        return unknown("no pod was probed on this node")
    near, far = pod.text("near_metrics"), pod.text("far_metrics")
    if view.addresses.node and not near.seen:
        return failed(f"a pod has no metrics from its own node ({view.addresses.node}:{METRICS_PORT}): {near.why_not}")
    # Refused, or no reply on an open connection: that node's own checks say what is wrong with its cache.
    if view.neighbour and far.timed_out and "Operation timed out" not in far.error:
        return failed(
            f"a pod gets no connection to {view.neighbour} ({view.addresses.neighbour}:{METRICS_PORT}): {far.why_not}"
        )
    return ok("pods reach them, as Prometheus has to")
