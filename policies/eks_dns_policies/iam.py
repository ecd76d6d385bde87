"""Rules about IAM."""

import json
import re
from collections.abc import Iterator
from typing import Any

from eks_dns_policies.rule import Configuration, Resource, Rule, known

_KINDS = (
    "policy:Policy",
    "rolePolicy:RolePolicy",
    "userPolicy:UserPolicy",
    "groupPolicy:GroupPolicy",
    "role:Role",
    "policyAttachment:PolicyAttachment",
    "rolePolicyAttachment:RolePolicyAttachment",
    "rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive",
    "userPolicyAttachment:UserPolicyAttachment",
    "groupPolicyAttachment:GroupPolicyAttachment",
)
TYPES = frozenset(f"aws:iam/{token}" for token in _KINDS)
_READS = re.compile(r"(BatchGet|Describe|Get|List|Lookup|Search|View)\w*\*?", re.IGNORECASE)
"""Actions that may end in a wildcard: they change nothing."""

_WILD = re.compile(r"[*?]")


def _listed(value: Any) -> list[str]:  # noqa: ANN401  # a policy document has one or many
    return [value] if isinstance(value, str) else list(value or ())


def _everywhere(resource: str) -> bool:
    """Say whether a resource of a statement is every one of a service: `*`, `arn:aws:s3:::*`, `arn:aws:iam::*:*`."""
    parts = resource.split(":", maxsplit=5)
    return not parts[-1].strip("*?/:") and len(parts) in {1, 6}


def _statements(document: Any) -> list[Any]:  # noqa: ANN401  # JSON, as text or not
    read = json.loads(document or "{}") if isinstance(document, str) else document or {}
    statements = read.get("Statement") or []
    return [statements] if isinstance(statements, dict) else list(statements)


def _broad(statement: Any) -> str:  # noqa: ANN401  # JSON
    """Return what a statement allows that it does not name; empty for nothing."""
    if statement.get("Effect") != "Allow":
        return ""
    if "NotAction" in statement:
        return "everything but some actions"
    actions = _listed(statement.get("Action"))
    everywhere = "NotResource" in statement or any(map(_everywhere, _listed(statement.get("Resource"))))
    wild = [each for each in actions if _WILD.search(each) and not _READS.fullmatch(each.partition(":")[2])]
    return ", ".join(each for each in wild if everywhere or _WILD.search(each.partition(":")[0]))


def _documents(resource: Resource) -> Iterator[Any]:
    yield known(lambda: resource.properties.get("policy"))
    for each in known(lambda: list(resource.properties.get("inlinePolicies") or ()), []):
        yield known(lambda each=each: each.get("policy"))


def _attached(resource: Resource) -> Iterator[str]:
    yield known(lambda: resource.properties.get("policyArn")) or ""
    for key in ("managedPolicyArns", "policyArns"):
        for each in known(lambda key=key: list(resource.properties.get(key) or ()), []):
            yield known(lambda each=each: str(each), "")


def _judge_wildcards(resource: Resource, configuration: Configuration) -> Iterator[str]:
    for document in _documents(resource):
        for statement in _statements(document):
            if what := _broad(statement):
                where = (
                    "all resources but some"
                    if "NotResource" in statement
                    else "; ".join(_listed(statement.get("Resource")))
                )
                yield f"The IAM policy allows {what} on {where}."
    for arn in _attached(resource):
        name = arn.rpartition("/")[2]
        if ":iam::aws:policy/" in arn and name in configuration["refused"]:
            yield f"The policy {name} is attached."


RULES = (
    Rule(
        name="iam-without-wildcards",
        level="mandatory",
        demand="IAM policies name what they allow; wildcards are for actions that only read.",
        reason="Whoever gets at such a role owns the account, or a whole service of it.",
        remedy="Name the actions and the resources that are needed.",
        source="https://docs.aws.amazon.com/IAM/latest/UserGuide/best-practices.html",
        types=TYPES,
        judge=_judge_wildcards,
        configuration={
            "refused": {
                "type": "array",
                "items": {"type": "string"},
                "default": ["AdministratorAccess", "PowerUserAccess", "IAMFullAccess"],
            }
        },
    ),
)
