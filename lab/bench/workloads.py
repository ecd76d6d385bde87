"""What is asked in the benchmark, and the Corefile of the CoreDNS that knows the answers."""

from collections.abc import Callable
from dataclasses import dataclass

from components.cache.cache_memory import ADDRESSES_IN_A_WIDE_ANSWER
from lab.node import CORE_DNS, VPC_RESOLVER

CLUSTER_TTL = 5
"""Seconds CoreDNS lets a cluster's name, or its absence, be kept: what its kubernetes plugin says unless told
otherwise, and EKS' add-on does not tell it otherwise."""

EXTERNAL_TTL = 60
"""Seconds an external name, or its absence, may be kept."""

RECORDS_OF_A_WIDE_ANSWER = ADDRESSES_IN_A_WIDE_ANSWER
"""Addresses in the answer for a `wide-` name: what the memory limit is made for."""

SEARCH_PATH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local", "ec2.internal")
"""The search domains of a pod on EKS; with ndots:5 an external name is tried in all of them first."""

METRICS = f"{CORE_DNS}:9153"
"""Where CoreDNS says how many questions it got."""


def _answers(names: str, ttl: int, addresses: int) -> str:
    records = "\n".join(
        f'        answer "{{{{ .Name }}}} {ttl} IN A 192.0.2.{number}"' for number in range(1, addresses + 1)
    )
    return f"    template IN A {{\n        match {names}\n{records}\n        fallthrough\n    }}\n"


def _denials(zone: str, ttl: int) -> str:
    authority = f"{zone}. {ttl} IN SOA ns.invalid. hostmaster.invalid. 1 7200 1800 86400 {ttl}"
    return f'    template ANY ANY {zone or "."} {{\n        rcode NXDOMAIN\n        authority "{authority}"\n    }}\n'


SERVER = f"""\
.:53 {{
    bind {CORE_DNS} {VPC_RESOLVER}
    prometheus {METRICS}
{_answers("^(service-|load[.])", CLUSTER_TTL, 1)}\
{_answers("^wide-", CLUSTER_TTL, RECORDS_OF_A_WIDE_ANSWER)}\
{_answers("^www-[^.]+[.]example[.]com[.]$", EXTERNAL_TTL, 1)}\
{_denials("cluster.local", CLUSTER_TTL)}\
{_denials("", EXTERNAL_TTL)}\
}}
"""
"""CoreDNS of the benchmark: knows names that begin as the workloads' do, and denies all others."""


def services(tag: str, count: int) -> list[str]:
    """Return names of Services that exist; names of another tag are other names."""
    return [f"service-{tag}-{number}.default.svc.cluster.local" for number in range(count)]


def absent(tag: str, count: int) -> list[str]:
    """Return names of Services that do not exist."""
    return [f"absent-{tag}-{number}.default.svc.cluster.local" for number in range(count)]


def external(tag: str, count: int) -> list[str]:
    """Return names outside the cluster that exist."""
    return [f"www-{tag}-{number}.example.com" for number in range(count)]


def in_zone(zone: str, kind: str, tag: str, count: int) -> list[str]:
    """Return names of any zone: kind `service` has one address, `wide` many, `absent` none."""
    return [f"{kind}-{tag}-{number}.{zone}" for number in range(count)]


def search_path(tag: str, count: int) -> list[str]:
    """Return what a pod's resolver library asks on the way to `count` external names: five questions each."""
    return [asked for name in external(tag, count) for asked in (*(f"{name}.{domain}" for domain in SEARCH_PATH), name)]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A kind of questions."""

    name: str
    names: Callable[[str, int], list[str]]
    """Makes the names from a tag and a count."""

    count: int
    """How many names (for the search path: how many external names) a second of it uses."""

    repeated: bool
    """Whether a name is asked again and again, after it was asked once; else every question is new."""


WORKLOADS = (
    Workload(name="hit", names=services, count=100, repeated=True),
    Workload(name="miss", names=services, count=100_000, repeated=False),
    Workload(name="NXDOMAIN", names=absent, count=100, repeated=True),
    Workload(name="search path", names=search_path, count=20, repeated=True),
)
