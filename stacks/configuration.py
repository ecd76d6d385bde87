"""The configuration of a stack, in its file or from the engine, and what of it is the project's."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from stacks.mistakes import SettingsError, guess, refusal

PROJECT = "eks-node-local-dns"
"""The project's name, which is the namespace of its settings. A project made from this one may have another."""

_OF_THE_ENGINE = ("config", "environment", "secretsprovider", "encryptedkey", "encryptionsalt")
"""Keys of a stack file (pulumi/pulumi sdk/go/common/workspace, `ProjectStack`)."""

_OF_OTHERS = frozenset({"aws", "aws-native", "eks", "kubernetes", "pulumi"})
"""Namespaces of the engine and of the providers used here, which no project is called."""

_NEAR = 0.6
"""Likeness of a namespace to the project's name (difflib's ratio, and its own default) that is no coincidence."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, as the engine does; YAML in Python would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002  # the base's
        seen: set[str] = set()
        for key, _value in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(path: Path, file: str) -> dict[str, Any]:
    """Return a YAML file that is a map; empty is none."""
    try:
        loaded: Any = yaml.load(path.read_text(), _Loader)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise refusal([f"it cannot be read ({error.strerror}). Make it, or name another stack."], file) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise refusal([f"it is not YAML: {said}. Correct it there, or the line before."], file) from None
    if loaded is not None and not isinstance(loaded, dict):
        raise refusal(['it has to be a map that begins with "config:". Indent the settings below that.'], file)
    return cast("dict[str, Any]", loaded or {})


def in_file(path: Path) -> tuple[dict[str, Any], str, str]:
    """Return the settings in a stack file, what to call the file, and the project's name.

    Raises `SettingsError` where the engine would not take the file, or would and ignore a part of it.
    """
    file = f"{path.parent.name}/{path.name}"
    loaded = _read(path, file)
    project = str(_read(path.parents[1] / "Pulumi.yaml", "Pulumi.yaml").get("name", PROJECT))
    mistakes = [
        f"{key}: there is no such key at the left margin of a stack file, and what is below it would not count. "
        f"{guess(str(key), _OF_THE_ENGINE)}Settings belong below config:, as {project}:<key>."
        for key in loaded
        if key not in _OF_THE_ENGINE
    ]
    config: Any = loaded.get("config") or {}
    if not isinstance(config, dict):
        mistakes.append(f"config: it has to be a map, with a line for each setting, like {project}:serviceCidr: ...")
    if mistakes:
        raise refusal(mistakes, file)
    # What has no namespace is the project's to the engine, too.
    given = cast("dict[Any, Any]", config).items()
    keys = {key: str(key) if ":" in str(key) else f"{project}:{key}" for key, _value in given}
    twice = [
        f"{name}: it is given with and without the project's name before it. Keep one."
        for name in sorted({each for each in keys.values() if list(keys.values()).count(each) > 1})
    ]
    if twice:
        raise refusal(twice, file)
    return own({keys[key]: _handed_over(value) for key, value in given}, project, file), file, project


def own(config: Mapping[str, Any], project: str, file: str) -> dict[str, Any]:
    """Return the project's settings, without its name before them; raises `SettingsError` for misspelt ones."""
    if project != PROJECT and any(key.startswith(f"{PROJECT}:") for key in config):
        raise SettingsError(
            f"{file} has settings that begin with {PROJECT}:, but the project is called {project} in Pulumi.yaml: none "
            "of them would count, and the stack would be made of defaults. Rename them in every stack file, "
            f"perl -pi -e 's/^  {PROJECT}:/  {project}:/' stacks/Pulumi.*.yaml"
        )
    namespaces = {key: key.partition(":")[0] for key in config}
    mistakes = [
        f"{key}: the project is called {project}, so this would not count, and a default would. "
        f"Did you mean {project}:{key.partition(':')[2]}?"
        for key, namespace in namespaces.items()
        if namespace not in {project, *_OF_OTHERS} and _resembles(namespace, project)
    ]
    if mistakes:
        raise refusal(mistakes, file)
    prefix = f"{project}:"
    return {key.removeprefix(prefix): _decoded(value) for key, value in config.items() if key.startswith(prefix)}


def _resembles(namespace: str, project: str) -> bool:
    first, second = (re.sub(r"[\W_]", "", each).lower() for each in (namespace, project))
    return difflib.SequenceMatcher(None, first, second).ratio() >= _NEAR


def _handed_over(value: Any) -> Any:  # noqa: ANN401  # a stack file may hold anything; the model decides
    """Return a value as the engine hands it over: scalars as text, so that 1.35 without quotes means the same."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _decoded(value: Any) -> Any:  # noqa: ANN401  # a stack file may hold anything; the model decides
    """Return what a stack file held: the engine hands objects over as JSON."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
