"""The cluster's DNS address, and which address the node's cache may take beside it."""

import ipaddress
from collections.abc import Iterator, Mapping

CLUSTER_DNS_OFFSET = 10
"""EKS gives the Service kube-dns the tenth address of the service CIDR."""

SMALLEST_SERVICE_PREFIX = 24
LARGEST_SERVICE_PREFIX = 12
"""EKS accepts service CIDRs from /24 to /12 (CreateCluster, kubernetesNetworkConfig.serviceIpv4Cidr)."""

LINK_LOCAL = ipaddress.IPv4Network("169.254.0.0/16")

AWS_LINK_LOCAL: dict[str, str] = {
    "169.254.0.0/24": "reserved by RFC 3927",
    "169.254.1.1/32": "the gateway the VPC CNI gives every pod",
    "169.254.169.0/24": "the instance's metadata, DNS and time (169.254.169.254, .253 and .123)",
    "169.254.170.0/24": "the credentials of ECS and of EKS Pod Identity (169.254.170.2 and .23)",
    "169.254.171.0/24": "VPC Lattice, whose managed prefix list it is in",
    "169.254.172.0/22": "blocked by the VPC CNI on nodes with IPv6",
    "169.254.255.0/24": "reserved by RFC 3927",
}
"""Link-local ranges that are taken on an EKS node, and by what."""


def cluster_dns_address(service_cidr: str | ipaddress.IPv4Network) -> str:
    """Return the ClusterIP that EKS gives kube-dns in this service CIDR.

    What a preview can show before the cluster exists, and the cross-check afterwards; the address in use is
    always read from the cluster. Raises `ValueError` for a CIDR that EKS does not accept.
    """
    network = check_service_cidr(ipaddress.IPv4Network(service_cidr))
    return str(network[CLUSTER_DNS_OFFSET])


def check_service_cidr(network: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
    """Return `network` if EKS accepts it as a service CIDR, else raise `ValueError`."""
    if not LARGEST_SERVICE_PREFIX <= network.prefixlen <= SMALLEST_SERVICE_PREFIX:
        raise ValueError(
            f"{network} has a /{network.prefixlen} prefix; EKS takes service CIDRs from /{SMALLEST_SERVICE_PREFIX} "
            f"(the smallest) to /{LARGEST_SERVICE_PREFIX}. Choose one in that range, e.g. 172.20.0.0/16."
        )
    private = [ipaddress.IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    if not any(network.subnet_of(each) for each in private):
        raise ValueError(
            f"{network} is not private; Service addresses would hide the public hosts that own them. "
            "Choose a CIDR within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."
        )
    return network


def check_local_address(address: str) -> str:
    """Return `address` if the node's cache may listen on it, else raise `ValueError`."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        raise ValueError(
            f"{address!r} is not an IPv4 address; the cache listens on one beside the ClusterIP. "
            "Use the default, 169.254.20.10."
        ) from None
    if parsed not in LINK_LOCAL:
        raise ValueError(
            f"{address} is not link-local; on every node it would hide the host or Service that owns it. "
            "Use one in 169.254.0.0/16, by default 169.254.20.10."
        )
    for cidr, owner in AWS_LINK_LOCAL.items():
        if parsed in ipaddress.IPv4Network(cidr):
            raise ValueError(
                f"{address} is in {cidr}, which is {owner}; the node would lose it. Use the default, 169.254.20.10."
            )
    return str(parsed)


def clashes(address: str, networks: Mapping[str, str]) -> Iterator[str]:
    """Yield why the node's cache cannot take a link-local address: each network, by what it is, that owns it."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        return  # no address at all: `check_local_address` says so
    for name, cidr in networks.items():
        network = ipaddress.ip_network(cidr, strict=False)
        if parsed in LINK_LOCAL and parsed in network:
            yield (
                f"{address} is in {name} ({network}), so every node would lose the host, pod or Service that owns it. "
                f"Choose a link-local address outside {network}."
            )
