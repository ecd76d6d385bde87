"""A stand-in for pulumi-kubernetes: any object the API server serves, by server-side apply.

Run by the engine as `python -m local_cloud.plugins.kubernetes <engine address>`. There are no kubelets behind the
local cloud's API servers, so it does not wait for pods; the real plugin does.
"""

import asyncio
import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.server import main

from local_cloud.plugins.absence import absent
from local_cloud.plugins.lifetime import end_with_parent
from local_cloud.plugins.values import UNKNOWN, has_unknown, plain, property_values

VERSION = "4.34.2"
"""Version of pulumi-kubernetes whose behaviour it has."""

FIELD_MANAGER = "pulumi-kubernetes-stand-in"
CONFIG = frozenset({"kubeconfig", "clusterIdentifier", "enableServerSideApply", "enableConfigMapMutable", "version"})
_INPUTS = "__inputs"
_GONE_WITHIN = 120.0  # seconds for a deleted object to be gone

Object = dict[str, Any]


def kind_of(qualified: str) -> tuple[str, str]:
    """Return (apiVersion, kind) of a type token such as `kubernetes:apps/v1:DaemonSet`, or refuse it."""
    token = qualified.rsplit("$", maxsplit=1)[-1]
    _package, group_version, kind = token.split(":")
    refused = group_version.startswith(("helm.sh", "kustomize", "yaml")) or kind.endswith(("Patch", "List"))
    if refused:
        raise NotImplementedError(
            f"The local cloud's stand-in for pulumi-kubernetes does not know {token}: it serves plain objects, no "
            "patches, lists, charts or files. Put the real pulumi-resource-kubernetes earlier on PATH to use more."
        )
    group, _, version = group_version.rpartition("/")
    return (version if group in {"", "core"} else f"{group}/{version}"), kind


