"""Mistakes in a stack file, told so that a newcomer knows what to write instead."""

import difflib
import inspect
import json
from collections.abc import Collection, Iterable, Iterator
from typing import get_args

import pulumi
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from components.refusal import refused

_LIST = "has to be a list, like [a, b]"
_MAP = "has to be a map of settings ({keys})"
_WHOLE_NUMBER = "has to be a whole number"
_TRUTH = "has to be true or false"

_DEMANDS = {
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": "has to be a map, like {{name: value}}",
    "model_type": _MAP,
    "model_attributes_type": _MAP,
    "string_type": "has to be text (in quotes, if it looks like a number or true)",
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "literal_error": "has to be one of {expected}",
    "ip_v4_network": "has to be an IPv4 network that begins where its prefix does, like 10.0.0.0/16",
    "greater_than_equal": "has to be at least {ge}",
    "less_than_equal": "has to be at most {le}",
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
}
"""What a value has to be, by pydantic's name of the error: pydantic itself says it in the words of Python."""


class SettingsError(pulumi.RunError):
    """A stack file with mistakes; the message lists every one with its key, reason and remedy."""


def refusal(mistakes: Collection[str], file: str) -> SettingsError:
    """Return the error that tells every mistake in a file."""
    return SettingsError(refused(file, mistakes))


def guess(word: str, known: Iterable[str]) -> str:
    """Return a question for who misspelt a word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {near[0]}? " if near else ""


def explained(error: ErrorDetails, root: type[BaseModel]) -> str:
    """Return what pydantic found in the words of a stack file: key, what is wrong, why, what to write instead."""
    path = error["loc"]
    key = ".".join(str(part) for part in path)
    if error["type"] == "value_error":
        said = str(error["ctx"]["error"]) if "ctx" in error else error["msg"]
        return f"{key}: {said}" if key else said
    if error["type"] == "extra_forbidden":
        known = list(_fields(_model_at(path, root)))
        return (
            f"{key}: there is no such setting, and a misspelt one must not be ignored. "
            f"{guess(str(path[-1]), known)}Known here: {', '.join(known)}."
        )
    field = _field_at(path, root)
    meaning = f" It means: {' '.join(field.description.split())}" if field and field.description else ""
    if error["type"] == "missing":
        example = f", e.g. {path[-1]}: {_shown(field.examples[0])}" if field and field.examples else ""
        return f"{key}: it is missing, and nothing can stand in for it.{meaning} Add it{example}."
    return (
        f"{key}: it {_demand(error, root)}, but it is {_shown(error['input'])}, which the program cannot use."
        f"{meaning} Correct the value."
    )


def _demand(error: ErrorDetails, root: type[BaseModel]) -> str:
    """Return what a value has to be."""
    said = f"{error['msg'][0].lower()}{error['msg'][1:]}"
    demand = _DEMANDS.get(error["type"], "is refused ({said})")
    return demand.format(
        **error.get("ctx", {}), said=said, keys=", ".join(_fields(_model_at((*error["loc"], ""), root)))
    )


def _shown(value: object) -> str:
    return json.dumps(value, default=str)


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """Return the fields of a model as a stack file spells them."""
    return {field.alias or name: field for name, field in model.model_fields.items()} if model else {}


def _model_at(path: tuple[int | str, ...], root: type[BaseModel]) -> type[BaseModel] | None:
    """Return the model that holds the last key of `path`."""
    model: type[BaseModel] | None = root
    for key in path[:-1]:
        field = _fields(model).get(str(key))
        if field is not None:  # else a name inside a mapping, such as a node group's
            model = next(models_in(field.annotation), None)
    return model


def _field_at(path: tuple[int | str, ...], root: type[BaseModel]) -> FieldInfo | None:
    """Return the field that `path` leads to, or, for an entry of a list, the list's."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return _fields(_model_at(path, root)).get(str(path[-1])) if path else None


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models inside a field's annotation: of `dict[str, NodeGroupSettings]`, the latter."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)
