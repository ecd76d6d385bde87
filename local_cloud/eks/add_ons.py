"""Add-ons: CREATING, ACTIVE, UPDATING, DEGRADED, DELETING, and what each leaves in the cluster."""

import json
import re
import uuid
from typing import Any

from local_cloud.cluster_objects import add_on_objects
from local_cloud.eks import catalogue, configuration
from local_cloud.eks.api import Call, operation
from local_cloud.eks.errors import InUseError, InvalidParameterError, InvalidRequestError, NotFoundError
from local_cloud.eks.registry import Cluster, Document, Eks, now, page
from local_cloud.kubernetes_client import ConflictError, Manifest

FIELD_MANAGER = "eks"
"""The field manager by which EKS applies its add-ons on the server."""

_CONFLICT = "Conflicts found when trying to apply. Will not continue due to resolve conflicts mode. Conflicts:\n"


def _ready_nodes(cluster: Cluster) -> bool:
    return any(
        group.document["status"] == "ACTIVE" and group.document["scalingConfig"]["desiredSize"] > 0
        for group in cluster.node_groups.values()
    )


def _shown(cluster: Cluster, add_on: Document) -> Document:
    """Return an add-on with the health it has now: CoreDNS is a Deployment and needs nodes, the others do not."""
    if add_on["addonName"] == "coredns" and add_on["status"] == "ACTIVE" and not _ready_nodes(cluster):
        issue = {
            "code": "InsufficientNumberOfReplicas",
            "message": "The add-on is unhealthy because it doesn't have the desired number of replicas.",
            "resourceIds": ["coredns"],
        }
        return {**add_on, "status": "DEGRADED", "health": {"issues": [issue]}}
    return add_on


def _find(cluster: Cluster, name: str) -> Document:
    found = cluster.add_ons.get(name)
    if found is None:
        raise NotFoundError(
            f"No addon: {name} found in cluster: {cluster.name}", clusterName=cluster.name, addonName=name
        )
    return found


def _kind(manifest: Manifest) -> str:
    group, _, _version = manifest["apiVersion"].rpartition("/")
    return f"{manifest['kind']}.{group}" if group else manifest["kind"]


def _apply(cluster: Cluster, add_on: Document, resolve: str) -> None:
    """Apply an add-on's objects; under NONE meet every conflict first, so that nothing is half changed."""
    values = configuration.parse(add_on["addonName"], add_on["addonVersion"], add_on.get("configurationValues"))
    manifests = add_on_objects(cluster, add_on["addonName"], add_on["addonVersion"], values)
    conflicts: list[str] = []
    for manifest in manifests:
        try:
            cluster.kubernetes.apply(manifest, manager=FIELD_MANAGER, force=resolve == "OVERWRITE")
        except ConflictError as error:
            if resolve == "PRESERVE":
                kept = without_fields(manifest, error.fields)
                cluster.kubernetes.apply(kept, manager=FIELD_MANAGER, force=True)
            else:
                name = manifest["metadata"]["name"]
                conflicts += [f"{_kind(manifest)} {name} - {path}" for path in error.fields]
    if conflicts:
        raise _ConfigurationConflictError(_CONFLICT + "\n".join(conflicts))


class _ConfigurationConflictError(Exception):
    """Fields that EKS would change belong to somebody else, and the request said to leave them."""


def without_fields(manifest: Manifest, paths: list[str]) -> dict[str, Any]:
    """Return a manifest without the fields that server-side apply names, e.g. `.spec.a[name="b"].value`."""
    remaining = json.loads(json.dumps(manifest))
    for path in paths:
        steps = re.findall(r'\.([A-Za-z0-9_\-/]+)|\[(\w+)="((?:[^"\\]|\\.)*)"\]', path)
        _remove(remaining, steps)
    return remaining


