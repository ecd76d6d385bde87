"""Tags of AWS resources: what every service used here takes."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator

LONGEST_KEY = 128
LONGEST_VALUE = 256
MOST_TAGS = 45
"""AWS takes 50 of a resource (tagging user guide); subnets carry three of ours, and EKS adds some to nodes."""

_ALLOWED = re.compile(r"[\w\s.:/=+\-@]*")
"""What every service takes: letters, digits, spaces and these; EC2 alone takes more."""


def check_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    """Return `tags` if AWS takes them, else raise `ValueError`."""
    if len(tags) > MOST_TAGS:
        raise ValueError(
            f"there are {len(tags)}, and with those that the program and EKS add AWS would refuse them. "
            f"Keep at most {MOST_TAGS}."
        )
    for key, value in tags.items():
        if key.lower().startswith("aws:"):
            raise ValueError(f"{key} begins with aws:, which AWS keeps for itself and refuses. Rename it.")
        if not 0 < len(key) <= LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise ValueError(
                f"{key[:LONGEST_KEY]!r} has a key of {len(key)} characters and a value of {len(value)}; AWS takes 1 to "
                f"{LONGEST_KEY} and at most {LONGEST_VALUE}, and refuses the rest half-way through. Shorten it."
            )
        if not (_ALLOWED.fullmatch(key) and _ALLOWED.fullmatch(value)):
            raise ValueError(
                f"{key}: {value} has a character that IAM and EKS refuse, half-way through. "
                "Use letters, digits, spaces and . : / = + - @ _ only."
            )
    return tags


Tags = Annotated[dict[str, str], AfterValidator(check_tags)]
"""Tags that AWS takes."""
