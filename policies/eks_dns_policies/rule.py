"""A rule: what it looks at, when it objects, why, on whose word, and what to do; and the policy made of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

Level = Literal["mandatory", "advisory"]
Properties = Mapping[str, Any]
Configuration = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource as a rule sees it."""

    type: str
    """Type token, e.g. `aws:eks/addon:Addon`."""

    properties: Properties
    """Inputs; in stack rules outputs. Reading one that is not known while planning raises."""

    urn: str = ""
    """URN."""

    protected: bool = False
    """Whether Pulumi refuses to delete it."""

    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """URNs of the resources that each of its properties comes from; only stack rules know them."""

    provider: Properties = field(default_factory=dict)
    """Inputs of its provider; only stack rules know them."""

    @property
    def stack(self) -> str:
        """Name of its stack."""
        return self.urn.split("::")[0].removeprefix("urn:pulumi:")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule; exactly one of `judge` and `judge_stack` is given."""

    name: str
    """Its id, by which a pack's configuration names it."""

    level: Level
    """`mandatory` ends a preview or update, `advisory` prints. A pack's configuration may change it."""

    demand: str
    """What has to hold, in one sentence."""

    reason: str
    """What happens otherwise."""

    remedy: str
    """What to do."""

    source: str
    """Where that is documented."""

    types: frozenset[str] = frozenset()
    """Type tokens that `judge` is called for."""

    judge: Callable[[Resource, Configuration], Iterator[str]] | None = None
    """Yields what is wrong with a resource."""

    judge_stack: Callable[[Sequence[Resource], Configuration], Iterator[tuple[str, str]]] | None = None
    """Yields URNs and what is wrong with them, from all resources of the stack."""

    configuration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON schema of each of its settings, with the default."""

    def configured(self, given: Configuration) -> Configuration:
        """Return its settings: the defaults with the pack's configuration on top."""
        return {key: schema["default"] for key, schema in self.configuration.items()} | dict(given)

    def message(self, objection: str) -> str:
        """Return what a reader is told."""
        return f"{objection} {self.reason} {self.remedy} (rule {self.name}; {self.source})"


def known(read: Callable[[], Any], otherwise: Any = None) -> Any:  # noqa: ANN401  # any property
    """Return what `read` returns, or `otherwise` if it touches a value that is not there or not known yet."""
    try:
        return read()
    except (UnknownValueError, KeyError, TypeError):
        return otherwise


def policy(rule: Rule) -> Policy:
    """Return the policy that the engine asks."""
    shared: dict[str, Any] = {
        "name": rule.name,
        "description": rule.demand,
        "enforcement_level": EnforcementLevel(rule.level),
        "config_schema": PolicyConfigSchema(properties={key: dict(each) for key, each in rule.configuration.items()})
        if rule.configuration
        else None,
        "remediation_steps": rule.remedy,
        "url": rule.source,
    }
    judge, judge_stack = rule.judge, rule.judge_stack
    if judge is not None:

        def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
            if args.resource_type in rule.types:
                seen = Resource(
                    type=args.resource_type, properties=args.props, urn=args.urn, protected=bool(args.opts.protect)
                )
                for objection in judge(seen, rule.configured(args.get_config())):
                    report(rule.message(objection), None)

        return ResourceValidationPolicy(validate=validate, **shared)
    if judge_stack is None:
        raise TypeError(f"The rule {rule.name} judges nothing: give it `judge` or `judge_stack`.")

    def validate_stack(args: StackValidationArgs, report: ReportViolation) -> None:
        seen = [
            Resource(
                type=each.resource_type,
                properties=each.props,
                urn=each.urn,
                protected=bool(each.opts.protect),
                sources={
                    key: frozenset(other.urn for other in others) for key, others in each.property_dependencies.items()
                },
                provider=each.provider.props if each.provider else {},
            )
            for each in args.resources
        ]
        for urn, objection in judge_stack(seen, rule.configured(args.get_config())):
            report(rule.message(objection), urn)

    return StackValidationPolicy(validate=validate_stack, **shared)
