"""Checks of the questions that one node and its pods asked: who answered, who did not, and over which path."""

from components.cache.corefile import HEALTH_PORT
from verify.check import check
from verify.cluster_facts import ready
from verify.facts import Facts
from verify.findings import Asked, Result, failed, ok, unknown
from verify.node_view import CACHE, NOT_INSTALLED, POD_CLIENTS, NodeView
from verify.questions import PROTOCOLS, Protocol, Server

SLOW_UPSTREAM_MS = 1000
"""Resolvers ask again after some seconds (resolv.conf(5): 5), and a cache miss waits for CoreDNS."""

SLOW_CACHE_MS = 500
"""Kubernetes' own bound for DNS is 100 ms for 99 of 100 questions (kubernetes/perf-tests, clusterloader2); this is the
fastest of several answers that need no upstream."""

LOSSY = 1 / 4
"""Share of questions without a reply at first from which on it is no accident."""


@check(
    "resolver is not the cache",
    9,
    "the node's /etc/resolv.conf",
    "Give the node the VPC's resolver, or set nodeLocalDns.corefile.upstreamServers.",
)
def resolver_is_not_the_cache(view: NodeView, host: Facts) -> Result:
    here = view.expected_here
    if here is None:
        return NOT_INSTALLED
    if not view.asks_resolver:
        return ok("the Corefile names its upstream servers; the node's resolver is not asked")
    if not host.text("resolver").seen:
        return unknown(f"resolv.conf: {host.text('resolver').why_not}")
    own = [each for each in host.nameservers
           if each in {here.local_address, here.cluster_dns_ip} or each.startswith("127.")]  # fmt: skip
    if own:
        return failed(f"the node's resolver is {', '.join(own)}: the cache would ask itself",
                      view.failing_at(*CACHE, purposes=("external",)))  # fmt: skip
    return ok(f"the node's resolver is {', '.join(host.nameservers) or 'not set'}")


@check(
    "CoreDNS and the resolver answer",
    13,
    "the node's questions to kube-dns-upstream, and through the cache",
    "Look at CoreDNS (`kubectl -n kube-system get pods -l k8s-app=kube-dns`), the node's security group (port 53, UDP and "
    "TCP) and the VPC's resolver.",
)
def upstreams_answer(view: NodeView, _host: Facts) -> Result:
    direct = view.failing_at("upstream", clients=("node",))
    through = view.failing_at("local", clients=("node",), purposes=("internal", "external", "negative"))
    if view.broken_corefile:
        through = frozenset(each for each in through if each[1].purpose == "external")
    known = view.failing_at("local", clients=("node",), purposes=("marker",))
    took = view.fastest("node", "upstream", "internal")
    if not direct and took is not None and took > SLOW_UPSTREAM_MS:
        return failed(f"CoreDNS answers the node in {took} ms at best")
    if not direct and (known or not through or not view.cache_listens):
        return ok("not asked: no upstream Service, or no cache here") if took is None else ok(
            f"CoreDNS answers the node, in {took} ms at best")  # fmt: skip
    unanswered = [f"{question}" for _, question in sorted(direct | through)]
    return failed(f"the node got no answer to: {', '.join(unanswered)}",
                  view.failing_at(*CACHE, "upstream", purposes=("internal", "external", "negative")))  # fmt: skip


@check(
    "security group lets DNS through",
    6,
    "the branch pod's questions to kube-dns-upstream",
    "Let the pods' security group reach CoreDNS' on port 53 over UDP and TCP: it is the path while the cache is down.",
)
def security_group_lets_dns_through(view: NodeView, _host: Facts) -> Result:
    if not view.branch_expected:
        return ok("no pod behind a security group is to be probed here")
    if "branch" not in view.probes:
        return unknown("no pod behind a security group was probed on this node")
    # Without a cache the ClusterIP is the path to CoreDNS.
    path: Server = "upstream" if view.addresses.upstream else "cluster"
    lost = frozenset(
        each for each in view.failing_at(path, clients=("branch",)) if view.silent("branch", path, each[1].protocol)
    )
    if not lost or view.failing_at(path, clients=("node",)):
        return ok("a pod behind a security group reaches CoreDNS")
    fallback = frozenset[Asked]() if view.cache_listens else view.failing_at("cluster", clients=("branch",))
    over = ", ".join(sorted({question.protocol for _, question in lost}))
    return failed(
        f"a pod behind a security group gets no answer from CoreDNS over {over}, the node does", lost | fallback
    )


