"""Between the engine's property values and plain Python ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi.provider.experimental.property_value import Computed, PropertyValue
from pulumi.runtime import rpc


class Unknown:
    """A value that a preview cannot know yet."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = Unknown()


def plain(value: PropertyValue | Mapping[str, PropertyValue]) -> Any:  # noqa: ANN401  # any value there is
    """Return the plain Python value: dicts, lists, text, numbers, None and `UNKNOWN`."""
    inner = value.value if isinstance(value, PropertyValue) else value
    if isinstance(inner, Computed):
        return UNKNOWN
    if isinstance(inner, Mapping):
        return {key: plain(each) for key, each in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [plain(each) for each in inner]
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    return inner


def property_value(value: Any) -> PropertyValue:  # noqa: ANN401  # any value there is
    """Return the engine's form of a plain value."""
    if value is UNKNOWN:
        return PropertyValue(rpc.UNKNOWN)  # the SDK has `Computed` for this, and cannot send it
    if isinstance(value, Mapping):
        return PropertyValue({key: property_value(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return PropertyValue([property_value(each) for each in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    return PropertyValue(value)


def property_values(values: Mapping[str, Any]) -> dict[str, PropertyValue]:
    """Return the engine's form of a resource's properties."""
    return {key: property_value(value) for key, value in values.items()}


def has_unknown(value: Any) -> bool:  # noqa: ANN401  # any value there is
    """Say whether `UNKNOWN` is anywhere in a plain value."""
    if isinstance(value, Mapping):
        return any(has_unknown(each) for each in value.values())
    if isinstance(value, list | tuple):
        return any(has_unknown(each) for each in value)
    return value is UNKNOWN
