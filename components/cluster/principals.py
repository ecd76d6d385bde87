"""IAM principals that a cluster can admit, and what to call what is made for one."""

import hashlib
import re

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:(?:role|user)/(?:[^\s*/]+/)*(?P<name>[\w+=,.@-]+)")


def check_principal(arn: str) -> str:
    """Return `arn` if EKS takes an access entry for it, else raise `ValueError`."""
    if arn.endswith(":root"):
        raise ValueError(
            f"{arn} is an account, and EKS admits roles and users only; it would refuse this one after the cluster "
            "was made. Name the roles or users, like arn:aws:iam::111122223333:role/platform."
        )
    if _PRINCIPAL.fullmatch(arn) is None:
        raise ValueError(
            f"{arn!r} is not the ARN of an IAM role or user, which EKS would say only after the cluster was made. "
            "Write it like arn:aws:iam::111122223333:role/platform (of a session, the ARN of its role)."
        )
    return arn


def short_name(arn: str) -> str:
    """Return a name for a principal that stays the same wherever in a list it stands.

    Roles of two accounts or paths can have one name, hence the digest.
    """
    return f"{arn.rpartition('/')[2]}-{hashlib.sha256(arn.encode()).hexdigest()[:6]}"