@check(
    "UDP and TCP alike",
    12,
    "questions over both protocols",
    "Restart the cache's pod (kubernetes/dns#745), and look what drops one protocol on port 53.",
)
def protocols_alike(view: NodeView, _host: Facts) -> Result:
    hung: set[Asked] = set()
    said: list[str] = []
    if view.expected_here is None or not view.cache_listens:
        return ok("no cache serves here")
    for client in view.probes:
        for server in CACHE:
            silent: list[Protocol] = [each for each in PROTOCOLS if view.silent(client, server, each)]
            if len(silent) == 1:
                said.append(f"{client} to {server}: {silent[0]} is silent")
                hung |= view.failing_at(server, clients=(client,), protocol=silent[0])
    hung &= view.unexplained
    return failed("; ".join(said), frozenset(hung)) if hung else ok("both protocols alike")


@check(
    "pods may reach the cache",
    17,
    "a pod's questions next to the node's own",
    "Look at NetworkPolicies: allow the link-local address and the ClusterIP on port 53 by ipBlock.",
)
def pods_reach_the_cache(view: NodeView, _host: Facts) -> Result:
    if not set(POD_CLIENTS) & set(view.probes):
        return unknown("no pod was probed on this node")
    blocked: set[Asked] = set()
    for client in POD_CLIENTS:
        for server in (*CACHE, "upstream"):
            if server in CACHE and not (view.cache_listens and view.lively("node", "local")):
                continue
            if all(view.silent(client, server, each) for each in PROTOCOLS) and (
                server in CACHE or view.lively("node", "upstream")
            ):
                blocked |= view.failing_at(server, clients=(client,))
    blocked &= view.unexplained
    where = sorted({f"{client} to {question.server}" for client, question in blocked})
    if not blocked:
        return ok("pods reach what the node reaches")
    return failed(f"no reply, while the node itself has one: {', '.join(where)}", frozenset(blocked))


@check(
    "cache answers pods",
    4,
    "the marker that only the node's own cache answers",
    "Look what takes the packets before the cache's rules: an eBPF kube-proxy replacement, IPVS, a rule before ours.",
)
def cache_answers_pods(view: NodeView, _host: Facts) -> Result:
    if not set(POD_CLIENTS) & set(view.probes):
        return unknown("no pod was probed on this node")
    if view.expected_here is None or not view.cache_listens:
        return ok("no cache serves here")
    elsewhere = {
        (client, question): view.answers(client, question.server)[question]
        for client, question in view.failing_at(*CACHE, purposes=("marker",)) & view.unexplained
    }
    elsewhere = {key: value for key, value in elsewhere.items() if value.replied}
    if elsewhere:
        (client, question), answer = min(elsewhere.items())
        return failed(f"{client}: {question} was answered {answer}, not by this node's cache", frozenset(elsewhere))
    return ok("the marker came back with this node's name")


@check(
    "pods ask the ClusterIP first",
    20,
    "a pod's /etc/resolv.conf",
    "Leave kubelet's clusterDNS at kube-dns' ClusterIP: pods that start before the cache then have DNS too.",
)
def pods_ask_the_cluster_ip(view: NodeView, _host: Facts) -> Result:
    here, pod = view.expected_here, view.probes.get("plain")
    if here is None:
        return NOT_INSTALLED
    if pod is None or not pod.text("resolver").seen:
        return unknown("no pod's resolv.conf was seen")
    if pod.nameservers[:1] != [here.cluster_dns_ip]:
        return failed(f"pods ask {', '.join(pod.nameservers) or 'nobody'}, not {here.cluster_dns_ip} first")
    return ok(f"pods ask {here.cluster_dns_ip} first")


