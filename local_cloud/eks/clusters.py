"""Clusters, their updates and their tags."""

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from local_cloud.cluster_objects import initial_objects, self_managed_add_on_objects
from local_cloud.control_plane import ApiServerSettings
from local_cloud.eks import catalogue
from local_cloud.eks.access import admit_creator, apply_access_roles
from local_cloud.eks.add_ons import FIELD_MANAGER
from local_cloud.eks.api import Call, operation
from local_cloud.eks.errors import InUseError, InvalidParameterError, InvalidRequestError, NotFoundError
from local_cloud.eks.registry import ACCOUNT, Cluster, Document, Eks, now, page, random_hex

# The self-managed add-ons of a new cluster come from a client-side apply: that is the manager with which
# the managed add-ons meet their conflicts (hashicorp/terraform-provider-aws#20440).
_SELF_MANAGED = "kubectl-client-side-apply"

_LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_SERVICE_CIDR_SIZES = range(12, 25)  # CreateCluster: between /24 and /12


def default_service_cidr(vpc_cidrs: list[str]) -> str:
    """Return the service CIDR EKS chooses: the one of its two that does not meet the VPC."""
    vpc = [ipaddress.ip_network(cidr) for cidr in vpc_cidrs]
    first = ipaddress.ip_network("10.100.0.0/16")
    # By the heuristic that EKS's own AMIs used: any VPC within 10.0.0.0/8 gets the other one.
    ten = ipaddress.ip_network("10.0.0.0/8")
    return "172.20.0.0/16" if any(network.overlaps(ten) for network in vpc) else str(first)


def _service_cidr(requested: str | None, vpc_cidrs: list[str], cluster: str) -> str:
    if requested is None:
        return default_service_cidr(vpc_cidrs)
    try:
        network = ipaddress.IPv4Network(requested)
    except ValueError as error:
        raise InvalidParameterError(
            f"The specified serviceIpv4Cidr {requested} is not a valid CIDR.", clusterName=cluster
        ) from error
    if network.prefixlen not in _SERVICE_CIDR_SIZES or not network.is_private:
        raise InvalidParameterError(
            "serviceIpv4Cidr must be between /24 and /12 and within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, "
            f"and {requested} is not.",
            clusterName=cluster,
        )
    for cidr in vpc_cidrs:
        if network.overlaps(ipaddress.ip_network(cidr)):
            raise InvalidParameterError(
                f"serviceIpv4Cidr {requested} overlaps with the CIDR {cidr} of the VPC.", clusterName=cluster
            )
    return requested


def _logging(requested: Mapping[str, Any] | None) -> Document:
    enabled = {
        kind
        for setup in (requested or {}).get("clusterLogging", [])
        if setup.get("enabled")
        for kind in setup.get("types", [])
    }
    groups = [([kind for kind in _LOG_TYPES if (kind in enabled) is on], on) for on in (True, False)]
    return {"clusterLogging": [{"types": types, "enabled": on} for types, on in groups if types]}


def _log_enabled(logging: Document) -> bool:
    return any(setup["enabled"] for setup in logging["clusterLogging"])


def _network(eks: Eks, call: Call) -> tuple[list[str], str, str]:
    """Return the subnets, the VPC and the service CIDR of a new cluster, or refuse them."""
    request, name = call.request, call.request["name"]
    vpc = request["resourcesVpcConfig"]
    subnets = list(vpc.get("subnetIds", []))
    if len(set(eks.neighbours.zones_of(call.region, subnets))) < 2:  # noqa: PLR2004  the API's rule
        raise InvalidParameterError("Subnets specified must be in at least two different AZs", clusterName=name)
    vpc_id = eks.neighbours.vpc_of(call.region, subnets)
    network = request.get("kubernetesNetworkConfig", {})
    if network.get("ipFamily", "ipv4") != "ipv4":
        raise InvalidParameterError("The local cloud has IPv4 clusters only.", clusterName=name)
    if not (vpc.get("endpointPublicAccess", True) or vpc.get("endpointPrivateAccess", False)):
        raise InvalidParameterError("Private and public endpoint access cannot be false", clusterName=name)
    service_cidr = _service_cidr(network.get("serviceIpv4Cidr"), eks.neighbours.vpc_cidrs(call.region, vpc_id), name)
    return subnets, vpc_id, service_cidr


