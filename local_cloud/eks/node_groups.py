"""Managed node groups: real records, instances in the EC2 stand-in, and Node objects that say they are nobody."""

import uuid
from collections.abc import Mapping
from typing import Any

from local_cloud.cluster_objects import node
from local_cloud.eks.access import add_entry
from local_cloud.eks.api import Call, operation
from local_cloud.eks.errors import InUseError, InvalidParameterError, InvalidRequestError, NotFoundError
from local_cloud.eks.registry import Cluster, Document, Eks, NodeGroup, now, page

_DEFAULT_IMAGE = "AL2023_x86_64_STANDARD"


def _find(cluster: Cluster, name: str) -> NodeGroup:
    found = cluster.node_groups.get(name)
    if found is None:
        raise NotFoundError(f"No node group found for name: {name}.", clusterName=cluster.name, nodegroupName=name)
    return found


def _check_scaling(scaling: dict[str, int]) -> None:
    low, wanted, high = scaling["minSize"], scaling["desiredSize"], scaling["maxSize"]
    if low > high:
        raise InvalidParameterError(f"Minimum capacity {low} can't be greater than maximum size {high}")
    if wanted < low:
        raise InvalidParameterError(f"Minimum capacity {low} can't be greater than desired size {wanted}")
    if wanted > high:
        raise InvalidParameterError(f"desired capacity {wanted} can't be greater than max size {high}")


def _check_request(eks: Eks, cluster: Cluster, request: Mapping[str, Any]) -> None:
    """Refuse a role, subnets, instance types or a launch template that the service refuses."""
    name = request["nodegroupName"]
    if not eks.neighbours.role_exists(request["nodeRole"]):
        raise InvalidParameterError(
            f"The role with name {request['nodeRole'].rpartition('/')[2]} cannot be found.",
            clusterName=cluster.name,
            nodegroupName=name,
        )
    vpc_id = eks.neighbours.vpc_of(cluster.region, request["subnets"])
    if vpc_id != cluster.document["resourcesVpcConfig"]["vpcId"]:
        raise InvalidParameterError(
            f"The following supplied subnets do not belong to the VPC of the cluster: {', '.join(request['subnets'])}",
            clusterName=cluster.name,
            nodegroupName=name,
        )
    _check_instance_types(eks, cluster, request)
    template = request.get("launchTemplate")
    if template and request.get("diskSize"):
        raise InvalidParameterError("Disk size must be specified within the launch template.")
    if template and request.get("remoteAccess"):
        raise InvalidParameterError("Remote access configuration cannot be specified with a launch template.")


def _check_instance_types(eks: Eks, cluster: Cluster, request: Mapping[str, Any]) -> None:
    image = request.get("amiType", _DEFAULT_IMAGE)
    architecture = "arm64" if "ARM_64" in image else "x86_64"
    known = {each: eks.neighbours.architectures(each) for each in request.get("instanceTypes", [])}
    absent = [each for each, architectures in known.items() if not architectures]
    wrong = [each for each, architectures in known.items() if architecture not in architectures]
    named = {"clusterName": cluster.name, "nodegroupName": request["nodegroupName"]}
    if absent:
        raise InvalidParameterError(
            f"The following supplied instance types do not exist: [{', '.join(absent)}]", **named
        )
    if wrong and image != "CUSTOM":
        raise InvalidParameterError(
            f"[{', '.join(wrong)}] is not a valid instance type for requested amiType {image}", **named
        )