@check(
    "no second family passes by",
    26,
    "a pod's /etc/resolv.conf",
    "Take the IPv6 server out of the pods' resolver: the cache serves IPv4 only.",
)
def no_second_family(view: NodeView, _host: Facts) -> Result:
    pod = view.probes.get("plain")
    if pod is None or not pod.text("resolver").seen:
        return unknown("no pod's resolv.conf was seen")
    six = [each for each in pod.nameservers if ":" in each]
    return failed(f"pods also ask {', '.join(six)}, past the cache") if six else ok("pods ask IPv4 servers only")


@check(
    "DNS stays on the node",
    24,
    "a pod's questions to another node's own address: DNS, and the health port",
    "Bind the cache, and its `health`, to its own addresses only, and find out who answers at the node's.",
)
def dns_stays_on_the_node(view: NodeView, _host: Facts) -> Result:
    found, pod = view.answers("plain", "neighbour"), view.probes.get("plain")
    if not view.addresses.neighbour:
        return ok("there is no other node with a cache to ask")
    if pod is None:
        return unknown("no pod was probed on this node")
    answered = [f"DNS over {question.protocol}" for question, answer in found.items() if answer.replied]
    if pod.text("far_health").seen and pod.text("far_health").text.strip() == "OK":  # CoreDNS' plugin health
        answered.append(f"health at port {HEALTH_PORT}")
    who = f"{view.neighbour} ({view.addresses.neighbour})"
    return failed(f"{who} answers on its own address: {', '.join(answered)}") if answered else ok(
        f"{who} answers neither DNS nor health on its own address")  # fmt: skip


@check(
    "cache is quick",
    None,
    "milliseconds of the marker, which the cache answers by itself",
    "Look at the node's CPU and its load, and at the cache's (`kubectl -n kube-system top pod -l k8s-app=node-local-dns`).",
)
def cache_is_quick(view: NodeView, _host: Facts) -> Result:
    if view.expected_here is None or not view.cache_listens:
        return ok("no cache serves here")
    times: dict[str, int] = {}
    for client in view.probes:
        servers: tuple[Server, ...] = ("local",) if client == "node" else CACHE
        found = [took for each in servers if (took := view.fastest(client, each, "marker")) is not None]
        if found:
            times[client] = min(found)
    slow = [
        f"{client}: {milliseconds} ms at best" for client, milliseconds in times.items() if milliseconds > SLOW_CACHE_MS
    ]
    return failed(f"answers that need no upstream are slow: {', '.join(slow)}") if slow else ok(
        f"{max(times.values(), default=0)} ms at best")  # fmt: skip


@check(
    "DNS works",
    11,
    "every question asked, over UDP and TCP, at both addresses; each once more if it had no reply",
    "A probe says it is alive and DNS is broken all the same: look at the cache's log on this node, and restart its pod.",
)
def dns_works(view: NodeView, _host: Facts) -> Result:
    left = sorted(view.unexplained)
    again = [f"{client}: {each}" for client, facts in view.probes.items() for each in sorted(facts.asked_again)]
    asked = sum(len(facts.answers) for facts in view.probes.values())
    lossy = f"{len(again)} of {asked} questions had a reply only when asked a second time: {', '.join(again[:6])}"
    if not left and len(again) > LOSSY * asked:
        return failed(lossy)
    if not left:
        return ok(f"every question got its answer, or another check says why not{f'; {lossy}' if again else ''}")
    said = [f"{client}: {question}: {view.answers(client, question.server)[question]}" for client, question in left]
    not_ready = "" if view.cache_pods is None or all(map(ready, view.cache_pods)) else ", and its pod is not ready"
    return failed(f"{len(left)} questions went wrong{not_ready}: {'; '.join(said[:6])}", frozenset(left))