@operation
def create_cluster(eks: Eks, call: Call) -> Document:
    """Create a cluster: its network interfaces at once, its API server after the response."""
    request = call.request
    name = request["name"]
    with eks.lock:
        if name in eks.clusters(call.region):
            raise InUseError(f"Cluster already exists with name: {name}", clusterName=name)
        if not re.fullmatch(r"[0-9A-Za-z][A-Za-z0-9\-_]{0,99}", name):
            raise InvalidParameterError(f"Invalid cluster name: {name}", clusterName=name)
        version = request.get("version", catalogue.DEFAULT_KUBERNETES_VERSION)
        if version not in catalogue.KUBERNETES_VERSIONS:
            raise InvalidParameterError(f"unsupported Kubernetes version {version}", clusterName=name)
        if not eks.neighbours.role_exists(request["roleArn"]):
            raise InvalidParameterError(
                f"Role with arn: {request['roleArn']}, could not be assumed because it does not exist or the trusted "
                "entity is not correct",
                clusterName=name,
            )
        vpc = request["resourcesVpcConfig"]
        subnets, vpc_id, service_cidr = _network(eks, call)
        access = request.get("accessConfig", {})
        if request.get("computeConfig", {}).get("enabled"):
            raise InvalidParameterError("The local cloud does not know EKS Auto Mode.", clusterName=name)
        issuer_id = random_hex(32)
        document: Document = {
            "name": name,
            "arn": f"arn:aws:eks:{call.region}:{ACCOUNT}:cluster/{name}",
            "createdAt": now(),
            "version": version,
            "roleArn": request["roleArn"],
            "resourcesVpcConfig": {
                "subnetIds": subnets,
                "securityGroupIds": list(vpc.get("securityGroupIds", [])),
                "vpcId": vpc_id,
                "endpointPublicAccess": vpc.get("endpointPublicAccess", True),
                "endpointPrivateAccess": vpc.get("endpointPrivateAccess", False),
                "publicAccessCidrs": list(vpc.get("publicAccessCidrs", ["0.0.0.0/0"])),
            },
            "kubernetesNetworkConfig": {
                "serviceIpv4Cidr": service_cidr,
                "ipFamily": "ipv4",
                "elasticLoadBalancing": {"enabled": False},
            },
            "logging": _logging(request.get("logging")),
            "identity": {"oidc": {"issuer": f"https://oidc.eks.{call.region}.amazonaws.com/id/{issuer_id}"}},
            "status": "CREATING",
            "certificateAuthority": {},
            "platformVersion": "eks.1",
            "tags": dict(request.get("tags", {})),
            "health": {"issues": []},
            "accessConfig": {"authenticationMode": access.get("authenticationMode", "CONFIG_MAP")},
            "upgradePolicy": dict(request.get("upgradePolicy", {"supportType": "EXTENDED"})),
            "zonalShiftConfig": dict(request.get("zonalShiftConfig", {"enabled": False})),
            "computeConfig": {"enabled": False},
            "storageConfig": {"blockStorage": {"enabled": False}},
            "deletionProtection": request.get("deletionProtection", False),
        }
        if request.get("encryptionConfig"):
            document["encryptionConfig"] = list(request["encryptionConfig"])
        cluster = Cluster(
            region=call.region,
            document=document,
            creator=call.caller,
            bootstrap_add_ons=request.get("bootstrapSelfManagedAddons", True),
            identifier=f"{call.region}-{name}-{issuer_id[:8].lower()}",
        )
        bootstrap_creator = access.get("bootstrapClusterCreatorAdminPermissions", True)
        document["accessConfig"]["bootstrapClusterCreatorAdminPermissions"] = bootstrap_creator
        document["resourcesVpcConfig"]["clusterSecurityGroupId"] = eks.neighbours.attach_control_plane(
            call.region, name, vpc_id, subnets
        )
        if _log_enabled(document["logging"]):
            eks.neighbours.open_log_group(call.region, name)
        if bootstrap_creator:
            admit_creator(cluster)
        eks.clusters(call.region)[name] = cluster
        _start(eks, cluster)
        return {"cluster": dict(document)}


