"""The EKS HTTP API: requests are routed and checked by the service's own model, as botocore carries it."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs, unquote

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

from local_cloud.eks.errors import EksError, InvalidParameterError, UnknownOperationError
from local_cloud.eks.registry import Eks

_LOG = logging.getLogger(__name__)

StartResponse = Callable[[str, list[tuple[str, str]]], object]


@dataclass(frozen=True)
class Call:
    """One request, parsed."""

    region: str
    """Region of the request's credential scope."""
    caller: str
    """ARN of the principal whose access key signed the request."""
    request: Mapping[str, Any]
    """The input of the operation, by the names of the API."""


Operation = Callable[[Eks, Call], Mapping[str, Any]]
OPERATIONS: dict[str, Operation] = {}


def operation(function: Operation) -> Operation:
    """Register a function as the API's operation of the same name (`create_addon` is CreateAddon)."""
    name = "".join(word.capitalize() for word in function.__name__.split("_"))
    OPERATIONS[name] = function
    return function


@dataclass(frozen=True)
class _Route:
    method: str
    path: re.Pattern[str]
    model: OperationModel


def _routes() -> list[_Route]:
    service = ServiceModel(Loader().load_service_model("eks", "service-2"), "eks")
    routes: list[_Route] = []
    for name in cast("list[str]", service.operation_names):
        model = service.operation_model(name)
        path = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", model.http["requestUri"])
        routes.append(_Route(model.http["method"], re.compile(f"{path}/?"), model))
    return routes


class EksApi:
    """A WSGI application that is Amazon EKS."""

    def __init__(self, eks: Eks, caller_of: Callable[[str], str]) -> None:
        self._eks = eks
        self._caller_of = caller_of
        self._routes = _routes()

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            body: Mapping[str, Any] = self._answer(environ)
            status, headers = HTTPStatus.OK, []
        except EksError as error:
            status = HTTPStatus(error.status)
            headers = [("x-amzn-ErrorType", error.code)]
            body = {"message": error.message, **error.members}
        except Exception:  # noqa: BLE001  the caller must be told, whatever it was
            _LOG.exception("EKS request failed")
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            headers = [("x-amzn-ErrorType", "ServerException")]
            body = {"message": "The local cloud failed on this request; its log says how."}
        payload = json.dumps(body, default=_json).encode()
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(payload)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [payload]

    def _answer(self, environ: Mapping[str, Any]) -> Mapping[str, Any]:
        raw_path, _, raw_query = str(environ.get("RAW_URI") or environ["REQUEST_URI"]).partition("?")
        method = environ["REQUEST_METHOD"]
        for route in self._routes:
            found = route.path.fullmatch(raw_path) if route.method == method else None
            if found:
                break
        else:
            raise UnknownOperationError(f"Amazon EKS has no operation {method} {raw_path}.")
        function = OPERATIONS.get(str(route.model.name))
        if function is None:
            raise UnknownOperationError(
                f"The local cloud does not know the EKS operation {route.model.name}; "
                f"it knows {', '.join(sorted(OPERATIONS))}."
            )
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = json.loads(environ["wsgi.input"].read(length) or b"{}")
        request = _parse(route.model, found.groupdict(), raw_query, body)
        access_key, region = credential_scope(environ)
        return function(self._eks, Call(region, self._caller_of(access_key), request))


def credential_scope(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the access key and the region that an AWS request was signed with."""
    found = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    if found is None:
        raise InvalidParameterError("Missing Authentication Token")
    return found[1], found[2]


def _members(shape: StructureShape) -> dict[str, Shape]:
    """Return the members of a structure; botocore's cached properties have no types."""
    return cast("dict[str, Shape]", shape.members)


def _parse(model: OperationModel, path: Mapping[str, str], raw_query: str, body: Mapping[str, Any]) -> dict[str, Any]:
    shape = model.input_shape
    if not isinstance(shape, StructureShape):
        return {}
    request = dict(body)
    query = parse_qs(raw_query)
    for name, member in _members(shape).items():
        serialization = cast("dict[str, str]", member.serialization)
        wire_name = serialization.get("name", name)
        match serialization.get("location"):
            case "uri":
                request[name] = unquote(path[wire_name])
            case "querystring" if wire_name in query:
                request[name] = _from_query(member, query[wire_name])
            case _:
                pass
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        raise InvalidParameterError(report.generate_report())
    _check_enumerations(shape, request, "")
    return request


def _from_query(shape: Shape, values: list[str]) -> object:
    match shape.type_name:
        case "list":
            return values
        case "integer":
            return int(values[0])
        case "boolean":
            return values[0].lower() == "true"
        case _:
            return values[0]


def _check_enumerations(shape: Shape, value: Any, where: str) -> None:  # noqa: ANN401  JSON
    """Refuse what botocore lets pass: values outside an enumeration, in the words of the service."""
    if isinstance(shape, StructureShape):
        for name, member in _members(shape).items():
            if name in value:
                _check_enumerations(member, value[name], f"{where}.{name}" if where else name)
    elif isinstance(shape, ListShape):
        for index, item in enumerate(value):
            _check_enumerations(cast("Shape", shape.member), item, f"{where}.{index + 1}.member")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            _check_enumerations(cast("Shape", shape.value), item, f"{where}.{key}")
    elif isinstance(shape, StringShape) and shape.enum and value not in cast("list[str]", shape.enum):
        raise InvalidParameterError(
            f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(cast('list[str]', shape.enum))}]"
        )


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{type(value)} has no JSON form")