def _remove(node: object, steps: list[tuple[str, str, str]]) -> None:
    (name, key, value), *rest = steps
    if isinstance(node, list):
        matching = [item for item in node if isinstance(item, dict) and str(item.get(key)) == value]
        for item in matching:
            if rest:
                _remove(item, rest)
            else:
                node.remove(item)
    elif isinstance(node, dict) and name in node:
        if rest:
            _remove(node[name], rest)
        else:
            del node[name]


def _start(eks: Eks, cluster: Cluster, add_on: Document, resolve: str, failed: str, update: Document | None) -> None:
    """Carry out a creation or an update after the response."""

    def done() -> None:
        _apply(cluster, add_on, resolve)
        with eks.lock:
            add_on.update(status="ACTIVE", health={"issues": []}, modifiedAt=now())
            if update:
                update["status"] = "Successful"

    def fail(message: str) -> None:
        conflict = message.startswith(_CONFLICT)
        code = "ConfigurationConflict" if conflict else "InternalFailure"
        with eks.lock:
            add_on["health"] = {"issues": [{"code": code, "message": message, "resourceIds": []}]}
            add_on.update(status=failed, modifiedAt=now())
            if update:
                error_code = code if conflict else "Unknown"
                update["status"] = "Failed"
                update["errors"] = [{"errorCode": error_code, "errorMessage": message, "resourceIds": []}]

    cluster.later(done, fail)


def _settled(add_on: Document) -> None:
    if add_on["status"] in {"CREATING", "UPDATING", "DELETING"}:
        raise InUseError(
            f"Addon {add_on['addonName']} cannot be changed as it is currently in {add_on['status']} state",
            clusterName=add_on["clusterName"],
            addonName=add_on["addonName"],
        )


@operation
def create_addon(eks: Eks, call: Call) -> Document:
    """Create an add-on."""
    request = call.request
    with eks.lock:
        cluster = eks.cluster(call.region, request["clusterName"])
        name = request["addonName"]
        kubernetes = cluster.document["version"]
        catalogue.offers(name)
        if name in cluster.add_ons:
            raise InUseError("Addon already exists.", clusterName=cluster.name, addonName=name)
        if cluster.document["status"] not in {"ACTIVE", "UPDATING"}:
            raise InvalidRequestError(
                f"Cluster '{cluster.name}' is not in ACTIVE status", clusterName=cluster.name, addonName=name
            )
        resolve = request.get("resolveConflicts", "NONE")
        if resolve == "PRESERVE":
            raise InvalidParameterError(
                "Resolve conflicts option preserve is not supported for operation CreateAddon",
                clusterName=cluster.name,
                addonName=name,
            )
        version = request.get("addonVersion") or catalogue.default_version(name, kubernetes)
        catalogue.check_version(name, version, kubernetes)
        configuration.parse(name, version, request.get("configurationValues"))
        add_on: Document = {
            "addonName": name,
            "clusterName": cluster.name,
            "status": "CREATING",
            "addonVersion": version,
            "health": {"issues": []},
            "addonArn": cluster.arn("addon", name, str(uuid.uuid4())),
            "createdAt": now(),
            "modifiedAt": now(),
            "tags": dict(request.get("tags", {})),
        }
        for optional in ("configurationValues", "serviceAccountRoleArn"):
            if request.get(optional):
                add_on[optional] = request[optional]
        cluster.add_ons[name] = add_on
        answer = {"addon": dict(add_on)}
        _start(eks, cluster, add_on, resolve, "CREATE_FAILED", None)
        return answer


