"""Where the cluster comes from: made here, another stack's, or one that exists."""

from typing import Self

from pydantic import field_validator, model_validator

from components.cluster.cluster_name import ClusterName
from components.setting import Setting

_PARTS_OF_A_STACK_NAME = 3


class SourceSettings(Setting):
    """The cluster that gets node-local DNS. Without either key this stack makes one."""

    stack: str | None = None
    """Another stack that has made or attached the cluster, in full (`organization/project/stack`; with a state
    backend of your own the organization is `organization`). Its outputs say all there is to know."""

    cluster_name: ClusterName | None = None
    """Name of an EKS cluster that exists, in the region of `aws:region`."""

    @field_validator("stack")
    @classmethod
    def _full_name(cls, stack: str | None) -> str | None:
        if stack is not None and len([part for part in stack.split("/") if part]) != _PARTS_OF_A_STACK_NAME:
            raise ValueError(
                f"{stack!r} is not the full name of a stack, so it could mean another one on another machine. "
                "Write organization/project/stack, as `pulumi stack ls --all --fully-qualify-stack-names` shows it."
            )
        return stack

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.stack is not None and self.cluster_name is not None:
            raise ValueError(
                f"both stack ({self.stack}) and clusterName ({self.cluster_name}) are set, and they could mean two "
                "clusters. Keep one: stack if a stack with these outputs looks after the cluster, else clusterName."
            )
        return self

    @property
    def made_here(self) -> bool:
        """Whether this stack makes the cluster."""
        return self.stack is None and self.cluster_name is None
