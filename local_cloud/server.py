"""The one process of a local cloud: AWS on a loopback port, etcd, and an API server per cluster behind it."""

import datetime as dt
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from local_cloud import aws
from local_cloud.control_plane import ApiServer, ApiServerSettings, Etcd
from local_cloud.eks import access, add_ons, clusters, node_groups, pod_identities
from local_cloud.eks.api import EksApi, StartResponse
from local_cloud.eks.registry import Eks
from local_cloud.layout import Layout, ServerRecord
from local_cloud.processes import ProcessRecord
from local_cloud.tokens import RefusedTokenError, identify

_LOG = logging.getLogger(__name__)

# Importing a module of the API registers its operations; naming them here says that this is on purpose.
_API_MODULES = (access, add_ons, clusters, node_groups, pod_identities)

_OPERATOR = "platform-engineer"

_REVIEW = re.compile(r"/local-cloud/token-reviews/(?P<region>[^/]+)/(?P<cluster>[^/]+)")
_EKS_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/eks/aws4_request")


class _Aws:
    """The WSGI application behind the endpoint: EKS, the token webhook, and moto for everything else."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.eks: Eks | None = None
        self._eks_api: EksApi | None = None
        self._moto = DomainDispatcherApplication(create_backend_app)

    def serve_eks(self, eks: Eks) -> None:
        self.eks = eks
        self._eks_api = EksApi(eks, aws.caller_of)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        review = _REVIEW.fullmatch(environ.get("PATH_INFO", ""))
        if review and self.eks is not None:
            return _respond(start_response, self._review(environ, review["region"], review["cluster"]))
        if self._eks_api is not None and _EKS_SCOPE.search(environ.get("HTTP_AUTHORIZATION", "")):
            return self._eks_api(environ, start_response)
        return self._moto(environ, start_response)

    def _user(self, region: str, name: str, caller: str) -> Mapping[str, Any]:
        """Return who a caller is in a cluster."""
        cluster = self.eks.clusters(region).get(name) if self.eks else None
        user = access.review(cluster, caller) if cluster else None
        if user is None:
            raise RefusedTokenError(f"{caller} has no access entry in the cluster {name}")
        return user

    def _review(self, environ: Mapping[str, Any], region: str, name: str) -> Mapping[str, Any]:
        """Answer a Kubernetes TokenReview."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        token = json.loads(environ["wsgi.input"].read(length))["spec"].get("token", "")
        answer = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        now = dt.datetime.now(dt.UTC)
        try:
            identity = identify(token, cluster=name, endpoint=self.endpoint, secret_of=aws.secret_of, now=now)
            caller = aws.caller_of(identity.access_key)
            user = self._user(region, name, caller)
        except RefusedTokenError as error:
            _LOG.warning("refused a token for cluster %s: %s", name, error)
            return {**answer, "status": {"authenticated": False, "error": str(error)}}
        return {**answer, "status": {"authenticated": True, "user": user}}


def _respond(start_response: StartResponse, body: Mapping[str, Any]) -> list[bytes]:
    payload = json.dumps(body).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(payload)))])
    return [payload]


def _write_kubeconfig(path: Path) -> Callable[[Eks], None]:
    """Return what keeps a kubeconfig as `aws eks update-kubeconfig` would, with every cluster that is there."""

    def write(eks: Eks) -> None:
        active = [cluster for cluster in eks.all_clusters() if cluster.document["status"] == "ACTIVE"]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": cluster.document["arn"],
                    "cluster": {
                        "server": cluster.document["endpoint"],
                        "certificate-authority-data": cluster.document["certificateAuthority"]["data"],
                    },
                }
                for cluster in active
            ],
            "contexts": [
                {
                    "name": cluster.name,
                    "context": {"cluster": cluster.document["arn"], "user": cluster.document["arn"]},
                }
                for cluster in active
            ],
            "current-context": active[-1].name if active else "",
            "users": [
                {
                    "name": cluster.document["arn"],
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "aws",
                            "args": ["--region", cluster.region, "eks", "get-token", "--cluster-name", cluster.name],
                            "interactiveMode": "Never",
                        }
                    },
                }
                for cluster in active
            ],
        }
        partial = path.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(yaml.safe_dump(config))
        partial.replace(path)

    return write


def serve(layout: Layout, *, etcd: Path, kube_apiserver: Path) -> None:
    """Serve a local cloud until SIGTERM or SIGINT."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # moto leaves AWS's own policies out otherwise
    layout.run.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    store = Etcd(etcd, layout.run / "etcd")
    try:
        aws.correct_moto()
        application = _Aws()
        http = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
        http.daemon_threads = True  # type: ignore[attr-defined]  a thread per connection must not hold up the end
        application.endpoint = f"http://127.0.0.1:{http.server_port}"
        write_kubeconfig = _write_kubeconfig(layout.kubeconfig)

        def start_api_server(settings: ApiServerSettings) -> ApiServer:
            return ApiServer(kube_apiserver, layout.run / "clusters" / settings.identifier, store, settings)

        eks = Eks(
            aws.MotoNeighbours(),
            start_api_server,
            lambda region, name: f"{application.endpoint}/local-cloud/token-reviews/{region}/{name}",
            write_kubeconfig,
        )
        application.serve_eks(eks)
        write_kubeconfig(eks)
        access_key, secret_key = aws.create_operator(_OPERATOR)
        thread = threading.Thread(target=http.serve_forever, name="aws", daemon=True)
        thread.start()
        store.wait_until_ready()
        layout.write_record(
            ServerRecord(
                process=ProcessRecord.of(os.getpid()),
                endpoint=application.endpoint,
                access_key=access_key,
                secret_key=secret_key,
            )
        )
        stop.wait()
        http.shutdown()
        eks.stop()
    finally:
        store.stop()
        layout.remove()