@operation
def describe_addon(eks: Eks, call: Call) -> Document:
    """Describe an add-on."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        return {"addon": dict(_shown(cluster, _find(cluster, call.request["addonName"])))}


@operation
def list_addons(eks: Eks, call: Call) -> Document:
    """List the add-ons of a cluster."""
    with eks.lock:
        return page(eks.cluster(call.region, call.request["clusterName"]).add_ons, call.request, "addons")


@operation
def update_addon(eks: Eks, call: Call) -> Document:
    """Change an add-on's version or configuration; what the request leaves out stays."""
    request = call.request
    with eks.lock:
        cluster = eks.cluster(call.region, request["clusterName"])
        add_on = _find(cluster, request["addonName"])
        _settled(add_on)
        name = add_on["addonName"]
        version = request.get("addonVersion") or add_on["addonVersion"]
        catalogue.check_version(name, version, cluster.document["version"])
        values = request.get("configurationValues", add_on.get("configurationValues"))
        configuration.parse(name, version, values)
        resolve = request.get("resolveConflicts", "NONE")
        params = {
            parameter: request[key]
            for parameter, key in (
                ("AddonVersion", "addonVersion"),
                ("ServiceAccountRoleArn", "serviceAccountRoleArn"),
                ("ResolveConflicts", "resolveConflicts"),
                ("ConfigurationValues", "configurationValues"),
            )
            if key in request
        }
        update = cluster.record_update("AddonUpdate", params, addonName=name)
        add_on.update(addonVersion=version, status="UPDATING", modifiedAt=now())
        if values:
            add_on["configurationValues"] = values
        else:
            add_on.pop("configurationValues", None)
        if "serviceAccountRoleArn" in request:
            add_on["serviceAccountRoleArn"] = request["serviceAccountRoleArn"]
        answer = {"update": dict(update)}
        _start(eks, cluster, add_on, resolve, "UPDATE_FAILED", update)
        return answer


@operation
def delete_addon(eks: Eks, call: Call) -> Document:
    """Delete an add-on, and its objects unless they are to be preserved."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        add_on = _find(cluster, call.request["addonName"])
        _settled(add_on)
        add_on["status"] = "DELETING"
        answer = {"addon": dict(add_on)}
        preserve = bool(call.request.get("preserve"))

        def done() -> None:
            if not preserve:
                for manifest in reversed(add_on_objects(cluster, add_on["addonName"], add_on["addonVersion"], {})):
                    if manifest["kind"] != "CustomResourceDefinition":
                        cluster.kubernetes.delete(manifest)
            with eks.lock:
                del cluster.add_ons[add_on["addonName"]]

        def fail(message: str) -> None:
            issue = {"code": "InternalFailure", "message": message, "resourceIds": []}
            add_on.update(status="DELETE_FAILED", health={"issues": [issue]})

        cluster.later(done, fail)
        return answer


@operation
def describe_addon_versions(_eks: Eks, call: Call) -> Document:
    """Describe the catalogue."""
    request = call.request
    wanted = request.get("kubernetesVersion")
    if "addonName" in request:
        catalogue.offers(request["addonName"])
    add_ons: list[Document] = []
    for name, offers in catalogue.ADD_ONS.items():
        if request.get("addonName", name) != name:
            continue
        versions = [
            {
                "addonVersion": offer.version,
                "architecture": ["amd64", "arm64"],
                "computeTypes": ["ec2"],
                "compatibilities": [
                    {
                        "clusterVersion": kubernetes,
                        "platformVersions": ["*"],
                        "defaultVersion": catalogue.default_version(name, kubernetes) == offer.version,
                    }
                    for kubernetes in offer.kubernetes
                    if wanted in {None, kubernetes}
                ],
                "requiresConfiguration": False,
                "requiresIamPermissions": name == "vpc-cni",
            }
            for offer in offers
            if wanted is None or wanted in offer.kubernetes
        ]
        if versions:
            add_ons.append(
                {
                    "addonName": name,
                    "type": "networking",
                    "addonVersions": versions,
                    "publisher": "eks",
                    "owner": "aws",
                    "defaultNamespace": "kube-system",
                }
            )
    return {"addons": add_ons}


@operation
def describe_addon_configuration(_eks: Eks, call: Call) -> Document:
    """Describe the configuration schema of one version of an add-on."""
    name, version = call.request["addonName"], call.request["addonVersion"]
    catalogue.check_version(name, version)
    return {
        "addonName": name,
        "addonVersion": version,
        "configurationSchema": json.dumps(configuration.schema(name, version)),
    }
