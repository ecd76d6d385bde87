"""The stand-in's plugin process: `python -m local_cloud.plugins.aws <engine address>`."""

import asyncio
import hashlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import boto3
from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.server import main

from local_cloud.plugins.absence import absent
from local_cloud.plugins.aws import accounts, ec2, eks
from local_cloud.plugins.aws.functions import FUNCTIONS
from local_cloud.plugins.aws.resource_type import Properties, ResourceType
from local_cloud.plugins.lifetime import end_with_parent
from local_cloud.plugins.values import plain, property_values

VERSION = "7.51.1"
"""Version of pulumi-aws whose property names it has."""

TYPES: dict[str, ResourceType] = {**ec2.TYPES, **accounts.TYPES, **eks.TYPES}
_INPUTS = "__inputs"
"""State property that remembers what the program asked for, to compare the next request with."""


class UnknownTypeError(NotImplementedError):
    """The program uses something of AWS that the stand-in does not know."""

    def __init__(self, token: str) -> None:
        known = ", ".join(sorted({*TYPES, *FUNCTIONS}))
        super().__init__(
            f"The local cloud's stand-in for pulumi-aws does not know {token}. It serves what this project uses: "
            f"{known}. Put the real pulumi-resource-aws earlier on PATH to use anything else."
        )


def _type(qualified: str) -> ResourceType:
    token = qualified.rsplit("$", maxsplit=1)[-1]  # a child's URN carries its parents' types before its own
    if token not in TYPES:
        raise UnknownTypeError(token)
    return TYPES[token]


class AwsProvider(api.Provider):
    """Serves the types of `TYPES` by asking AWS through boto3."""

    def __init__(self) -> None:
        super().__init__()
        self.region: str | None = None

    @lru_cache(maxsize=16)  # noqa: B019  # one provider lives as long as its process
    def client(self, service: str) -> Any:  # noqa: ANN401  # boto3 makes these classes at run time
        """Return the boto3 client of a service; endpoint and credentials are the environment's."""
        return boto3.client(service, region_name=self.region)

    async def check_config(self, request: api.CheckRequest) -> api.CheckResponse:
        """Refuse provider settings that would be ignored."""
        unknown = [key for key in request.new_inputs if key not in {"region", "version", "skipRegionValidation"}]
        unknown = [key for key in unknown if key not in {"skipCredentialsValidation", "skipMetadataApiCheck"}]
        failures = [
            api.CheckFailure(key, f"the local cloud's stand-in for pulumi-aws does not know aws:{key}")
            for key in unknown
        ]
        return api.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def configure(self, request: api.ConfigureRequest) -> api.ConfigureResponse:
        """Take the region; everything else is in the environment, as for any AWS client."""
        self.region = request.variables.get("aws:config:region") or plain(request.args).get("region")
        return await super().configure(request)

    async def check(self, request: api.CheckRequest) -> api.CheckResponse:
        """Refuse unknown properties and name what has no name."""
        kind = _type(request.type)
        failures = [
            api.CheckFailure(
                key, f"the local cloud's stand-in for pulumi-aws does not know this property of {request.type}"
            )
            for key in request.new_inputs
            if key not in kind.inputs
        ]
        failures += [
            api.CheckFailure(key, "is required") for key in sorted(kind.required) if key not in request.new_inputs
        ]
        new = dict(request.new_inputs)
        if kind.autoname and kind.autoname not in new:
            suffix = hashlib.sha256(request.random_seed + request.urn.encode()).hexdigest()[:7]
            made = property_values({kind.autoname: f"{request.name}-{suffix}"})
            new[kind.autoname] = (request.old_inputs or {}).get(kind.autoname) or made[kind.autoname]
        return api.CheckResponse(inputs=new, failures=failures)

    async def diff(self, request: api.DiffRequest) -> api.DiffResponse:
        """Compare what is asked for with what was asked for, and with what AWS says it is."""
        kind = _type(request.type)
        state, new = plain(request.old_state), plain(request.new_inputs)
        old = _as_asked(state)
        for path in request.ignore_changes:
            new = _with_value_of(old, path.split("."), new)
        changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        replaces = [key for key in changed if key not in kind.updates]
        return api.DiffResponse(
            changes=bool(changed),
            replaces=replaces,
            diffs=changed,
            detailed_diff={key: _detail(key, old, new, replaces) for key in changed},
            delete_before_replace=bool(replaces) and (kind.delete_first or _keeps_name(kind, old, new)),
        )

    async def create(self, request: api.CreateRequest) -> api.CreateResponse:
        """Create it; a preview only echoes what is known."""
        kind, new = _type(request.type), plain(request.properties)
        if request.preview:
            return api.CreateResponse(resource_id="", properties=dict(request.properties))
        identity = await asyncio.to_thread(kind.create, self.client, new, request.timeout or kind.timeout)
        return api.CreateResponse(identity, property_values(await self._state(kind, identity, new, new)))

    async def read(self, request: api.ReadRequest) -> api.ReadResponse:
        """Look it up: for refresh, and for what already exists."""
        kind, known = _type(request.type), plain(request.properties)
        asked = known.get(_INPUTS) or plain(request.inputs)
        found = await asyncio.to_thread(kind.read, self.client, request.resource_id, {**asked, **known})
        if found is None:
            return absent(request)
        if not known and not asked:  # an import: nobody has asked for anything yet
            asked = _as_inputs(kind, found)
        state = {**known, **found, _INPUTS: asked}
        drifted = {key: found.get("tagsAll", value) if key == "tags" else _as_found(value, found.get(key, value))
                   for key, value in asked.items()}  # fmt: skip
        return api.ReadResponse(request.resource_id, property_values(state), property_values({**asked, **drifted}))

    async def update(self, request: api.UpdateRequest) -> api.UpdateResponse:
        """Change in place what AWS lets be changed."""
        kind, state, new = _type(request.type), plain(request.olds), plain(request.news)
        if request.preview:
            return api.UpdateResponse({**request.olds, **request.news})
        old = _as_asked(state)
        changes = {kind.updates[key]: None for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)}
        for change in changes:  # one call serves several properties
            await asyncio.to_thread(change, self.client, request.resource_id, {**state, **old}, new)
        return api.UpdateResponse(property_values(await self._state(kind, request.resource_id, new, new)))

    async def delete(self, request: api.DeleteRequest) -> None:
        """Delete it and wait until it is gone."""
        kind, state = _type(request.type), plain(request.properties)
        seconds = request.timeout or kind.timeout
        await asyncio.to_thread(kind.delete, self.client, request.resource_id, state, seconds)

    async def invoke(self, request: api.InvokeRequest) -> api.InvokeResponse:
        """Answer a function by asking AWS."""
        if request.tok not in FUNCTIONS:
            raise UnknownTypeError(request.tok)
        answer, known = FUNCTIONS[request.tok]
        arguments = {key: value for key, value in plain(request.args).items() if value is not None}
        unknown = sorted(arguments.keys() - known)
        if unknown:
            raise NotImplementedError(
                f"The local cloud's stand-in for pulumi-aws does not know {', '.join(unknown)} of {request.tok}."
            )
        return api.InvokeResponse(property_values(await asyncio.to_thread(answer, self.client, arguments)))

    async def _state(self, kind: ResourceType, identity: str, new: Properties, known: Properties) -> Properties:
        found = await asyncio.to_thread(kind.read, self.client, identity, known)
        if found is None:
            raise RuntimeError(f"AWS does not know {identity}, which it has just made")
        return {**new, **found, _INPUTS: new}


