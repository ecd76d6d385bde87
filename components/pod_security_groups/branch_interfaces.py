"""Whether the nodes of a cluster have room for the branch interfaces that pods with security groups need."""

from typing import NotRequired

from pydantic import with_config
from typing_extensions import TypedDict

from components.cluster.instance_types import branch_interface_limit
from components.setting import CLOSED


@with_config(CLOSED)
class BranchInterfaceDemandArgs(TypedDict):
    """How many pods with security groups the nodes have to hold, counting those of every other policy too.

    Give either `podsPerNode`, or `pods` together with `nodes`.
    """

    instance_types: list[str]
    """EC2 instance types of the nodes that the pods may land on. The smallest counts: any node may be of it."""

    pods_per_node: NotRequired[int]
    """Pods with security groups on one node at most (a DaemonSet has one)."""

    pods: NotRequired[int]
    """Pods with security groups on all nodes together at most: replicas, and those that a rollout adds."""

    nodes: NotRequired[int]
    """Nodes that are always there: the smallest size of the node groups."""

    limits: NotRequired[dict[str, int]]
    """Branch interfaces of instance types that this version has no figure for, by type. A node of the type shows it:
    `kubectl get node NAME -o jsonpath='{.status.allocatable.vpc\\.amazonaws\\.com/pod-eni}'`."""


def branch_interface_problems(demand: BranchInterfaceDemandArgs) -> list[str]:
    """Return why the nodes may not hold the pods: each with key, reason and remedy; none when they can."""
    per_node, pods, nodes = demand.get("pods_per_node"), demand.get("pods"), demand.get("nodes")
    if (per_node is None) == (pods is None) or (pods is None) != (nodes is None):
        return [
            (
                "branchInterfaces must say how many pods with security groups there will be, once: either podsPerNode, "
                "or pods together with nodes. Without it pods could stay Pending for want of a branch interface."
            )
        ]
    problems = [
        f"branchInterfaces.{key} is {figure}, which cannot hold or be a pod. Give at least 1."
        for key, figure in (("podsPerNode", per_node), ("pods", pods), ("nodes", nodes))
        if figure is not None and figure < 1
    ]
    if not demand["instance_types"]:
        problems.append(
            "branchInterfaces.instanceTypes is empty, so nobody can tell whether the pods find room. "
            "List the instance types of the node groups."
        )
    limits: dict[str, int] = {}
    for instance_type in demand["instance_types"]:
        try:
            known = branch_interface_limit(instance_type)
        except ValueError as error:
            problems.append(f"branchInterfaces.instanceTypes: {error}")
            continue
        limit = demand.get("limits", {}).get(instance_type, known)
        if known is not None and limit is not None and limit > known:
            problems.append(
                f"branchInterfaces.limits gives {instance_type} {limit} branch interfaces, but it carries {known}: "
                "pods beyond that would stay Pending. Remove it there; the figure is known."
            )
        if limit is None:
            problems.append(
                f"branchInterfaces.instanceTypes has {instance_type}, whose number of branch interfaces is unknown "
                "here, so nobody can tell whether the pods find room. Look it up (a node shows it as allocatable "
                "vpc.amazonaws.com/pod-eni; pkg/aws/vpc/limits.go of aws/amazon-vpc-resource-controller-k8s lists all) "
                f"and say so: branchInterfaces.limits: {{{instance_type}: <number>}}."
            )
        elif limit < 1:
            problems.append(
                f"branchInterfaces.instanceTypes has {instance_type}, which carries no branch interface at all: pods "
                "with security groups would stay Pending on such nodes for ever. Use a Nitro type such as m6i.large."
            )
        else:
            limits[instance_type] = limit
    if problems:
        return problems
    smallest = min(limits, key=lambda each: limits[each])
    asked = per_node if per_node is not None else pods
    room = limits[smallest] * (nodes or 1)
    if asked is None or asked <= room:
        return []
    where = f"{nodes} nodes of {smallest}" if nodes else f"a node of {smallest}"
    return [
        (
            f"branchInterfaces asks for {asked} pods with security groups, and {where} can hold {room} "
            f"({limits[smallest]} branch interfaces a node): {asked - room} would stay Pending. "
            "Use larger instance types (the flex ones have the fewest interfaces) or more nodes, or ask for fewer pods."
        )
    ]
