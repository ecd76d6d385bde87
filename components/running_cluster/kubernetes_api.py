"""The Kubernetes API of a cluster as plain JSON: what a look at running pods needs of it, and no more."""
# The client library is only partly annotated:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import json
import os
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from components.running_cluster.aws_identity import AwsIdentity
from components.running_cluster.kubeconfig import as_identity

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, Configuration

Manifest = Mapping[str, Any]
"""An object as the Kubernetes API serves it."""

_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class KubernetesApiError(RuntimeError):
    """The Kubernetes API does not do what it is asked; the message says what and why."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; 0 without a reply."""


class KubernetesApi:
    """One cluster's API; several threads may use it."""

    PAGE = 500
    """Objects a request for a list brings at most, as kubectl has it."""

    SECONDS = 30
    """How long one request may take."""

    def __init__(self, client: "ApiClient", user: Manifest | None = None) -> None:
        self.client = client
        self.user: Manifest = user or {}
        """The user that the kubeconfig names, as it is written there."""

    @classmethod
    def from_kubeconfig(
        cls, kubeconfig: str | Path | None = None, context: str | None = None, *, connections: int | None = None
    ) -> Self:
        """Return the API of a kubeconfig: its text, its file, or KUBECONFIG's. Raises `KubernetesApiError`.

        `connections` are those kept open; default: the client library's.
        """
        # Takes more than a second, and the program that plans a stack never comes here.
        from kubernetes import config  # noqa: PLC0415
        from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415
        from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
        from kubernetes.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION  # noqa: PLC0415

        settings = Configuration()
        try:
            if isinstance(kubeconfig, str):
                documents = [yaml.safe_load(kubeconfig)]
                config.load_kube_config_from_dict(documents[0], context=context, client_configuration=settings)
            else:
                # The client would take the variable's value from when it was imported.
                file = os.environ.get("KUBECONFIG") if kubeconfig is None else str(kubeconfig)
                config.load_kube_config(file, context=context, client_configuration=settings)
                files = [Path(each).expanduser() for each in (file or KUBE_CONFIG_DEFAULT_LOCATION).split(os.pathsep)]
                documents = [yaml.safe_load(each.read_text()) or {} for each in files if each.is_file()]
        except (ConfigException, OSError, yaml.YAMLError, TypeError) as error:
            raise KubernetesApiError(
                f"there is no usable kubeconfig: {error}. Set KUBECONFIG to one, or take a stack's with --stack; "
                "`aws eks update-kubeconfig --name CLUSTER` writes one"
            ) from None
        _refuse_anonymous(settings)
        settings.retries = 2
        if connections is not None:
            settings.connection_pool_maxsize = connections
        client = ApiClient(settings)
        if settings.verify_ssl:
            client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = _lenient_about_extensions()
        return cls(client, _user(documents, context))

    @classmethod
    def from_stack(cls, stack: str, context: str | None = None, *, connections: int | None = None) -> Self:
        """Return the API of the cluster whose kubeconfig a stack tells. Raises `KubernetesApiError`."""
        try:
            asked = _pulumi("stack", "output", "kubeconfig", "--show-secrets", "--stack", stack)
            asked.check_returncode()
        except OSError as error:
            raise KubernetesApiError(
                f"--stack needs the pulumi command: {error}. Install it, or use KUBECONFIG"
            ) from None
        except subprocess.CalledProcessError as error:
            raise KubernetesApiError(
                f"stack {stack} has no output kubeconfig: {error.stderr.strip()}. `pulumi stack ls --all` lists the "
                "stacks there are, and one has outputs once an update of it has succeeded; until then use KUBECONFIG, "
                "as `aws eks update-kubeconfig --name CLUSTER` writes it"
            ) from None
        try:
            identity = AwsIdentity.configured(_aws_configuration(stack))
        except ValueError as error:
            raise KubernetesApiError(f"stack {stack}: {error}") from None
        return cls.from_kubeconfig(as_identity(asked.stdout, identity), context, connections=connections)

    def close(self) -> None:
        """Close the connections."""
        self.client.rest_client.pool_manager.clear()

    def get(self, path: str, **query: Any) -> Manifest | None:  # noqa: ANN401  # query values
        """Return an object; None if there is none. Raises `KubernetesApiError`."""
        try:
            return self.send("GET", path, query=query)
        except KubernetesApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def items(self, path: str, *, metadata_only: bool = False, **query: Any) -> Iterator[Manifest]:  # noqa: ANN401  # query values
        """Yield the objects of a list, a page at a time. Raises `KubernetesApiError`."""
        accept = _METADATA if metadata_only else _JSON
        more = ""
        while True:
            asked = {"limit": self.PAGE, **query, **({"continue": more} if more else {})}
            page = self.send("GET", path, query=asked, accept=accept)
            yield from page["items"] or []  # a list of metadata that is empty comes as null
            more = page["metadata"].get("continue", "")
            if not more:
                return

    def send(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Manifest:
        """Return the reply to a request, as `request` does."""
        return json.loads(self.request(method, path, body, query=query, content=content, accept=accept))

    def request(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> bytes:
        """Return a reply's body; raises `KubernetesApiError`, with its status, for any but a success."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415  # as above
        from urllib3.exceptions import HTTPError  # noqa: PLC0415  # as above

        asked = self.client.param_serialize(
            method, path, query_params=list((query or {}).items()), body=body,
            header_params={"Accept": accept, "Content-Type": content},
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            reply = self.client.call_api(*asked, _request_timeout=self.SECONDS)
            data: bytes = reply.read()
        except (HTTPError, ApiException) as error:
            raise KubernetesApiError(f"{method} {path}: the Kubernetes API does not answer: {error}") from None
        if reply.status >= HTTPStatus.BAD_REQUEST:
            raise KubernetesApiError(f"{method} {path}: the Kubernetes API says: {_message(data)}", reply.status)
        return data


def _pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["pulumi", *arguments], check=False, capture_output=True, text=True)


def _aws_configuration(stack: str) -> Mapping[str, Any]:
    """Return a stack's `aws:` configuration; empty outside its project's folder, where nobody has its file."""
    asked = _pulumi("config", "--json", "--stack", stack)
    listed: Mapping[str, Any] = json.loads(asked.stdout) if asked.returncode == 0 else {}
    return {key.removeprefix("aws:"): each.get("value") for key, each in listed.items() if key.startswith("aws:")}


def _lenient_about_extensions() -> ssl.SSLContext:
    """Return how a server is trusted: its chain and name are verified, and no extension is missed in a certificate.

    From Python 3.13 on urllib3 asks for certificates to the letter of RFC 5280, and a certificate authority of EKS can
    be without key identifiers (kubernetes-client/python#2394).
    """
    from urllib3.util.ssl_ import create_urllib3_context  # noqa: PLC0415  # as above

    context = create_urllib3_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _user(documents: Sequence[Manifest], context: str | None) -> Manifest:
    """Return the user of a context as kubeconfigs have it, the first of several files first; empty if none does."""

    def named(kind: str, name: Any) -> Manifest:  # noqa: ANN401  # YAML
        every = [each for document in documents for each in document.get(f"{kind}s") or ()]
        return next((each[kind] for each in every if each["name"] == name), None) or {}

    current = [each["current-context"] for each in documents if each.get("current-context")]
    return named("user", named("context", context or next(iter(current), None)).get("user"))


def _refuse_anonymous(settings: "Configuration") -> None:
    """Raise if the kubeconfig's command gave no credentials: the client would go on without any."""
    if not (settings.api_key or settings.cert_file or settings.username):
        raise KubernetesApiError(
            "the kubeconfig gives no credentials: its command (on EKS `aws eks get-token`) failed or is not there; "
            "run it by hand to see why"
        )


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data[:200].decode(errors="replace")
