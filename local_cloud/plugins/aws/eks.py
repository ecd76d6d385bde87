"""EKS: cluster, add-ons, node groups and access entries."""

from typing import Any

from botocore.exceptions import ClientError

from local_cloud.plugins.aws.resource_type import Clients, Properties, ResourceType, inputs, wait_until


def _ask(clients: Clients, operation: str, **names: Any) -> dict[str, Any] | None:  # noqa: ANN401  # boto3's arguments
    try:
        return dict(getattr(clients("eks"), operation)(**names))
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None
        raise


def _split(identity: str) -> tuple[str, str]:
    cluster, _, name = identity.partition(":")
    return cluster, name


def _retag(clients: Clients, _identity: str, old: Properties, new: Properties) -> None:
    before, after = old.get("tags") or {}, new.get("tags") or {}
    gone = [key for key in before if key not in after]
    if gone:
        clients("eks").untag_resource(resourceArn=old["arn"], tagKeys=gone)
    clients("eks").tag_resource(resourceArn=old["arn"], tags=after)


def _tags(found: dict[str, Any]) -> Properties:
    return {"tagsAll": found.get("tags") or {}}


# Clusters ------------------------------------------------------------------------------------------------------


def _find_cluster(clients: Clients, name: str) -> dict[str, Any] | None:
    found = _ask(clients, "describe_cluster", name=name)
    return found and found["cluster"]


def _vpc_config(config: Properties) -> dict[str, Any]:
    return {key: config[key] for key in config if config[key] is not None}


def _logging(types: list[str]) -> dict[str, Any]:
    every = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
    off = [each for each in every if each not in types]
    groups = [(types, True), (off, False)]
    return {"clusterLogging": [{"types": each, "enabled": enabled} for each, enabled in groups if each]}


def _create_cluster(clients: Clients, new: Properties, seconds: float) -> str:
    name = str(new["name"])
    access = new.get("accessConfig") or {}
    request: dict[str, Any] = {
        "name": name,
        "roleArn": new["roleArn"],
        "resourcesVpcConfig": _vpc_config(new["vpcConfig"]),
        "kubernetesNetworkConfig": {
            key: value
            for key, value in (new.get("kubernetesNetworkConfig") or {}).items()
            if key in {"serviceIpv4Cidr", "ipFamily"}
        },
        "logging": _logging(new.get("enabledClusterLogTypes") or []),
        "accessConfig": {
            "authenticationMode": access.get("authenticationMode", "CONFIG_MAP"),
            "bootstrapClusterCreatorAdminPermissions": access.get("bootstrapClusterCreatorAdminPermissions", True),
        },
        "bootstrapSelfManagedAddons": new.get("bootstrapSelfManagedAddons", True),
        "tags": new.get("tags") or {},
    }
    if "version" in new:
        request["version"] = new["version"]
    if new.get("encryptionConfig"):
        config = new["encryptionConfig"]
        request["encryptionConfig"] = [
            {"resources": config["resources"], "provider": {"keyArn": config["provider"]["keyArn"]}}
        ]
    clients("eks").create_cluster(**{key: value for key, value in request.items() if value not in ({}, None)})
    _cluster_is(clients, name, "ACTIVE", seconds)
    return name


def _cluster_is(clients: Clients, name: str, status: str, seconds: float) -> None:
    wait_until(
        lambda: (_find_cluster(clients, name) or {}).get("status") == status,
        seconds,
        f"cluster {name} becoming {status}",
    )


