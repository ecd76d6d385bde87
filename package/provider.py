"""What the engine asks about the package and its components: the schema, and each component as it is wanted."""

import json
import re
import tomllib
from pathlib import Path

import pulumi
from pulumi.errors import InputPropertyError
from pulumi.provider.experimental.analyzer import PropertyDefinition
from pulumi.provider.experimental.component import ComponentProvider
from pydantic import BaseModel

from components.cache.node_local_dns import NodeLocalDnsSettings
from components.pod_security_groups.pod_security_group import PACKAGE, PodSecurityGroup
from package.cluster import Cluster
from package.node_local_dns import NodeLocalDns
from package.settings_types import SettingsTypes, Spec
from stacks.mistakes import guess
from stacks.settings import Settings

ROOT = Path(__file__).parents[1]

SETTINGS: dict[type[pulumi.ComponentResource], type[BaseModel]] = {
    Cluster: Settings,
    NodeLocalDns: NodeLocalDnsSettings,
}
"""What checks the `settings` of a component."""

_TYPE = re.compile(rf"({PACKAGE}:index:\w+)Args\b")
"""A type that is called arguments in Python: an SDK adds `Args` to what it is given."""


def _reflowed(part: Spec) -> Spec:
    """Return a part of a schema whose description, a docstring, has lost the line ends that only its source needs."""
    text = part.get("description")
    if isinstance(text, str):
        part["description"] = "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))
    return part


class PackageProvider(ComponentProvider):
    """Serves the components, with a schema that has their settings typed.

    `described` is the schema. The SDK infers one from annotations, and knows none that a model of settings is made of.
    So it infers everything else, and takes settings as the map they arrive as: they reach the model as they were given,
    and what is wrong with them is told as in a stack file. For whoever writes a program, types take the map's place.
    """

    def __init__(self) -> None:
        self.project: Spec = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        super().__init__([*SETTINGS, PodSecurityGroup], PACKAGE, version=self.project["version"])
        self.described = self._described(json.loads(self.schema or ""))
        self.schema = json.dumps(self.described)

    def _described(self, schema: Spec) -> Spec:
        """Return an inferred schema with settings typed, and with what the registry shows of a package."""
        types = SettingsTypes(PACKAGE)
        for component, model in SETTINGS.items():
            inputs = schema["resources"][f"{PACKAGE}:index:{component.__name__}"]["inputProperties"]
            inputs["settings"] = {"description": inputs["settings"]["description"], **types.reference(model)}
        whole = {
            **schema,
            "displayName": "EKS node-local DNS",
            "description": self.project["description"],
            "license": self.project["license"],
            "keywords": ["pulumi", "aws", "eks", "kubernetes", "dns", "kind/component", "category/network"],
            "types": {**schema["types"], **types.types},
        }
        return json.loads(_TYPE.sub(r"\1", json.dumps(whole)), object_hook=_reflowed)  # type: ignore[no-any-return]

    def map_input_properties(
        self,
        inputs: pulumi.Inputs,
        properties: dict[str, PropertyDefinition],
        mapping: dict[str, str],
        component_name: str,
        property_path: str,
    ) -> pulumi.Inputs:
        """Refuse what no component knows: the SDK takes the arguments it knows, and leaves out the others unsaid."""
        for key in inputs:
            if key not in properties:
                path = f"{property_path}.{key}" if property_path else key
                raise InputPropertyError(
                    path,
                    f"{component_name} has no argument {path}, and a misspelt one must not be ignored. "
                    f"{guess(key, properties)}Known here: {', '.join(properties)}.",
                )
        return super().map_input_properties(inputs, properties, mapping, component_name, property_path)
