"""The name of an EKS cluster."""

import re
from typing import Annotated

from pydantic import AfterValidator


def check_cluster_name(name: str) -> str:
    """Return `name` if EKS takes it, else raise `ValueError`."""
    if re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}", name) is None:
        raise ValueError(
            f"{name!r} is no name that EKS takes. Use at most 100 letters, digits, - and _, with a letter or digit "
            "first, like shop-dev."
        )
    return name


ClusterName = Annotated[str, AfterValidator(check_cluster_name)]
"""A name that EKS takes."""