def _start(eks: Eks, cluster: Cluster) -> None:
    """Bring the cluster's API server up and leave in it what EKS leaves in a new cluster."""

    def done() -> None:
        server = eks.start_api_server(
            ApiServerSettings(
                identifier=cluster.identifier,
                service_cidr=cluster.document["kubernetesNetworkConfig"]["serviceIpv4Cidr"],
                issuer=cluster.document["identity"]["oidc"]["issuer"],
                token_review_url=eks.token_review_url(cluster.region, cluster.name),
            )
        )
        cluster.api_server = server
        server.wait_until_ready()
        for manifest in initial_objects():
            server.client.apply(manifest, manager=FIELD_MANAGER, force=True)
        apply_access_roles(cluster)
        if cluster.bootstrap_add_ons:
            for manifest in self_managed_add_on_objects(cluster):
                server.client.apply(manifest, manager=_SELF_MANAGED, force=True)
        with eks.lock:
            cluster.document.update(
                status="ACTIVE",
                endpoint=server.endpoint,
                certificateAuthority={"data": base64.b64encode(server.certificate_authority).decode()},
            )
        eks.changed()

    def fail(message: str) -> None:
        issue = {"code": "InternalFailure", "message": message, "resourceIds": []}
        cluster.document.update(status="FAILED", health={"issues": [issue]})

    cluster.later(done, fail)


@operation
def describe_cluster(eks: Eks, call: Call) -> Document:
    """Describe a cluster."""
    with eks.lock:
        return {"cluster": dict(eks.cluster(call.region, call.request["name"]).document)}


@operation
def list_clusters(eks: Eks, call: Call) -> Document:
    """List the clusters of a region."""
    with eks.lock:
        return page(eks.clusters(call.region), call.request, "clusters")


@operation
def delete_cluster(eks: Eks, call: Call) -> Document:
    """Delete a cluster that has no node groups."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["name"])
        if cluster.node_groups:
            raise InUseError(
                "Cluster has nodegroups attached",
                clusterName=cluster.name,
                nodegroupName=",".join(sorted(cluster.node_groups)),
            )
        if cluster.document["status"] in {"CREATING", "UPDATING"}:
            raise InUseError(
                f"Cluster has status {cluster.document['status']} and cannot be deleted now", clusterName=cluster.name
            )
        if cluster.document["deletionProtection"]:
            raise InvalidRequestError(
                f"Cluster {cluster.name} has deletion protection enabled", clusterName=cluster.name
            )
        cluster.document["status"] = "DELETING"
        answer = {"cluster": dict(cluster.document)}

        def done() -> None:
            if cluster.api_server is not None:
                cluster.api_server.destroy()
            with eks.lock:
                group = cluster.document["resourcesVpcConfig"]["clusterSecurityGroupId"]
                eks.neighbours.detach_control_plane(cluster.region, cluster.name, group)
                del eks.clusters(cluster.region)[cluster.name]
            eks.changed()
            cluster.worker.shutdown(wait=False)

        def fail(message: str) -> None:
            cluster.document.update(status="FAILED", health={"issues": [{"code": "Other", "message": message}]})

        cluster.later(done, fail)
        return answer


def _finish(eks: Eks, cluster: Cluster, update: Document, change: Mapping[str, Any]) -> Document:
    """Pass through UPDATING and apply a change to the cluster's document after the response."""
    cluster.document["status"] = "UPDATING"
    answer = {"update": dict(update)}

    def done() -> None:
        with eks.lock:
            cluster.document.update(change)
            cluster.document["status"] = "ACTIVE"
            update["status"] = "Successful"

    cluster.later(done, lambda _message: None)
    return answer


def _active(cluster: Cluster) -> None:
    if cluster.document["status"] != "ACTIVE":
        raise InUseError(
            f"Cluster '{cluster.name}' is not in ACTIVE status: {cluster.document['status']}", clusterName=cluster.name
        )


