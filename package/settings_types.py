"""The settings model as types of a Pulumi schema, so that other languages know every key while a program is written."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import BaseModel

Spec = dict[str, Any]
"""A part of a JSON Schema, or of a Pulumi schema."""

ONLY_FOR_A_CLUSTER_THAT_EXISTS = {"Settings": {"source"}, "VpcCniSettings": {"manage"}}
"""Keys that `Cluster` always refuses, as it makes its cluster, by the model they are in: no type has them."""


class SettingsTypes:
    """Types of a Pulumi schema, by token, made from the models that are asked for.

    Everything is plain, which rules outputs out: settings are checked before anything is created.

    Defaults and limits are told in descriptions. A `default` of the schema would be sent by every SDK: rules between
    settings could no longer tell what was given from what was not, and an old SDK would keep old defaults alive.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self.types: dict[str, Spec] = {}

    def reference(self, model: type[BaseModel]) -> Spec:
        """Return a reference to the type of a model, which `types` then has with all that is in it."""
        schema = model.model_json_schema(by_alias=True, mode="validation")
        return self._object(model.__name__, {**schema.get("$defs", {}), model.__name__: schema})

    def _object(self, name: str, models: Mapping[str, Spec]) -> Spec:
        token, schema = f"{self._package}:index:{name}", models[name]
        if token not in self.types:
            left_out = ONLY_FOR_A_CLUSTER_THAT_EXISTS.get(name, set[str]())
            self.types[token] = {
                "type": "object",
                "description": schema["description"],
                "properties": {
                    key: self._property(f"{name.removesuffix('Settings')}{key[0].upper()}{key[1:]}", each, models)
                    for key, each in schema["properties"].items()
                    if key not in left_out
                },
                "required": schema.get("required", []),
            }
        return {"$ref": f"#/types/{token}", "plain": True}

    def _property(self, name: str, schema: Spec, models: Mapping[str, Spec]) -> Spec:
        """Return a property with its description; `name` is that of its type, if it needs one of its own."""
        told = schema if "$ref" not in schema else {"description": models[_model(schema)]["description"], **schema}
        limits = [f"{each[0].upper()}{each[1:]}." for each in ("; ".join(_limits(schema)),) if each]
        return {
            **self._type(name, schema, models),
            "description": "\n\n".join([told["description"], *limits]),
        }

    def _type(self, name: str, schema: Spec, models: Mapping[str, Spec]) -> Spec:
        if "$ref" in schema:
            return self._object(_model(schema), models)
        if "anyOf" in schema:
            [either] = [each for each in schema["anyOf"] if each.get("type") != "null"]
            if schema["default"] is not None:
                raise TypeError(f"{name}: null means something, but it is lost between a program and its components.")
            return self._type(name, either, models)
        if "enum" in schema:
            return self._enum(name, schema)
        made: Spec = {"type": schema["type"], "plain": True}
        if schema["type"] == "array":
            made["items"] = self._type(name.removesuffix("s"), schema["items"], models)
        elif schema["type"] == "object":
            made["additionalProperties"] = self._type(name, schema["additionalProperties"], models)
        return made

    def _enum(self, name: str, schema: Spec) -> Spec:
        token = f"{self._package}:index:{name}"
        self.types[token] = {
            "type": schema["type"],
            "enum": [{"name": _constant(name, each), "value": each} for each in schema["enum"]],
        }
        return {"$ref": f"#/types/{token}", "plain": True}


def _constant(enum: str, value: str | int) -> str:
    """Return the name of a value in a program: `OnDemand` for ON_DEMAND, `Days30` for 30 of LogRetentionDays."""
    if isinstance(value, int):  # no language takes a number for a name
        return f"{re.findall('[A-Z][a-z]*', enum)[-1]}{value}"
    return "".join(each.capitalize() if each.isupper() else f"{each[0].upper()}{each[1:]}" for each in value.split("_"))


def _model(reference: Spec) -> str:
    return cast("str", reference["$ref"]).rpartition("/")[2]


def _limits(schema: Spec) -> Iterator[str]:
    """Yield what a value has to keep within, and what it is if nobody gives one."""
    for least, most, of in (
        ("minimum", "maximum", ""),
        ("minItems", "maxItems", " of them"),
        ("minProperties", "maxProperties", " of them"),
    ):
        if least in schema and most in schema:
            yield f"from {schema[least]} to {schema[most]}{of}"
        elif least in schema:
            yield f"at least {schema[least]}{of}"
        elif most in schema:
            yield f"at most {schema[most]}{of}"
    if "$ref" not in schema and schema.get("default") not in (None, {}, [], ""):
        yield f"`{json.dumps(schema['default'])}` unless given"
