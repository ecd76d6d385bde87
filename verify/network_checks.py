"""Checks of one node's network: addresses, routes, packet rules, and what a cache that is gone left of them."""

from collections import Counter

from verify.check import check
from verify.facts import Facts
from verify.findings import Result, failed, ok, unknown
from verify.node_view import CACHE, NOT_INSTALLED, NodeView
from verify.packet_rules import BACKENDS, Backend, expected


@check(
    "cache's addresses",
    None,
    "addresses and the local routing table",
    "Delete the cache's pod on this node: node-cache makes link and addresses when it starts.",
)
def has_addresses(view: NodeView, host: Facts) -> Result:
    here = view.expected_here
    if here is None or not view.cache_listens:
        return ok("no cache serves here")
    missing = []
    for address in (here.local_address, here.cluster_dns_ip):
        if not any(each.address == address and each.link == here.interface for each in host.addresses):
            missing.append(f"{address} is not on {here.interface}")
        elif not any(
            each.destination == address and each.kind == "local" and each.link == here.interface
            for each in host.routes
        ):  # fmt: skip
            missing.append(f"no local route to {address} on {here.interface}")
    return failed("; ".join(missing), view.failing_at(*CACHE)) if missing else ok("both addresses, with their routes")


def _unread(host: Facts) -> str:
    """Say why one of the backends' rules are not known; empty if both are."""
    return next(
        (f"iptables-{each}-save: {host.text(each).why_not}" for each in BACKENDS if not host.text(each).seen), ""
    )


@check(
    "packet rules are there",
    2,
    "iptables-save of the backend kube-proxy uses",
    "Look at the container `interception` (socket) or node-cache's setup errors (upstream): who flushes the rules?",
)
def rules_are_there(view: NodeView, host: Facts) -> Result:
    here = view.expected_here
    if here is None or not view.cache_listens:
        return ok("no cache serves here")
    if unread := _unread(host):
        return unknown(unread)
    found = Counter(view.rules[host.backend])
    other: Backend = "legacy" if host.backend == "nft" else "nft"
    sets = expected(here.interception, here.local_address, here.cluster_dns_ip)
    lacking = {name: Counter(rules) - found for name, rules in sets.items()}
    name, missing = min(lacking.items(), key=lambda each: each[1].total())
    if not missing:
        return ok(f"all {len(sets[name])} rules in iptables-{host.backend}: {name}")
    elsewhere = (
        f"; {len(view.rules[other])} are in iptables-{other}, which kube-proxy does not use"
        if view.rules[other]
        else ""
    )
    return failed(f"{missing.total()} of {len(sets[name])} rules missing in iptables-{host.backend}, first: "
                  f"{next(iter(missing))}{elsewhere}", view.failing_at(*CACHE))  # fmt: skip


@check(
    "no rule twice",
    3,
    "iptables-save of both backends",
    "Delete the cache's pod on this node, which removes and renews the rules; image 1.22.19 or newer (kubernetes/dns#568).",
)
def no_rule_twice(view: NodeView, host: Facts) -> Result:
    if unread := _unread(host):
        return unknown(unread)
    twice = [f"{each} ({count} times in iptables-{backend})"
             for backend in BACKENDS for each, count in Counter(view.rules[backend]).items() if count > 1]  # fmt: skip
    both = set(view.rules["nft"]) & set(view.rules["legacy"])
    if both and view.expected_here is not None:
        twice.append(f"{len(both)} rules in both backends")
    return failed("; ".join(twice)) if twice else ok("every rule once")


@check(
    "addresses are free",
    22,
    "addresses of the other links",
    "Choose another nodeLocalDns.localAddress, or remove the address from the other link.",
)
def addresses_are_free(view: NodeView, host: Facts) -> Result:
    here = view.expected_here
    if here is None:
        return NOT_INSTALLED
    taken = [
        f"{each.address} is on {each.link} too" for each in host.addresses
        if each.address in {here.local_address, here.cluster_dns_ip} and each.link != here.interface
    ] + [
        f"{each.destination} is routed over {each.link}" for each in host.routes
        if each.destination == here.local_address and each.link not in {here.interface, ""} and each.kind == "unicast"
    ]  # fmt: skip
    return failed("; ".join(taken)) if taken else ok("nothing else has the cache's addresses")


@check(
    "no strict rules",
    5,
    "ip rule: priority 10 with iif vlan*; the CNI's file of its mode",
    "Set POD_SECURITY_GROUP_ENFORCING_MODE=standard (setting vpcCni.podSecurityGroupEnforcingMode), roll aws-node out, "
    "then recreate the pods behind security groups on this node.",
)
def no_strict_rules(view: NodeView, host: Facts) -> Result:
    if view.strict_rules and view.expected_here is None:
        return ok("pods in strict mode, which is harmless as long as no cache is here")
    if view.strict_rules:
        return failed(
            f"{len(view.strict_rules)} rules of strict mode: pods behind security groups never reach this node's "
            f"addresses: {'; '.join(view.strict_rules[:4])}",
            view.failing_at(*CACHE, clients=("branch",)),
        )
    if view.expected_here is None or not view.pod_interfaces:
        return ok("no pod on this node has the rules of strict mode, and none that is made now loses DNS by them")
    if host.enforcing_mode == "strict":
        return failed("the CNI on this node is in strict mode: the next pod behind a security group has no DNS")
    if not host.enforcing_mode:
        cni = host.text("cni")
        return unknown(f"no pod here has the rules of strict mode; whether the next one gets them is not known: the CNI's "
                       f"file {'does not say its mode' if cni.seen else f'was not read: {cni.why_not}'}")  # fmt: skip
    return ok("no pod on this node has the rules of strict mode")


@check(
    "nothing is left behind",
    23,
    "addresses and rules where no cache is installed",
    "Remove the rules with the comments node-local-dns and NodeLocal DNS Cache, then the link nodelocaldns; or replace the node.",
)
def nothing_left_behind(view: NodeView, host: Facts) -> Result:
    if view.expected_here is not None:
        return ok("the cache is installed")
    if view.leftovers:
        return failed(f"{len(view.leftovers)} things of a cache that is gone: {'; '.join(view.leftovers[:3])}",
                      view.failing_at(*CACHE))  # fmt: skip
    if unread := _unread(host):
        return unknown(unread)
    return ok("nothing of the cache is on this node")