def _read_cluster(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _find_cluster(clients, identity)
    if found is None:
        return None
    network = found["kubernetesNetworkConfig"]
    vpc = found["resourcesVpcConfig"]
    access = found.get("accessConfig") or {}
    return {
        "arn": found["arn"],
        "name": found["name"],
        "version": found["version"],
        "endpoint": found["endpoint"],
        "status": found["status"],
        "roleArn": found["roleArn"],
        "platformVersion": found.get("platformVersion", ""),
        "certificateAuthority": {"data": found["certificateAuthority"]["data"]},
        "identities": [{"oidcs": [{"issuer": found["identity"]["oidc"]["issuer"]}]}],
        "kubernetesNetworkConfig": {
            "serviceIpv4Cidr": network["serviceIpv4Cidr"],
            "ipFamily": network.get("ipFamily", "ipv4"),
        },
        "vpcConfig": {
            "vpcId": vpc.get("vpcId", ""),
            "subnetIds": vpc.get("subnetIds", []),
            "clusterSecurityGroupId": vpc.get("clusterSecurityGroupId", ""),
            "endpointPrivateAccess": vpc.get("endpointPrivateAccess", False),
            "endpointPublicAccess": vpc.get("endpointPublicAccess", True),
            "publicAccessCidrs": vpc.get("publicAccessCidrs", []),
        },
        "accessConfig": {"authenticationMode": access.get("authenticationMode", "CONFIG_MAP")},
        **_tags(found),
    }


def _delete_cluster(clients: Clients, identity: str, _old: Properties, seconds: float) -> None:
    _ask(clients, "delete_cluster", name=identity)
    wait_until(lambda: _find_cluster(clients, identity) is None, seconds, f"cluster {identity} going away")


def _update_vpc_config(clients: Clients, identity: str, old: Properties, new: Properties) -> None:
    """Change endpoint access and subnets, in a request each, as the real provider does since 5.25."""
    before, after = old["vpcConfig"], new["vpcConfig"]
    for keys in (("endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs"), ("subnetIds",)):
        config = {key: after[key] for key in keys if after.get(key) is not None}
        if config != {key: before.get(key) for key in config}:
            clients("eks").update_cluster_config(name=identity, resourcesVpcConfig=config)
            _cluster_is(clients, identity, "ACTIVE", 1200)


def _update_logging(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    clients("eks").update_cluster_config(name=identity, logging=_logging(new.get("enabledClusterLogTypes") or []))
    _cluster_is(clients, identity, "ACTIVE", 1200)


def _update_version(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    clients("eks").update_cluster_version(name=identity, version=new["version"])
    _cluster_is(clients, identity, "ACTIVE", 3600)


# Add-ons -------------------------------------------------------------------------------------------------------

_ADDON_INPUTS = "addonVersion configurationValues serviceAccountRoleArn"


def _find_addon(clients: Clients, identity: str) -> dict[str, Any] | None:
    cluster, name = _split(identity)
    found = _ask(clients, "describe_addon", clusterName=cluster, addonName=name)
    return found and found["addon"]


def _addon_is_active(clients: Clients, identity: str, seconds: float) -> None:
    def done() -> bool:
        addon = _find_addon(clients, identity)
        if addon is None or addon["status"].endswith("_FAILED"):
            issues = (addon or {}).get("health", {}).get("issues", [])
            raise RuntimeError(f"add-on {identity} ended as {addon and addon['status']}: {issues}")
        return bool(addon["status"] == "ACTIVE")

    try:
        wait_until(done, seconds, f"add-on {identity} becoming ACTIVE")
    except TimeoutError as late:
        addon = _find_addon(clients, identity) or {}
        issues = "; ".join(f"{i.get('code')}: {i.get('message')}" for i in addon.get("health", {}).get("issues", []))
        raise TimeoutError(f"{late}; it is {addon.get('status')} ({issues})") from None


def _create_addon(clients: Clients, new: Properties, seconds: float) -> str:
    identity = f"{new['clusterName']}:{new['addonName']}"
    request = {key: new[key] for key in ("clusterName", "addonName", *_ADDON_INPUTS.split()) if key in new}
    if "resolveConflictsOnCreate" in new:
        request["resolveConflicts"] = new["resolveConflictsOnCreate"]
    clients("eks").create_addon(**request, tags=new.get("tags") or {})
    _addon_is_active(clients, identity, seconds)
    return identity


def _read_addon(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    found = _find_addon(clients, identity)
    return found and {
        "arn": found["addonArn"],
        "addonName": found["addonName"],
        "clusterName": found["clusterName"],
        "addonVersion": found["addonVersion"],
        "configurationValues": found.get("configurationValues", ""),
        "serviceAccountRoleArn": found.get("serviceAccountRoleArn", ""),
        **_tags(found),
    }


def _update_addon(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    cluster, name = _split(identity)
    request = {key: new[key] for key in _ADDON_INPUTS.split() if key in new}
    if "resolveConflictsOnUpdate" in new:
        request["resolveConflicts"] = new["resolveConflictsOnUpdate"]
    clients("eks").update_addon(clusterName=cluster, addonName=name, **request)
    _addon_is_active(clients, identity, 1200)


def _delete_addon(clients: Clients, identity: str, old: Properties, seconds: float) -> None:
    cluster, name = _split(identity)
    _ask(clients, "delete_addon", clusterName=cluster, addonName=name, preserve=bool(old.get("preserve")))
    wait_until(lambda: _find_addon(clients, identity) is None, seconds, f"add-on {identity} going away")


# Node groups ---------------------------------------------------------------------------------------------------


def _find_group(clients: Clients, identity: str) -> dict[str, Any] | None:
    cluster, name = _split(identity)
    found = _ask(clients, "describe_nodegroup", clusterName=cluster, nodegroupName=name)
    return found and found["nodegroup"]


def _group_is_active(clients: Clients, identity: str, seconds: float) -> None:
    wait_until(
        lambda: (_find_group(clients, identity) or {}).get("status") == "ACTIVE",
        seconds,
        f"node group {identity} becoming ACTIVE",
    )


def _create_group(clients: Clients, new: Properties, seconds: float) -> str:
    renamed = {"nodeRoleArn": "nodeRole", "subnetIds": "subnets", "nodeGroupName": "nodegroupName"}
    keys = "clusterName nodeGroupName nodeRoleArn subnetIds instanceTypes amiType capacityType labels version tags"
    request: dict[str, Any] = {renamed.get(key, key): new[key] for key in keys.split() if new.get(key)}
    scaling = new.get("scalingConfig")
    if scaling:
        request["scalingConfig"] = {key: int(value) for key, value in scaling.items()}
    if new.get("launchTemplate"):
        request["launchTemplate"] = {k: str(v) for k, v in new["launchTemplate"].items()}
    clients("eks").create_nodegroup(**request)
    identity = f"{new['clusterName']}:{new['nodeGroupName']}"
    _group_is_active(clients, identity, seconds)
    return identity


def _read_group(clients: Clients, identity: str, known: Properties) -> Properties | None:
    found = _find_group(clients, identity)
    return found and {
        "arn": found["nodegroupArn"],
        "clusterName": found["clusterName"],
        "nodeGroupName": found["nodegroupName"],
        "nodeRoleArn": found["nodeRole"],
        "subnetIds": found["subnets"],
        "status": found["status"],
        "version": found.get("version", ""),
        "scalingConfig": found["scalingConfig"],
        "instanceTypes": found.get("instanceTypes", []),
        "amiType": known.get("amiType") or found.get("amiType", ""),
        "capacityType": found.get("capacityType", "ON_DEMAND"),
        **_tags(found),
    }


def _update_group(clients: Clients, identity: str, old: Properties, new: Properties) -> None:
    cluster, name = _split(identity)
    before, after = old.get("labels") or {}, new.get("labels") or {}
    gone = [key for key in before if key not in after]
    clients("eks").update_nodegroup_config(
        clusterName=cluster,
        nodegroupName=name,
        scalingConfig={key: int(value) for key, value in new["scalingConfig"].items()},
        labels={"addOrUpdateLabels": after, "removeLabels": gone},
    )
    _group_is_active(clients, identity, 1200)


def _update_group_version(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    cluster, name = _split(identity)
    request: dict[str, Any] = {"clusterName": cluster, "nodegroupName": name}
    if "version" in new:
        request["version"] = new["version"]
    if new.get("launchTemplate"):
        request["launchTemplate"] = {k: str(v) for k, v in new["launchTemplate"].items()}
    clients("eks").update_nodegroup_version(**request)
    _group_is_active(clients, identity, 3600)


def _delete_group(clients: Clients, identity: str, _old: Properties, seconds: float) -> None:
    cluster, name = _split(identity)
    _ask(clients, "delete_nodegroup", clusterName=cluster, nodegroupName=name)
    wait_until(lambda: _find_group(clients, identity) is None, seconds, f"node group {identity} going away")


# Access --------------------------------------------------------------------------------------------------------


def _create_entry(clients: Clients, new: Properties, _seconds: float) -> str:
    clients("eks").create_access_entry(
        clusterName=new["clusterName"],
        principalArn=new["principalArn"],
        kubernetesGroups=new.get("kubernetesGroups") or [],
        tags=new.get("tags") or {},
    )
    return f"{new['clusterName']}:{new['principalArn']}"


def _read_entry(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    cluster, principal = _split(identity)
    found = _ask(clients, "describe_access_entry", clusterName=cluster, principalArn=principal)
    if found is None:
        return None
    entry = found["accessEntry"]
    return {
        "accessEntryArn": entry["accessEntryArn"],
        "arn": entry["accessEntryArn"],
        "clusterName": cluster,
        "principalArn": principal,
        "kubernetesGroups": entry.get("kubernetesGroups") or [],
        "type": entry.get("type", "STANDARD"),
        "userName": entry.get("username", ""),
        **_tags(entry),
    }


def _delete_entry(clients: Clients, identity: str, _old: Properties, _seconds: float) -> None:
    cluster, principal = _split(identity)
    _ask(clients, "delete_access_entry", clusterName=cluster, principalArn=principal)


def _create_association(clients: Clients, new: Properties, _seconds: float) -> str:
    scope = {key: value for key, value in new["accessScope"].items() if value}
    clients("eks").associate_access_policy(
        clusterName=new["clusterName"],
        principalArn=new["principalArn"],
        policyArn=new["policyArn"],
        accessScope=scope,
    )
    return f"{new['clusterName']}#{new['principalArn']}#{new['policyArn']}"


def _read_association(clients: Clients, _identity: str, known: Properties) -> Properties | None:
    found = _ask(
        clients,
        "list_associated_access_policies",
        clusterName=known["clusterName"],
        principalArn=known["principalArn"],
    )
    for each in (found or {}).get("associatedAccessPolicies", []):
        if each["policyArn"] == known["policyArn"]:
            return {
                "clusterName": known["clusterName"],
                "principalArn": known["principalArn"],
                "policyArn": known["policyArn"],
                "accessScope": each["accessScope"],
            }
    return None


def _delete_association(clients: Clients, _identity: str, old: Properties, _seconds: float) -> None:
    _ask(
        clients,
        "disassociate_access_policy",
        clusterName=old["clusterName"],
        principalArn=old["principalArn"],
        policyArn=old["policyArn"],
    )


TYPES: dict[str, ResourceType] = {
    "aws:eks/cluster:Cluster": ResourceType(
        inputs=inputs(
            "name version roleArn vpcConfig kubernetesNetworkConfig enabledClusterLogTypes encryptionConfig "
            "accessConfig bootstrapSelfManagedAddons tags"
        ),
        required=inputs("roleArn vpcConfig"),
        create=_create_cluster,
        read=_read_cluster,
        delete=_delete_cluster,
        updates={
            "tags": _retag,
            "vpcConfig": _update_vpc_config,
            "enabledClusterLogTypes": _update_logging,
            "version": _update_version,
            "bootstrapSelfManagedAddons": lambda *_: None,  # counts only at creation
        },
        autoname="name",
        timeout=1800,
    ),
    "aws:eks/addon:Addon": ResourceType(
        inputs=inputs(
            f"clusterName addonName {_ADDON_INPUTS} preserve resolveConflictsOnCreate resolveConflictsOnUpdate tags"
        ),
        required=inputs("clusterName addonName"),
        create=_create_addon,
        read=_read_addon,
        delete=_delete_addon,
        updates={
            **dict.fromkeys(_ADDON_INPUTS.split(), _update_addon),
            "tags": _retag,
            "preserve": lambda *_: None,  # counts only at deletion
            "resolveConflictsOnCreate": lambda *_: None,  # counts only at creation
            "resolveConflictsOnUpdate": lambda *_: None,  # counts at the next update
        },
        delete_first=True,
        timeout=1200,
    ),
    "aws:eks/nodeGroup:NodeGroup": ResourceType(
        inputs=inputs(
            "clusterName nodeGroupName nodeRoleArn subnetIds instanceTypes amiType capacityType scalingConfig "
            "launchTemplate labels version tags"
        ),
        required=inputs("clusterName nodeRoleArn subnetIds scalingConfig"),
        create=_create_group,
        read=_read_group,
        delete=_delete_group,
        updates={
            "tags": _retag,
            "scalingConfig": _update_group,
            "labels": _update_group,
            "version": _update_group_version,
            "launchTemplate": _update_group_version,
        },
        autoname="nodeGroupName",
        timeout=3600,
    ),
    "aws:eks/accessEntry:AccessEntry": ResourceType(
        inputs=inputs("clusterName principalArn kubernetesGroups tags"),
        required=inputs("clusterName principalArn"),
        create=_create_entry,
        read=_read_entry,
        delete=_delete_entry,
        updates={"tags": _retag},
        delete_first=True,
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": ResourceType(
        inputs=inputs("clusterName principalArn policyArn accessScope"),
        required=inputs("clusterName principalArn policyArn accessScope"),
        create=_create_association,
        read=_read_association,
        delete=_delete_association,
        updates={},
        delete_first=True,
    ),
}