@operation
def create_nodegroup(eks: Eks, call: Call) -> Document:
    """Create a managed node group."""
    request = call.request
    with eks.lock:
        cluster = eks.cluster(call.region, request["clusterName"])
        name = request["nodegroupName"]
        if name in cluster.node_groups:
            raise InUseError(
                f"NodeGroup already exists with name {name} and cluster name {cluster.name}",
                clusterName=cluster.name,
                nodegroupName=name,
            )
        if cluster.document["status"] != "ACTIVE":
            raise InvalidRequestError(f"Cluster '{cluster.name}' is not in ACTIVE status", clusterName=cluster.name)
        _check_request(eks, cluster, request)
        template = request.get("launchTemplate")
        scaling = {"minSize": 1, "maxSize": 2, "desiredSize": 2, **request.get("scalingConfig", {})}
        _check_scaling(scaling)
        version = request.get("version", cluster.document["version"])
        if version != cluster.document["version"]:
            raise InvalidParameterError(
                f"Requested Nodegroup version {version} does not match the cluster's {cluster.document['version']}; "
                "the local cloud makes node groups at the version of their cluster only.",
                clusterName=cluster.name,
                nodegroupName=name,
            )
        group_id = str(uuid.uuid4())
        document: Document = {
            "nodegroupName": name,
            "nodegroupArn": cluster.arn("nodegroup", name, group_id),
            "clusterName": cluster.name,
            "version": version,
            # The real release version names an AMI build; no AMI was built here.
            "releaseVersion": request.get("releaseVersion", f"{version}.0-local-cloud"),
            "createdAt": now(),
            "modifiedAt": now(),
            "status": "CREATING",
            "capacityType": request.get("capacityType", "ON_DEMAND"),
            "scalingConfig": scaling,
            "subnets": list(request["subnets"]),
            "amiType": request.get("amiType", _DEFAULT_IMAGE),
            "nodeRole": request["nodeRole"],
            "labels": dict(request.get("labels", {})),
            "taints": list(request.get("taints", [])),
            "resources": {"autoScalingGroups": [{"name": f"eks-{name}-{group_id}"}]},
            "health": {"issues": []},
            "updateConfig": dict(request.get("updateConfig", {"maxUnavailable": 1})),
            "tags": dict(request.get("tags", {})),
        }
        if template:
            document["launchTemplate"] = dict(template)
        else:
            document["diskSize"] = request.get("diskSize", 20)
        if request.get("instanceTypes") or not template:
            document["instanceTypes"] = list(request.get("instanceTypes", ["t3.medium"]))
        if "nodeRepairConfig" in request:
            document["nodeRepairConfig"] = dict(request["nodeRepairConfig"])
        group = NodeGroup(document)
        cluster.node_groups[name] = group
        manages_entries = cluster.document["accessConfig"]["authenticationMode"] != "CONFIG_MAP"
        if manages_entries and request["nodeRole"] not in cluster.access_entries:
            add_entry(cluster, request["nodeRole"], {"type": "EC2_LINUX"})
        answer = {"nodegroup": dict(document)}
        cluster.later(lambda: _settle(eks, cluster, group, None), lambda message: _fail(group, message))
        return answer


def _settle(eks: Eks, cluster: Cluster, group: NodeGroup, update: Document | None) -> None:
    """Make instances and Node objects as many as desired."""
    wanted = group.document["scalingConfig"]["desiredSize"]
    missing = wanted - len(group.instances)
    if missing > 0:
        security_group = cluster.document["resourcesVpcConfig"]["clusterSecurityGroupId"]
        group.instances += eks.neighbours.launch_nodes(
            cluster.region, cluster.name, group.document, missing, security_group
        )
    _terminate(eks, cluster, group, wanted)
    for instance in group.instances:
        manifest = node(instance, group.document)
        cluster.kubernetes.apply(manifest, manager="eks", force=True)
        cluster.kubernetes.apply_status(manifest, manager="eks")
    with eks.lock:
        group.document.update(status="ACTIVE", modifiedAt=now())
        if update:
            update["status"] = "Successful"


def _terminate(eks: Eks, cluster: Cluster, group: NodeGroup, keep: int) -> None:
    gone, group.instances = group.instances[keep:], group.instances[:keep]
    for instance in gone:
        cluster.kubernetes.delete(node(instance, group.document))
    eks.neighbours.terminate_nodes(cluster.region, [instance.instance_id for instance in gone])


def _fail(group: NodeGroup, message: str) -> None:
    issue = {"code": "InternalFailure", "message": message, "resourceIds": []}
    group.document.update(status="CREATE_FAILED", health={"issues": [issue]})


