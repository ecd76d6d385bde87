"""Why recreating pods would not help now. Pure."""

from components.running_cluster.cni_state import CniState


def refusal(state: CniState) -> str | None:
    """Return why recreated pods would not have the rules of standard mode; None if they would."""
    if state.configured == "absent":
        return "There is no DaemonSet aws-node, so nobody can say which rules a new pod would get."
    if state.configured == "strict":
        return (
            "The DaemonSet aws-node is in strict mode: recreated pods would get strict rules again. Set "
            "vpcCni.podSecurityGroupEnforcingMode to standard and run `pulumi up`; if something else manages the "
            "vpc-cni add-on, set env.POD_SECURITY_GROUP_ENFORCING_MODE to standard in its configuration values."
        )
    if state.makes_strict_pods:
        return (
            "aws-node still runs in strict mode on "
            + ", ".join(state.nodes_by_mode["strict"])
            + ": pods recreated there would get strict rules again. See why its rollout does not go on "
            "(`kubectl -n kube-system rollout status daemonset/aws-node`)."
        )
    return None
