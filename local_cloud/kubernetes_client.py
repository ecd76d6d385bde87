"""The few Kubernetes calls the local cloud makes on behalf of EKS: server-side apply, read, delete."""

import json
import ssl
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx

Manifest = Mapping[str, Any]

_PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "CustomResourceDefinition": "customresourcedefinitions",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "Namespace": "namespaces",
    "Node": "nodes",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "RoleBinding": "rolebindings",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}


class ConflictError(Exception):
    """Server-side apply met fields that other managers own; `fields` names them as Kubernetes does."""

    def __init__(self, manifest: Manifest, fields: list[str]) -> None:
        super().__init__(f"{manifest['kind']} {manifest['metadata']['name']}: {', '.join(fields)}")
        self.manifest = manifest
        self.fields = fields


def _collection(api_version: str, kind: str, namespace: str | None) -> str:
    root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{_PLURALS[kind]}"


def _path(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    collection = _collection(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"))
    return f"{collection}/{metadata['name']}"


class KubernetesClient:
    """A client of one API server."""

    def __init__(self, endpoint: str, context: ssl.SSLContext) -> None:
        self._http = httpx.Client(base_url=endpoint, verify=context, timeout=20)

    def is_ready(self) -> bool:
        """Say whether the API server calls itself ready."""
        return self._http.get("/readyz").is_success

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return an object, or None if there is none."""
        response = self._http.get(f"{_collection(api_version, kind, namespace)}/{name}")
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        return response.raise_for_status().json()

    def exists(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> bool:
        """Say whether an object exists."""
        return self.get(api_version, kind, name, namespace) is not None

    def names(self, api_version: str, kind: str) -> list[str]:
        """Return the names of all objects of a kind that has no namespace."""
        response = self._http.get(_collection(api_version, kind, None)).raise_for_status()
        return [item["metadata"]["name"] for item in response.json()["items"]]

    def apply(self, manifest: Manifest, *, manager: str, force: bool) -> None:
        """Apply on the server as `manager`; without `force`, raise ConflictError for fields others own."""
        response = self._http.patch(
            _path(manifest),
            params={"fieldManager": manager, "force": str(force).lower()},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=json.dumps(manifest),
        )
        if response.status_code == HTTPStatus.CONFLICT:
            causes = response.json().get("details", {}).get("causes", [])
            raise ConflictError(manifest, [cause["field"] for cause in causes])
        _raise_with_reason(response)

    def apply_status(self, manifest: Manifest, *, manager: str) -> None:
        """Apply the status of an object."""
        response = self._http.patch(
            f"{_path(manifest)}/status",
            params={"fieldManager": manager, "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=json.dumps(manifest),
        )
        _raise_with_reason(response)

    def delete(self, manifest: Manifest) -> None:
        """Delete an object if it is there."""
        response = self._http.delete(_path(manifest))
        if response.status_code != HTTPStatus.NOT_FOUND:
            _raise_with_reason(response)

    def watch(self, path: str) -> Iterator[str]:
        """Yield the events of a collection, each a JSON text, those of what is there already first."""
        with self._http.stream("GET", path, params={"watch": "true"}, timeout=None) as response:
            response.raise_for_status()
            yield from response.iter_lines()

    def delete_all_in(self, namespace: str) -> None:
        """Delete every object of a namespace, whatever its kind."""
        groups = self._http.get("/apis").raise_for_status().json()["groups"]
        roots = ["/api/v1", *(f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups)]
        for root in roots:
            for resource in self._http.get(root).raise_for_status().json()["resources"]:
                if resource["namespaced"] and "deletecollection" in resource["verbs"]:
                    _raise_with_reason(self._http.delete(f"{root}/namespaces/{namespace}/{resource['name']}"))
        # Services are the one core kind that cannot be deleted together.
        services = self._http.get(f"/api/v1/namespaces/{namespace}/services").raise_for_status().json()["items"]
        for service in services:
            self._http.delete(f"/api/v1/namespaces/{namespace}/services/{service['metadata']['name']}")

    def finalize_namespace(self, namespace: Manifest) -> None:
        """Let a namespace go, whose finalizers were taken out of `namespace`."""
        response = self._http.put(f"/api/v1/namespaces/{namespace['metadata']['name']}/finalize", json=namespace)
        if response.status_code not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
            _raise_with_reason(response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _raise_with_reason(response: httpx.Response) -> None:
    """Raise with what the API server says, which httpx's own message leaves out."""
    if response.is_error:
        raise httpx.HTTPStatusError(
            f"{response.request.method} {response.request.url.path}: {response.text}",
            request=response.request,
            response=response,
        )