@operation
def describe_nodegroup(eks: Eks, call: Call) -> Document:
    """Describe a node group."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        return {"nodegroup": dict(_find(cluster, call.request["nodegroupName"]).document)}


@operation
def list_nodegroups(eks: Eks, call: Call) -> Document:
    """List the node groups of a cluster."""
    with eks.lock:
        return page(eks.cluster(call.region, call.request["clusterName"]).node_groups, call.request, "nodegroups")


@operation
def delete_nodegroup(eks: Eks, call: Call) -> Document:
    """Delete a node group with its instances and Node objects."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        group = _find(cluster, call.request["nodegroupName"])
        group.document["status"] = "DELETING"
        answer = {"nodegroup": dict(group.document)}

        def done() -> None:
            _terminate(eks, cluster, group, 0)
            with eks.lock:
                del cluster.node_groups[group.document["nodegroupName"]]
                role = group.document["nodeRole"]
                if all(other.document["nodeRole"] != role for other in cluster.node_groups.values()):
                    cluster.access_entries.pop(role, None)

        cluster.later(done, lambda message: _fail(group, message))
        return answer


def _update(eks: Eks, cluster: Cluster, group: NodeGroup, kind: str, params: dict[str, Any]) -> Document:
    group.document["status"] = "UPDATING"
    update = cluster.record_update(kind, params, nodegroupName=group.document["nodegroupName"])
    answer = {"update": dict(update)}
    cluster.later(lambda: _settle(eks, cluster, group, update), lambda message: _fail(group, message))
    return answer


@operation
def update_nodegroup_config(eks: Eks, call: Call) -> Document:
    """Change a node group's size, labels, taints or update settings."""
    request = call.request
    with eks.lock:
        cluster = eks.cluster(call.region, request["clusterName"])
        group = _find(cluster, request["nodegroupName"])
        document = group.document
        params: dict[str, Any] = {}
        if "scalingConfig" in request:
            scaling = {**document["scalingConfig"], **request["scalingConfig"]}
            _check_scaling(scaling)
            document["scalingConfig"] = scaling
            params |= {key[0].upper() + key[1:]: value for key, value in request["scalingConfig"].items()}
        labels = request.get("labels", {})
        document["labels"].update(labels.get("addOrUpdateLabels", {}))
        for key in labels.get("removeLabels", []):
            document["labels"].pop(key, None)
        taints = request.get("taints", {})
        changed = [*taints.get("addOrUpdateTaints", []), *taints.get("removeTaints", [])]
        kept = [
            taint
            for taint in document["taints"]
            if not any(taint["key"] == other["key"] and taint["effect"] == other["effect"] for other in changed)
        ]
        document["taints"] = [*kept, *taints.get("addOrUpdateTaints", [])]
        for key in ("updateConfig", "nodeRepairConfig"):
            if key in request:
                document[key] = dict(request[key])
        return _update(eks, cluster, group, "ConfigUpdate", params)


@operation
def update_nodegroup_version(eks: Eks, call: Call) -> Document:
    """Bring a node group to its cluster's version or to another launch template version."""
    request = call.request
    with eks.lock:
        cluster = eks.cluster(call.region, request["clusterName"])
        group = _find(cluster, request["nodegroupName"])
        version = request.get("version", cluster.document["version"])
        if version != cluster.document["version"]:
            raise InvalidParameterError(
                f"The local cloud brings node groups to the version of their cluster only, "
                f"{cluster.document['version']}, not to {version}.",
                clusterName=cluster.name,
                nodegroupName=group.document["nodegroupName"],
            )
        release = request.get("releaseVersion", f"{version}.0-local-cloud")
        group.document.update(version=version, releaseVersion=release)
        if "launchTemplate" in request:
            group.document["launchTemplate"] = {**group.document.get("launchTemplate", {}), **request["launchTemplate"]}
        params = {"Version": version, "ReleaseVersion": release}
        return _update(eks, cluster, group, "VersionUpdate", params)