@operation
def update_cluster_version(eks: Eks, call: Call) -> Document:
    """Raise the Kubernetes version by one minor version; the API server itself stays what it is."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["name"])
        _active(cluster)
        current, wanted = cluster.document["version"], call.request.get("version", "")
        if wanted not in catalogue.KUBERNETES_VERSIONS:
            raise InvalidParameterError(f"unsupported Kubernetes version {wanted}", clusterName=cluster.name)
        if catalogue.number(wanted)[1] != catalogue.number(current)[1] + 1:
            raise InvalidParameterError(
                f"Unsupported Kubernetes minor version update from {current} to {wanted}", clusterName=cluster.name
            )
        update = cluster.record_update("VersionUpdate", {"Version": wanted, "PlatformVersion": "eks.1"})
        return _finish(eks, cluster, update, {"version": wanted})


@operation
def update_cluster_config(eks: Eks, call: Call) -> Document:
    """Change one kind of configuration; the service takes one kind a request."""
    request = call.request
    with eks.lock:
        cluster = eks.cluster(call.region, request["name"])
        _active(cluster)
        document = cluster.document
        change: Document
        if "resourcesVpcConfig" in request:
            vpc = {**document["resourcesVpcConfig"], **request["resourcesVpcConfig"]}
            if not (vpc["endpointPublicAccess"] or vpc["endpointPrivateAccess"]):
                raise InvalidParameterError(
                    "Private and public endpoint access cannot be false", clusterName=cluster.name
                )
            moved = {"subnetIds", "securityGroupIds"} & set(request["resourcesVpcConfig"])
            _check_zones(eks, cluster, vpc["subnetIds"])
            kind = "VpcConfigUpdate" if moved else "EndpointAccessUpdate"
            params = {key[0].upper() + key[1:]: value for key, value in request["resourcesVpcConfig"].items()}
            change = {"resourcesVpcConfig": vpc}
        elif "logging" in request:
            logging = _merged_logging(document["logging"], request["logging"])
            if _log_enabled(logging):
                eks.neighbours.open_log_group(call.region, cluster.name)
            kind, params, change = "LoggingUpdate", {"ClusterLogging": request["logging"]}, {"logging": logging}
        elif "accessConfig" in request:
            kind, change = "AccessConfigUpdate", _access_change(cluster, request["accessConfig"])
            params = {"AuthenticationMode": change["accessConfig"]["authenticationMode"]}
        elif "deletionProtection" in request:
            kind, params = "DeletionProtectionUpdate", {"DeletionProtection": request["deletionProtection"]}
            change = {"deletionProtection": request["deletionProtection"]}
        elif "upgradePolicy" in request:
            kind, params = "UpgradePolicyUpdate", {"UpgradePolicy": request["upgradePolicy"]}
            change = {"upgradePolicy": request["upgradePolicy"]}
        else:
            raise InvalidParameterError(
                "The local cloud can update resourcesVpcConfig, logging, accessConfig, deletionProtection and "
                "upgradePolicy of a cluster, and the request names none of them.",
                clusterName=cluster.name,
            )
        if all(document.get(key) == value for key, value in change.items()):
            raise InvalidParameterError("Cluster is already at the desired configuration", clusterName=cluster.name)
        return _finish(eks, cluster, cluster.record_update(kind, params), change)


def _check_zones(eks: Eks, cluster: Cluster, subnets: list[str]) -> None:
    """Refuse subnets of other zones than the control plane has had from the start, and of another VPC."""
    fixed = cluster.document["resourcesVpcConfig"]
    if eks.neighbours.vpc_of(cluster.region, subnets) != fixed["vpcId"]:
        raise InvalidParameterError(f"Subnets must be in VPC {fixed['vpcId']}", clusterName=cluster.name)
    wanted, given = (
        ",".join(sorted(set(eks.neighbours.zones_of(cluster.region, each)))) for each in (fixed["subnetIds"], subnets)
    )
    if given != wanted:
        raise InvalidParameterError(
            f"Provided subnets belong to the AZs '{given}'. But they should belong to the exact set of AZs '{wanted}' "
            "in which subnets were provided during cluster creation.",
            clusterName=cluster.name,
        )


def _merged_logging(current: Document, requested: Mapping[str, Any]) -> Document:
    enabled = {kind for setup in current["clusterLogging"] if setup["enabled"] for kind in setup["types"]}
    for setup in requested.get("clusterLogging", []):
        kinds = set(setup.get("types", []))
        enabled = enabled | kinds if setup.get("enabled") else enabled - kinds
    return _logging({"clusterLogging": [{"types": list(enabled), "enabled": True}]})


def _access_change(cluster: Cluster, requested: Mapping[str, Any]) -> Document:
    order = ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]
    access = cluster.document["accessConfig"]
    wanted = requested.get("authenticationMode", access["authenticationMode"])
    if order.index(wanted) < order.index(access["authenticationMode"]):
        raise InvalidParameterError(
            f"Unsupported authentication mode update from {access['authenticationMode']} to {wanted}",
            clusterName=cluster.name,
        )
    return {"accessConfig": {**access, "authenticationMode": wanted}}


@operation
def describe_cluster_versions(_eks: Eks, call: Call) -> Document:
    """Describe the Kubernetes versions a cluster can have."""
    wanted = call.request.get("clusterVersions") or catalogue.KUBERNETES_VERSIONS
    return {
        "clusterVersions": [
            {
                "clusterVersion": version,
                "clusterType": "eks",
                "defaultPlatformVersion": "eks.1",
                "defaultVersion": version == catalogue.DEFAULT_KUBERNETES_VERSION,
                "status": "STANDARD_SUPPORT",
                "versionStatus": "STANDARD_SUPPORT",
            }
            for version in reversed(catalogue.KUBERNETES_VERSIONS)
            if version in wanted
        ]
    }


@operation
def describe_update(eks: Eks, call: Call) -> Document:
    """Describe an update."""
    with eks.lock:
        found = eks.cluster(call.region, call.request["name"]).updates.get(call.request["updateId"])
        if found is None:
            raise NotFoundError(f"No update found for ID: {call.request['updateId']}")
        return {"update": dict(found["update"])}


@operation
def list_updates(eks: Eks, call: Call) -> Document:
    """List the updates of a cluster, or of one of its add-ons or node groups."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["name"])
        ids = [
            update_id
            for update_id, entry in cluster.updates.items()
            if all(entry.get(key) == call.request.get(key) for key in ("addonName", "nodegroupName"))
        ]
        return page(ids, call.request, "updateIds")


