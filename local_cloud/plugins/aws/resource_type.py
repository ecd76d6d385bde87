"""What the stand-in for pulumi-aws knows of one resource type."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

Properties = dict[str, Any]
Clients = Callable[[str], Any]
"""Returns the boto3 client of a service."""


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """A resource type: which properties it takes and how AWS is asked for it."""

    inputs: frozenset[str]
    """Properties a program may set; any other is refused rather than ignored."""

    create: Callable[[Clients, Properties, float], str]
    """Create it within so many seconds; returns its id."""

    read: Callable[[Clients, str, Properties], Properties | None]
    """Return its outputs by id and last known properties; None when it is gone."""

    delete: Callable[[Clients, str, Properties, float], None]
    """Delete it and wait until it is gone."""

    updates: dict[str, Callable[[Clients, str, Properties, Properties], None]]
    """For each property AWS changes in place, what does so (id, old, new); any other change is a replacement."""

    required: frozenset[str] = frozenset()
    """Inputs without which AWS cannot make it."""

    autoname: str = ""
    """The property that gets a name of its own when the program gives none."""

    delete_first: bool = False
    """Whether a replacement has to delete the old one first, as two cannot exist together."""

    timeout: float = 1200.0
    """Seconds that creation and deletion may take when the program does not say."""


def inputs(text: str) -> frozenset[str]:
    """Return property names written in one line."""
    return frozenset(text.split())


def pascal(value: Any) -> Any:  # noqa: ANN401  # nested properties of any form
    """Return nested properties with the capital first letters of the EC2 API."""
    if isinstance(value, dict):
        return {key[0].upper() + key[1:]: pascal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [pascal(each) for each in value]
    return value


def pairs(tags: Properties | None) -> list[dict[str, str]]:
    """Return tags as most of AWS takes them."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def from_pairs(tags: list[dict[str, str]] | None) -> dict[str, str]:
    """Return tags as Pulumi shows them."""
    return {each["Key"]: each["Value"] for each in tags or []}


def is_missing(error: ClientError) -> bool:
    """Say whether AWS' answer is that there is no such thing."""
    code = error.response["Error"]["Code"]
    return bool(re.search(r"NotFound|NoSuchEntity|Invalid\w*ID|InvalidAllocationID|NotFoundException", code))


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask again until `done` says so; raises `TimeoutError` naming what did not happen in time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.1)
