"""Each limit of a setting with its neighbours: the last value that is taken, and the first that is not."""

import re
from collections.abc import Iterator
from typing import Any

import annotated_types
import pytest
from pydantic import BaseModel

from stacks.mistakes import models_in
from stacks.reading import judged, parse
from stacks.settings import Settings

FILE = "stacks/Pulumi.dev.yaml"
ROLE = "arn:aws:iam::111122223333:role/platform"
SUBNETS = ["subnet-1", "subnet-2"]


def _addresses(number: int) -> list[str]:
    return [f"10.9.0.{each}" for each in range(1, number + 1)]


CACHE: dict[str, tuple[list[Any], list[Any]]] = {
    # of each cache: (taken, refused)
    "successCapacity": ([1024, 1_000_000], [1023, 1_000_001]),
    "successTtl": ([1, 3600], [0, 3601]),
    "denialCapacity": ([1024, 1_000_000], [1023, 1_000_001]),
    "denialTtl": ([1, 3600], [0, 3601]),
    "prefetch.amount": ([1, 1_000_000], [0, 1_000_001]),
    "prefetch.durationSeconds": ([1, 3600], [0, 3601]),
    "prefetch.percentage": ([10, 90], [9, 91]),
    "serveStaleSeconds": ([0, 86_400], [-1, 86_401]),
}
COREFILE = "nodeLocalDns.corefile"
CACHES = ("cluster", "reverse", "external", "stubDomains.corp.cache")

LIMITS: dict[str, tuple[list[Any], list[Any]]] = {
    # the path of a setting: (taken, refused)
    "kubernetesVersion": (["1.34", "1.35", "1.36"], ["1.33", "1.37", "1.3", "1.350", "35", "v1.35"]),
    "serviceCidr": (
        ["10.16.0.0/12", "10.100.0.0/24", "172.16.0.0/12", "172.31.255.0/24", "192.168.255.0/24"],
        ["10.0.0.0/11", "10.100.0.0/25", "172.15.255.0/24", "172.32.0.0/24", "192.167.255.0/24", "192.169.0.0/24"],
    ),
    "network.cidr": (["10.20.0.0/16", "10.20.0.0/21"], ["10.20.0.0/15", "10.20.0.0/22", "10.20.0.1/16"]),
    "network.zones": ([["a", "b"], list("abcd"), ["z", "y"]], [["a"], [], list("abcde"), ["a", "a"], ["A", "b"]]),
    "cluster.name": (["a", "x" * 100, "0-_"], ["x" * 101, "-a", "_a", "a.b"]),
    "cluster.publicAccessCidrs": (
        [[], ["0.0.0.0/1"], ["0.0.0.0/1", "128.0.0.0/2"], ["203.0.113.7/32"]],
        [["0.0.0.0/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"]],
    ),
    "cluster.admins": (
        [[], [ROLE], [ROLE, "arn:aws:iam::111122223333:user/a/b"]],
        [[ROLE, ROLE], ["arn:aws:iam::111122223333:root"], ["arn:aws:iam::11112222333:role/a"]],
    ),
    "cluster.logTypes": ([[], ["api", "audit"]], [["controller"], ["API"]]),
    "cluster.logRetentionDays": ([1, 3, 7, 365, 3653, "7"], [0, 2, 8, 366, 3652, 3654, "seven"]),
    "nodeGroups": (
        [{name: {"instanceTypes": ["m6i.large"]}} for name in ("a", "x" * 40, "0-_")],
        [{}, *({name: {"instanceTypes": ["m6i.large"]}} for name in ("x" * 41, "-a", "_a", "a.b", "é"))],
    ),
    "nodeGroups.a.instanceTypes": (
        [["m6i.large"], ["m6i.large", "m5.large"], ["m7g.large", "c7g.large"], ["c7gn.medium"]],
        [[], ["m6i.large", "m7g.large"], ["m6i.largest"], ["large"], ["mac2.metal"]],
    ),
    "nodeGroups.a.minSize": ([0, 2], [-1, 3]),  # two are desired
    "nodeGroups.a.desiredSize": ([1, 4], [0, 5, -1]),  # one at least, four at most
    "nodeGroups.a.maxSize": ([2], [1, 0]),
    "nodeGroups.a.diskSizeGib": ([20], [19]),
    "nodeGroups.a.labels": (
        [{}, {"x" * 63: "y" * 63}, {"a": ""}, {f"{'p' * 253}/x": "y"}, {"example.com/team": "a_b.c-d"}],
        [{"x" * 64: ""}, {"x": "y" * 64}, {f"{'p' * 254}/x": "y"}, {"-a": ""}, {"a-": ""}, {"k8s.io/a": "b"}],
    ),
    "tags": (
        [{f"key{number}": "x" for number in range(45)}, {"k" * 128: "v" * 256}, {"k": ""}, {"xaws:k": "v"}],
        [{f"key{number}": "x" for number in range(46)}, {"k" * 129: "v"}, {"k": "v" * 257}, {"": "v"}, {"aws:k": "v"}],
    ),
    "nodeLocalDns.image": (
        ["r.io/dns:1.26.8", "r.io/dns:v1.26.8", "r.io/dns:1.27.0", "r.io/dns:2.0.0", f"r.io/dns@sha256:{'0' * 64}"],
        ["r.io/dns:1.26.7", "r.io/dns:1.25.9", "r.io/dns:0.27.9", "r.io/dns:latest", "r.io/dns", "dns:1.26.8"],
    ),
    "nodeLocalDns.cpuRequest": (["1m", "25m", "1", "0.001", "0.1"], ["0m", "0", "0.0", "0.0001", "-1m", "1M"]),
    "nodeLocalDns.memoryRequestMebibytes": ([5], [4]),
    "nodeLocalDns.observability.scrapeIntervalSeconds": ([5, 120], [4, 121]),
    "nodeLocalDns.observability.runbooks": (["a"], ["a b", "a#b"]),
    "nodeLocalDns.observability.labels": ([{"x" * 63: "y" * 63}, {"a": ""}], [{"x" * 64: "y"}, {"x": "y" * 64}]),
    f"{COREFILE}.maxConcurrent": ([10, 100_000], [9, 100_001]),
    f"{COREFILE}.upstreamServers": (
        [[], _addresses(15), ["10.9.0.1:1"], ["10.9.0.1:65535"]],
        [_addresses(16), ["10.9.0.1:0"], ["10.9.0.1:65536"], ["10.9.0.1:"], ["10.9.0.256"], ["dns.example"], ["::1"]],
    ),
    f"{COREFILE}.stubDomains.corp.servers": (
        [_addresses(1), _addresses(15), ["10.9.0.1:65535"]],
        [[], _addresses(16), ["10.9.0.1:65536"]],
    ),
    f"{COREFILE}.extraPlugins": (
        [[], ["bufsize 512"], ["bufsize 4096"], ["pprof", "template IN AAAA"]],
        [["bufsize 511"], ["bufsize 4097"], ["bufsize 0512"], ["pprof", "pprof"], ["pprof :6053"]],
    ),
    f"{COREFILE}.clusterDomain": (["x" * 63, "Shop.Example."], ["x" * 64, "in-addr.arpa", ".", "a..b"]),
    **{f"{COREFILE}.{cache}.{key}": limits for cache in CACHES for key, limits in CACHE.items()},
    "network.existing.vpcId": (["vpc-0", "vpc-0abc"], ["vpc-", "vpc-g", "0abc", "subnet-0"]),
    "network.existing.privateSubnetIds": ([SUBNETS], [["subnet-1"], [], ["subnet-1", "subnet-1"]]),
}