def _as_inputs(kind: ResourceType, found: Properties) -> Properties:
    """Return what a program would have to ask for to get what is there."""
    there = {**found, "tags": found.get("tagsAll")}
    return {key: value for key, value in there.items() if key in kind.inputs and value not in (None, "", {}, [])}


def _as_asked(state: Properties) -> Properties:
    """Return the inputs as they stand: as last asked for, with what a refresh found changed."""
    asked: Mapping[str, Any] = state.get(_INPUTS) or {}
    stands = {key: _as_stands(value, state.get(key)) for key, value in asked.items()}
    if "tags" in asked:
        tags = state.get("tagsAll")
        stands["tags"] = asked["tags"] if tags is None else tags
    return stands


def _as_stands(asked: Any, found: Any) -> Any:  # noqa: ANN401  # any property
    # Lists come back in another order, and defaults for what nobody asked for: those count as they were asked for.
    as_it_was = asked is None or found is None or isinstance(asked, list)
    return asked if as_it_was else _as_found(asked, found)


def _with_value_of(old: Properties, path: list[str], new: Properties) -> Properties:
    """Return `new` with what `old` has at a path, or with nothing there."""
    key, *rest = path
    value = old.get(key)
    if rest:
        if not isinstance(value, dict) or not isinstance(new.get(key), dict):
            return new
        value = _with_value_of(cast("Properties", value), rest, new[key])
    return {**new, key: value}


def _as_found(asked: Any, found: Any) -> Any:  # noqa: ANN401  # any property
    """Return what there is of what was asked for: nested objects come back with defaults filled in."""
    if not isinstance(asked, dict):
        return found
    if not isinstance(found, dict):
        return asked
    there = cast("Properties", found)
    return {key: _as_stands(value, there.get(key)) for key, value in cast("Properties", asked).items()}


def _keeps_name(kind: ResourceType, old: Properties, new: Properties) -> bool:
    """Say whether the replacement has the same physical name, so that both cannot exist at once."""
    return bool(kind.autoname) and old.get(kind.autoname) == new.get(kind.autoname)


def _detail(key: str, old: Properties, new: Properties, replaces: list[str]) -> api.PropertyDiff:
    word = "UPDATE" if key in old and key in new else "ADD" if key in new else "DELETE"
    kind = api.PropertyDiffKind[f"{word}_REPLACE" if key in replaces else word]
    return api.PropertyDiff(kind, input_diff=True)


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1:], VERSION, AwsProvider())
