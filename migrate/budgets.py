"""What PodDisruptionBudgets say about taking pods away. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from components.pod_security_groups.label_selector import (
    LabelOperator,
    LabelRequirementArgs,
    LabelSelectorArgs,
    can_match,
)
from components.running_cluster.kubernetes_api import Manifest
from components.running_cluster.strict_pods import entries, part


def _selector(selector: Manifest) -> LabelSelectorArgs:
    expressions: list[LabelRequirementArgs] = [
        {
            "key": str(each["key"]),
            "operator": LabelOperator(str(each["operator"])),
            "values": list(each.get("values") or []),
        }
        for each in entries(selector, "matchExpressions")
    ]
    return {"match_labels": dict(part(selector, "matchLabels")), "match_expressions": expressions}


def matching(budgets: Iterable[Manifest], labels: Mapping[str, str]) -> list[Manifest]:
    """Return the budgets (of one namespace) that protect a pod with these labels.

    An empty selector protects every pod, an absent one none (policy/v1).
    """
    found: list[Manifest] = []
    for each in budgets:
        selector = each["spec"].get("selector")
        if selector is not None and can_match(_selector(selector), labels):
            found.append(each)
    return found


def allowed(budget: Manifest) -> int:
    """Return how many pods may go now; none while the budget's own controller has not caught up with it."""
    status = part(budget, "status")
    if int(status.get("observedGeneration", 0)) < int(budget["metadata"].get("generation", 0)):
        return 0
    return int(status.get("disruptionsAllowed", 0))


def hindrances(budgets: Iterable[Manifest]) -> Iterator[str]:
    """Yield what forbids to take a pod away that all these budgets protect."""
    for each in budgets:
        if allowed(each) < 1:
            metadata, status = each["metadata"], part(each, "status")
            yield (
                f"PodDisruptionBudget {metadata['namespace']}/{metadata['name']} allows no disruption "
                f"({status.get('currentHealthy', 0)} pods healthy, {status.get('desiredHealthy', '?')} wanted)"
            )
