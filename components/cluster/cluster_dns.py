"""The cluster's DNS address, read from its Service kube-dns and checked."""

import pulumi
import pulumi_kubernetes as k8s

from components.cluster.dns_address import cluster_dns_address


def read_cluster_dns(
    name: str, *, cluster_name: str, service_cidr: str, opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """Return the ClusterIP of kube-dns; the service CIDR's tenth address is the cross-check.

    Before the cluster exists a preview shows the address that it will have. Another address ends the run.
    """
    expected = cluster_dns_address(service_cidr)
    service = k8s.core.v1.Service.get(name, "kube-system/kube-dns", opts=opts)

    def checked(address: str) -> str:
        if address != expected:
            raise pulumi.RunError(
                f"The Service kube-dns of {cluster_name} has the address {address}, not the {expected} that EKS gives "
                "it in this service CIDR. The cache would answer on an address that no pod asks. Somebody has made "
                "the Service anew: delete it and let the CoreDNS add-on recreate it with `spec.clusterIP` set to "
                f"{expected}, then run again."
            )
        return address

    read = service.spec.apply(lambda spec: str(spec.cluster_ip)).apply(checked)
    if not pulumi.runtime.is_dry_run():
        return read

    async def shown() -> str:
        return await read.future() or expected if await read.is_known() else expected

    return pulumi.Output.from_input(shown())
