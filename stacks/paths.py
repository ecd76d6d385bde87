"""Settings written as paths: `cluster.name` for `name` in `cluster`, the only form that `pulumi new` can ask for."""

from collections.abc import Mapping
from typing import Any, cast


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with every path put where it points to.

    Raises `ValueError` for a setting that is given both ways, and for a path through something that holds no others.
    """
    found = {key: value for key, value in values.items() if "." not in key}
    for path in sorted(values.keys() - found.keys()):
        *outer, last = path.split(".")
        inside: dict[str, Any] = found
        for position, key in enumerate(outer):
            below = inside.get(key, {})
            if not isinstance(below, dict):
                raise ValueError(  # noqa: TRY004  # a mistake in a file, told with the others
                    f"{path}: {'.'.join(outer[: position + 1])} is a value of its own and holds no other settings. "
                    "Correct the path, or remove it."
                )
            inside[key] = {**cast("dict[str, Any]", below)}
            inside = inside[key]
        if last in inside:
            raise ValueError(
                f"{path}: it is given twice, as a key of its own and inside {'.'.join(outer)}, and only one of the two "
                "can be meant. Remove one of them."
            )
        inside[last] = values[path]
    return found