def _tags_of(eks: Eks, region: str, arn: str) -> dict[str, str]:
    for cluster in eks.clusters(region).values():
        documents = [
            (cluster.document["arn"], cluster.document),
            *((add_on["addonArn"], add_on) for add_on in cluster.add_ons.values()),
            *((group.document["nodegroupArn"], group.document) for group in cluster.node_groups.values()),
            *((entry.document["accessEntryArn"], entry.document) for entry in cluster.access_entries.values()),
            *((identity["associationArn"], identity) for identity in cluster.pod_identities.values()),
        ]
        for own_arn, document in documents:
            if own_arn == arn:
                return document.setdefault("tags", {})
    raise NotFoundError("Resource was not found", resourceArn=arn)


@operation
def tag_resource(eks: Eks, call: Call) -> Document:
    """Set tags."""
    with eks.lock:
        _tags_of(eks, call.region, call.request["resourceArn"]).update(call.request["tags"])
        return {}


@operation
def untag_resource(eks: Eks, call: Call) -> Document:
    """Remove tags."""
    with eks.lock:
        tags = _tags_of(eks, call.region, call.request["resourceArn"])
        for key in call.request["tagKeys"]:
            tags.pop(key, None)
        return {}


@operation
def list_tags_for_resource(eks: Eks, call: Call) -> Document:
    """Return tags."""
    with eks.lock:
        return {"tags": dict(_tags_of(eks, call.region, call.request["resourceArn"]))}
