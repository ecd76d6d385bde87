"""As whom AWS is asked for a cluster's token: the identity that a stack's `aws:` configuration names.

AWS resources are made by the provider plugin, which reads that configuration. What is inside the cluster is reached
with a token of the `aws` command, which does not, so it has to be told.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

_KEY = (
    "a key in a stack file would have to be written into the kubeconfig. Put it into a profile, or into the "
    "environment where pulumi runs ({variable}), and remove it here."
)
_ELSEWHERE = (
    "the aws command takes {what} from its environment only. Set {variable} where pulumi runs, and remove it here."
)

_REFUSED = {
    "accessKey": _KEY.format(variable="AWS_ACCESS_KEY_ID"),
    "secretKey": _KEY.format(variable="AWS_SECRET_ACCESS_KEY"),
    "token": _KEY.format(variable="AWS_SESSION_TOKEN"),
    "assumeRoleWithWebIdentity": _ELSEWHERE.format(
        what="a web identity", variable="AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"
    ),
    "sharedConfigFiles": _ELSEWHERE.format(what="another file", variable="AWS_CONFIG_FILE"),
    "sharedCredentialsFiles": _ELSEWHERE.format(what="another file", variable="AWS_SHARED_CREDENTIALS_FILE"),
}
"""Keys of the provider's configuration by which it gets an identity that no kubeconfig can name, and what to do."""

KEYS = ("profile", "assumeRoles", "assumeRole", *_REFUSED)
"""Keys of the provider's configuration that decide who it is (pulumi-aws 7: `aws:profile` and so on)."""

_WHY = (
    "it decides who makes the AWS resources, and the token for the cluster would come from somebody else, so that "
    "everything inside the cluster would be Unauthorized after the cluster was made"
)


@dataclass(frozen=True)
class AwsIdentity:
    """A profile of the AWS CLI and a role that is assumed from there; without either whoever the environment says."""

    profile: str = ""
    """Name of the profile; empty: that of the environment."""

    role_arn: str = ""
    """Role that is assumed; empty: none."""

    @classmethod
    def configured(cls, configuration: Mapping[str, Any]) -> Self:
        """Return the identity that the keys of the `aws` namespace name.

        Values are as the engine has them: objects and lists may be JSON. Raises `ValueError`, a line for each key, for
        what the `aws` command cannot be told.
        """
        given = {key: _value(configuration[key]) for key in KEYS if configuration.get(key)}
        mistakes = [f"aws:{key}: {_WHY}; {said}" for key, said in _REFUSED.items() if key in given]
        roles: list[Mapping[str, Any]] = [*_list(given.get("assumeRoles")), *_list(given.get("assumeRole"))]
        key = "assumeRoles" if "assumeRoles" in given else "assumeRole"
        if len(roles) > 1:
            mistakes.append(
                f"aws:{key}: {_WHY}; the aws command assumes one role, and there are {len(roles)}. Put the first of "
                "them into a profile (role_arn and source_profile in the AWS configuration), name that as aws:profile, "
                "and keep the last one here."
            )
        elif roles and roles[0].get("externalId"):
            mistakes.append(
                f"aws:{key}: {_WHY}; the aws command cannot be given an external id. Put role and external_id into a "
                "profile of the AWS configuration, name that as aws:profile, and remove the role here."
            )
        if mistakes:
            raise ValueError("\n".join(mistakes))
        return cls(str(given.get("profile", "")), str(roles[0].get("roleArn", "")) if roles else "")

    @property
    def options(self) -> list[str]:
        """Options of any `aws` command."""
        return ["--profile", self.profile] if self.profile else []

    @property
    def token_options(self) -> list[str]:
        """Options of `aws eks get-token` alone."""
        return ["--role-arn", self.role_arn] if self.role_arn else []


def _value(given: Any) -> Any:  # noqa: ANN401  # whatever a stack file has
    if isinstance(given, str) and given.startswith(("{", "[")):
        return json.loads(given)
    return given


def _list(given: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401  # same
    return [] if not given else list(cast("list[Mapping[str, Any]]", given)) if isinstance(given, list) else [given]
