"""What has to be known while planning, because it is checked before anything is created."""

from collections.abc import Iterator
from typing import Any, cast

import pulumi


def not_known(key: str, value: object) -> Iterator[str]:
    """Yield a mistake for every output in the value of an argument.

    An SDK's types leave no room for one, but JavaScript has no types, and a secret arrives as an output as well.
    """
    if isinstance(value, pulumi.Output):
        yield (
            f"{key} is an output or a secret, which may be unknown while planning, but it decides what is checked "
            "before anything is created. Give it as a plain value, and depends_on for the order."
        )
    elif isinstance(value, dict):
        for name, each in cast("dict[str, Any]", value).items():
            yield from not_known(f"{key}.{name}", each)
    elif isinstance(value, list):
        for position, each in enumerate(cast("list[Any]", value)):
            yield from not_known(f"{key}.{position}", each)
