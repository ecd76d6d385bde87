"""The security groups that probes are put behind, and whether a probe really is behind them."""

import time
from collections.abc import Sequence

from components.running_cluster.strict_pods import BRANCH_INTERFACE, part
from verify import probe
from verify.cluster import POLICIES, Cluster
from verify.installation import Manifest

Groups = tuple[str, ...]
"""Security groups that pods have together."""

MOST_SETS = 8
"""Sets of groups that are tried at most: each takes a branch interface on some node for some seconds."""

_SEEN_SECONDS = 2
"""How long AWS' controller may take to see a policy; a pod made before that gets an ordinary network."""


def sets_of_groups(cluster: Cluster, chosen: Groups) -> list[Groups]:
    """Return the chosen groups, or each set of groups that a SecurityGroupPolicy gives to pods; none without any."""
    if chosen:
        return [chosen]
    policies = sorted(
        cluster.items(f"{POLICIES}/securitygrouppolicies"),
        key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"]),
    )
    found = (tuple(sorted(part(each, "spec", "securityGroups").get("groupIds") or ())) for each in policies)
    return list(dict.fromkeys(each for each in found if each))


def make_policies(cluster: Cluster, namespace: str, run: str, sets: Sequence[Groups]) -> None:
    """Make a policy for each set of groups, and wait until pods can be made under them."""
    for number, groups in enumerate(sets):
        cluster.create(
            f"{POLICIES}/namespaces/{namespace}/securitygrouppolicies",
            probe.security_group_policy(namespace, run, groups, number),
        )
    if sets:
        time.sleep(_SEEN_SECONDS)


def is_behind_one(pod: Manifest) -> bool:
    """Say whether AWS' controller gave a pod a branch interface, and with it its security groups."""
    return BRANCH_INTERFACE in part(pod, "metadata", "annotations")


NOT_BEHIND_ONE = (
    f"the pod has no annotation {BRANCH_INTERFACE}, so it is behind no security group and says nothing about them: "
    "AWS' controller did not see it (pods pass when its webhook fails), or has no interface for it"
)
