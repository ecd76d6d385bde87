"""Rules about EKS stacks, in the order in which the documentation lists them."""

from eks_dns_policies import add_ons, control_plane, iam, node_local_dns, nodes, security_groups_for_pods, workloads
from eks_dns_policies.rule import Rule

RULES: tuple[Rule, ...] = (
    *security_groups_for_pods.RULES,
    *node_local_dns.RULES,
    *add_ons.RULES,
    *workloads.RULES,
    *control_plane.RULES,
    *nodes.RULES,
    *iam.RULES,
)

__all__ = ["RULES", "Rule"]