NEEDED: dict[str, Any] = {
    # what a setting cannot be without
    "nodeGroups.a": {"nodeGroups": {"a": {"instanceTypes": ["m6i.large"]}}},
    f"{COREFILE}.stubDomains.corp": {
        "nodeLocalDns": {"corefile": {"stubDomains": {"corp": {"servers": ["10.9.0.2"]}}}}
    },
    "network.existing": {
        "network": {"cidr": "10.20.0.0/16", "existing": {"vpcId": "vpc-1", "privateSubnetIds": SUBNETS}}
    },
}


def _with(path: str, value: Any) -> dict[str, Any]:
    """Return settings in which `path` leads to a value, with what it cannot be without."""
    needed = next((each for above, each in NEEDED.items() if path.startswith(f"{above}.")), {})

    def put(settings: dict[str, Any], keys: list[str]) -> dict[str, Any]:
        key, *below = keys
        return {**settings, key: put(settings.get(key) or {}, below) if below else value}

    return put(needed, path.split("."))


def _each(side: int) -> list[tuple[str, Any]]:
    return [(path, value) for path, limits in LIMITS.items() for value in limits[side]]


@pytest.mark.parametrize(("path", "value"), _each(0), ids=str)
def test_the_last_value_before_a_limit_is_taken(path: str, value: Any) -> None:
    """On each side of it."""
    assert parse(_with(path, value), FILE)


@pytest.mark.parametrize(("path", "value"), _each(1), ids=str)
def test_the_first_value_past_a_limit_is_refused(path: str, value: Any) -> None:
    """As a mistake in that setting, or in its group where several have to agree."""
    _, mistakes = judged(_with(path, value))
    places = {each.split()[0].rstrip(":") for each in mistakes}
    assert places
    assert all(each in {path, path.rpartition(".")[0]} or each.startswith(f"{path}.") for each in places), places


def _limited(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, each in model.model_fields.items():
        path = f"{above}{each.alias or name}"
        limits = (annotated_types.Ge, annotated_types.Le, annotated_types.MinLen, annotated_types.MaxLen)
        if any(isinstance(one, limits) for one in each.metadata):
            yield path
        inner = next(models_in(each.annotation), None)
        if inner is not None:
            yield from _limited(inner, f"{path}.*." if re.search("dict|tuple", str(each.annotation)) else f"{path}.")


@pytest.mark.parametrize("path", [*_limited(Settings)])
def test_a_limit_has_its_neighbours(path: str) -> None:
    """Whoever sets a limit writes down what is on both sides of it."""
    assert any(re.fullmatch(re.escape(path).replace(r"\*", "[^.]+"), each) for each in LIMITS)