class Cluster:
    """An API server, as a kubeconfig describes it."""

    def __init__(self, kubeconfig: str) -> None:
        config = yaml.safe_load(kubeconfig)
        context = next(each for each in config["contexts"] if each["name"] == config["current-context"])["context"]
        cluster = next(each for each in config["clusters"] if each["name"] == context["cluster"])["cluster"]
        self._user = next(each for each in config["users"] if each["name"] == context["user"])["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        trusted = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in self._user:
            _present(trusted, self._user)
        self._http = httpx.Client(base_url=cluster["server"], verify=trusted, timeout=30)
        self._paths: dict[tuple[str, str], tuple[str, bool]] = {}
        self._token: tuple[str, float] | None = None

    def _headers(self) -> dict[str, str]:
        if "token" in self._user:
            return {"Authorization": f"Bearer {self._user['token']}"}
        if "exec" not in self._user:
            return {}
        if self._token is None or time.monotonic() - self._token[1] > 300:  # noqa: PLR2004  # a token lives 15 min
            asked = self._user["exec"]
            extra = {each["name"]: each["value"] for each in asked.get("env") or []}
            done = subprocess.run(
                [asked["command"], *asked["args"]],
                check=False, capture_output=True, text=True, env={**os.environ, **extra},
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{asked['command']} gave no token for the cluster: {done.stderr.strip()}")
            self._token = (json.loads(done.stdout)["status"]["token"], time.monotonic())
        return {"Authorization": f"Bearer {self._token[0]}"}

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401  # httpx's arguments
        """Send a request; an answer other than success or 404 is raised with what the server says."""
        headers = {**self._headers(), **more.pop("headers", {})}
        answer = self._http.request(method, path, headers=headers, **more)
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            try:
                said = answer.json().get("message", answer.text)
            except ValueError:
                said = answer.text
            raise RuntimeError(f"Kubernetes refused {method} {path}: {said}")
        return answer

    def path(self, version: str, kind: str, namespace: str | None, name: str) -> str:
        """Return where an object is; asks the server once which resource serves its kind."""
        if (version, kind) not in self._paths:
            base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            listed = self.request("GET", base)
            # Of a group that it does not know the server says so in plain text.
            served = [] if listed.status_code == httpx.codes.NOT_FOUND else listed.json()["resources"]
            found = [each for each in served if each["kind"] == kind]
            found = [each for each in found if "/" not in each["name"]]
            if not found:
                raise RuntimeError(
                    f"The cluster does not serve {version} {kind}: is its CustomResourceDefinition installed?"
                )
            self._paths[version, kind] = (f"{base}|{found[0]['name']}", found[0]["namespaced"])
        (base, resource), namespaced = self._paths[version, kind][0].split("|"), self._paths[version, kind][1]
        middle = f"/namespaces/{namespace or 'default'}" if namespaced else ""
        return f"{base}{middle}/{resource}/{name}"


def _present(context: ssl.SSLContext, user: dict[str, str]) -> None:
    """Use the client certificate of a kubeconfig; OpenSSL takes it only from files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("crt", "key")]
        for path, data in zip(paths, ("client-certificate-data", "client-key-data"), strict=True):
            path.write_bytes(base64.b64decode(user[data]))
        context.load_cert_chain(paths[0], paths[1])


def must_replace(kind: str, old: Object, new: Object, *, mutable_config_maps: bool) -> list[str]:
    """Return the properties whose change Kubernetes, or pulumi-kubernetes, answers with a new object."""

    def at(of: Object, *path: str) -> Any:  # noqa: ANN401  # any field
        for key in path:
            of = of.get(key) if isinstance(of, dict) else None  # type: ignore[assignment]
        return of

    found = [key for key in ("apiVersion", "kind") if old.get(key) != new.get(key)]
    metadata = [("metadata", "name"), ("metadata", "namespace")]
    fixed = {
        "Service": [("spec", "clusterIP")],
        "DaemonSet": [("spec", "selector")],
        "Deployment": [("spec", "selector")],
        "Job": [("spec", "template")],
    }
    found += [
        path[0]
        for path in metadata + fixed.get(kind, [])
        if at(old, *path) != at(new, *path) and not has_unknown(at(new, *path))
    ]
    if kind == "ConfigMap" and not mutable_config_maps:
        found += [key for key in ("data", "binaryData") if old.get(key) != new.get(key)]
    return sorted(set(found))


class KubernetesProvider(api.Provider):
    """Serves plain Kubernetes objects."""

    def __init__(self) -> None:
        super().__init__()
        self._kubeconfig: str | None = None
        self._cluster: Cluster | None = None
        self._mutable_config_maps = False

    def _connected(self) -> Cluster:
        if self._kubeconfig is None:
            raise RuntimeError("The Kubernetes provider has no kubeconfig yet; nothing can be asked of its cluster.")
        if self._cluster is None:
            self._cluster = Cluster(self._kubeconfig)
        return self._cluster

    async def check_config(self, request: api.CheckRequest) -> api.CheckResponse:
        """Refuse provider settings that would be ignored."""
        failures = [
            api.CheckFailure(key, "the local cloud's stand-in for pulumi-kubernetes does not know this setting")
            for key in request.new_inputs
            if key not in CONFIG
        ]
        return api.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def diff_config(self, request: api.DiffRequest) -> api.DiffResponse:
        """Another cluster is another provider; how it is reached may change."""
        old, new = plain(request.old_state), plain(request.new_inputs)
        changed = [key for key in sorted(CONFIG) if old.get(key) != new.get(key)]
        identified = "clusterIdentifier" in old or "clusterIdentifier" in new
        replaces = ["clusterIdentifier"] if identified and "clusterIdentifier" in changed else []
        # DIFF_SOME and DIFF_NONE of the protocol: this method's answer is passed on as it is.
        return api.DiffResponse(changes=2 if changed else 1, replaces=replaces, diffs=changed)  # type: ignore[arg-type]

    async def configure(self, request: api.ConfigureRequest) -> api.ConfigureResponse:
        """Take the kubeconfig; it is unknown in the preview of a cluster that does not exist."""
        args = plain(request.args)
        self._kubeconfig = args["kubeconfig"] if isinstance(args.get("kubeconfig"), str) else None
        self._mutable_config_maps = str(args.get("enableConfigMapMutable")).lower() == "true"
        return await super().configure(request)

    async def check(self, request: api.CheckRequest) -> api.CheckResponse:
        """Fill in what every object has, and a name where there is none."""
        version, kind = kind_of(request.type)
        new = plain(request.new_inputs)
        new |= {"apiVersion": version, "kind": kind}
        metadata = dict(new.get("metadata") or {})
        if "name" not in metadata:
            before = plain(request.old_inputs or {}).get("metadata") or {}
            suffix = hashlib.sha256(request.random_seed + request.urn.encode()).hexdigest()[:8]
            metadata["name"] = before.get("name") or f"{request.name}-{suffix}"
        new["metadata"] = metadata
        return api.CheckResponse(inputs=property_values(new))

    async def diff(self, request: api.DiffRequest) -> api.DiffResponse:
        """Compare what is asked for with what was asked for last."""
        _version, kind = kind_of(request.type)
        old, new = plain(request.old_state).get(_INPUTS) or {}, plain(request.new_inputs)
        changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        replaces = must_replace(kind, old, new, mutable_config_maps=self._mutable_config_maps) if changed else []
        same_name = old.get("metadata", {}).get("name") == new["metadata"]["name"]
        details = {
            key: api.PropertyDiff(
                api.PropertyDiffKind.UPDATE_REPLACE if key in replaces else api.PropertyDiffKind.UPDATE,
                input_diff=True,
            )
            for key in changed
        }
        return api.DiffResponse(
            changes=bool(changed),
            replaces=replaces,
            diffs=changed,
            detailed_diff=details,
            delete_before_replace=bool(replaces) and same_name,
        )

    async def create(self, request: api.CreateRequest) -> api.CreateResponse:
        """Create it; one that exists already is an error, as with the real plugin."""
        new = plain(request.properties)
        if request.preview:
            return api.CreateResponse("", property_values(_expected(new)))
        made = await asyncio.to_thread(self._apply, new, fresh=True)
        return api.CreateResponse(_identity(made), property_values(_state(made, new)))

    async def update(self, request: api.UpdateRequest) -> api.UpdateResponse:
        """Apply what changed."""
        new = plain(request.news)
        if request.preview:
            state = plain(request.olds)
            return api.UpdateResponse(property_values({**state, **_expected(new, state)}))
        return api.UpdateResponse(property_values(_state(await asyncio.to_thread(self._apply, new), new)))

    async def read(self, request: api.ReadRequest) -> api.ReadResponse:
        """Look it up by `namespace/name`, or by `name` where there are no namespaces."""
        version, kind = kind_of(request.type)
        namespace, _, name = request.resource_id.rpartition("/")
        found = await asyncio.to_thread(self._get, version, kind, namespace or None, name)
        if found is None:
            return absent(request)
        asked = plain(request.properties).get(_INPUTS) or plain(request.inputs)
        state = _state(found, asked)
        live = {key: _overlaid(value, found.get(key)) for key, value in asked.items()}
        state[_INPUTS] = live
        return api.ReadResponse(request.resource_id, property_values(state), property_values(live))

    async def delete(self, request: api.DeleteRequest) -> None:
        """Delete it and wait until it is gone."""
        version, kind = kind_of(request.type)
        namespace, _, name = request.resource_id.rpartition("/")
        await asyncio.to_thread(self._delete, version, kind, namespace or None, name)

    async def invoke(self, request: api.InvokeRequest) -> api.InvokeResponse:
        """Refuse: the project calls no functions of pulumi-kubernetes."""
        raise NotImplementedError(f"The local cloud's stand-in for pulumi-kubernetes does not know {request.tok}.")

    def _apply(self, new: Object, *, fresh: bool = False) -> Object:
        cluster = self._connected()
        metadata = new["metadata"]
        path = cluster.path(new["apiVersion"], new["kind"], metadata.get("namespace"), metadata["name"])
        if fresh and cluster.request("GET", path).status_code != httpx.codes.NOT_FOUND:
            raise RuntimeError(f"{new['kind']} {metadata['name']} exists already; import it, or choose another name.")
        answer = cluster.request(
            "PATCH",
            path,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=json.dumps(new),
        )
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise RuntimeError(f"Kubernetes has no place for {path}: {answer.json().get('message', '')}")
        return dict(answer.json())

    def _get(self, version: str, kind: str, namespace: str | None, name: str) -> Object | None:
        answer = self._connected().request("GET", self._connected().path(version, kind, namespace, name))
        return None if answer.status_code == httpx.codes.NOT_FOUND else dict(answer.json())

    def _delete(self, version: str, kind: str, namespace: str | None, name: str) -> None:
        cluster = self._connected()
        path = cluster.path(version, kind, namespace, name)
        cluster.request("DELETE", path, params={"propagationPolicy": "Background"})
        if kind == "Namespace":
            return  # empties in the background
        end = time.monotonic() + _GONE_WITHIN
        while cluster.request("GET", path).status_code != httpx.codes.NOT_FOUND:
            if time.monotonic() > end:
                raise TimeoutError(f"{kind} {name} did not go within {_GONE_WITHIN:.0f} s")
            time.sleep(0.1)


def _identity(made: Object) -> str:
    namespace, name = made["metadata"].get("namespace"), made["metadata"]["name"]
    return f"{namespace}/{name}" if namespace else str(name)


def _state(found: Object, asked: Object) -> Object:
    live = json.loads(json.dumps(found))
    live["metadata"].pop("managedFields", None)
    return {**live, _INPUTS: asked}


def _expected(new: Object, state: Object | None = None) -> Object:
    """Return what a preview can say: a Service's address is unknown until it has one."""
    if new["kind"] != "Service" or "clusterIP" in (new.get("spec") or {}):
        return new
    known = ((state or {}).get("spec") or {}).get("clusterIP", UNKNOWN)
    return {**new, "spec": {**new.get("spec", {}), "clusterIP": known}}


def _overlaid(asked: Any, live: Any) -> Any:  # noqa: ANN401  # any field
    """Return the fields that were asked for with the values they have now."""
    if isinstance(asked, dict) and isinstance(live, dict):
        return {key: _overlaid(value, live.get(key)) for key, value in asked.items()}
    if isinstance(asked, list) and isinstance(live, list) and len(asked) == len(live):
        return [_overlaid(value, now) for value, now in zip(asked, live, strict=True)]
    return live


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[1:], VERSION, KubernetesProvider())
