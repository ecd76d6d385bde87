"""Label selectors of Kubernetes: what one means, and which labels it matches."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NotRequired

from pydantic import with_config
from typing_extensions import TypedDict

from components.setting import CLOSED


class LabelOperator(StrEnum):
    """How a requirement compares a label."""

    IN = "In"
    """The label is there and has one of the values."""

    NOT_IN = "NotIn"
    """The label has none of the values, or is not there."""

    EXISTS = "Exists"
    """The label is there."""

    DOES_NOT_EXIST = "DoesNotExist"
    """The label is not there."""


@with_config(CLOSED)
class LabelRequirementArgs(TypedDict):
    """One requirement of a selector's `matchExpressions`."""

    key: str
    """The label."""

    operator: LabelOperator
    """How it is compared."""

    values: NotRequired[list[str]]
    """With what: at least one for In and NotIn, none for the others."""


@with_config(CLOSED)
class LabelSelectorArgs(TypedDict):
    """A label selector: an object matches when it meets everything that is asked; asking nothing matches all."""

    match_labels: NotRequired[dict[str, str]]
    """Labels with the value each must have."""

    match_expressions: NotRequired[list[LabelRequirementArgs]]
    """Requirements beyond equality."""


ANY_VALUE = None
"""The value of a label that is there, whatever it says: nobody knows it beforehand."""


def requirements(selector: LabelSelectorArgs) -> list[LabelRequirementArgs]:
    """Return everything a selector asks, equality as the requirement it stands for."""
    equal: list[LabelRequirementArgs] = [
        {"key": key, "operator": LabelOperator.IN, "values": [value]}
        for key, value in selector.get("match_labels", {}).items()
    ]
    return [*equal, *selector.get("match_expressions", [])]


def can_match(selector: LabelSelectorArgs, labels: Mapping[str, str | None]) -> bool:
    """Say whether an object with these labels can match; a label of `ANY_VALUE` may have the value that does."""
    return all(_can_meet(each, labels) for each in requirements(selector))


def _can_meet(requirement: LabelRequirementArgs, labels: Mapping[str, str | None]) -> bool:
    key, values = requirement["key"], requirement.get("values", [])
    there, value = key in labels, labels.get(key)
    match requirement["operator"]:
        case LabelOperator.IN:
            return there and (value is ANY_VALUE or value in values)
        case LabelOperator.NOT_IN:
            return not there or value is ANY_VALUE or value not in values
        case LabelOperator.EXISTS:
            return there
        case LabelOperator.DOES_NOT_EXIST:
            return not there


def selector_problems(key: str, selector: LabelSelectorArgs) -> list[str]:
    """Return what Kubernetes would not understand in the selector that `key` holds.

    The API server stores any SecurityGroupPolicy; its selector is only read when a pod starts, and a wrong one
    leaves the pod without the groups.
    """
    problems: list[str] = []
    for position, each in enumerate(selector.get("match_expressions", [])):
        needs = each["operator"] in {LabelOperator.IN, LabelOperator.NOT_IN}
        if needs != bool(each.get("values")):
            want = "at least one value" if needs else "no values"
            problems.append(
                f"{key}.matchExpressions[{position}] ({each['key']} {each['operator'].value}) needs {want}: "
                "the selector would select nothing, and pods would start without their security groups. "
                f"{'Give the values' if needs else 'Remove them'}."
            )
    return problems
