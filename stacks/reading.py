"""Reading a stack's settings, from its file or from the engine, with errors a newcomer understands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
from pydantic import ValidationError

from components.running_cluster.aws_identity import KEYS, AwsIdentity
from stacks.configuration import PROJECT, in_file, own
from stacks.mistakes import explained, refusal
from stacks.paths import nested
from stacks.rules import broken_rules
from stacks.settings import Settings


def parse(values: Mapping[str, Any], file: str, project: str = PROJECT) -> Settings:
    """Return the settings; `file` and `project` are where they were written, for the message of `SettingsError`."""
    try:
        given = nested({key: value for key, value in values.items() if not _left_out(key, value)})
    except ValueError as error:
        raise refusal([f"{project}:{error}"], file) from None
    settings, mistakes = judged(given)
    if mistakes:
        raise refusal([f"{project}:{each}" for each in mistakes], file)
    return settings


def judged(given: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Return the settings, and every mistake in them; with one they are not those that were meant."""
    mistakes: list[str] = []
    broken: set[str] = set()
    try:
        settings = _validated(given)
    except ValidationError as error:
        mistakes = [explained(each, Settings) for each in error.errors()]
        broken = {str(each["loc"][0]) for each in error.errors()}
        settings = _validated({key: value for key, value in given.items() if key not in broken})
    return settings, mistakes + broken_rules(settings, broken)


def _left_out(key: str, value: object) -> bool:
    """Say whether nothing was set: Pulumi.yaml declares every key as empty that a stack file leaves out."""
    known = {field.alias for field in Settings.model_fields.values()}
    return value in ("", {}, None) and key.partition(".")[0] in known


def _validated(given: Mapping[str, Any]) -> Settings:
    # Only the names that are documented: a second spelling would be one too many.
    return Settings.model_validate(given, by_alias=True, by_name=False)


def stack_file(stack: str) -> str:
    """Return the path of a stack's file, from the project's root."""
    return f"stacks/Pulumi.{stack}.yaml"


def load_stack_file(path: Path) -> Settings:
    """Return the settings of a stack file without the engine: what tooling checks before it starts one."""
    return parse(*in_file(path))


def current_identity() -> AwsIdentity:
    """Return as whom the stack's AWS resources are made; `SettingsError` says what no kubeconfig can be told."""
    configuration = pulumi.Config("aws")
    try:
        return AwsIdentity.configured({key: configuration.get(key) for key in KEYS})
    except ValueError as error:
        raise refusal(str(error).splitlines(), stack_file(pulumi.get_stack())) from None


def current_settings() -> Settings:
    """Return the settings of the stack that is being planned or deployed."""
    everything = pulumi.runtime.config.CONFIG.get() | pulumi.runtime.config.get_config_env()
    project, file = pulumi.get_project(), stack_file(pulumi.get_stack())
    return parse(own(everything, project, file), file, project)
