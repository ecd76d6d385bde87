"""Who may do what in a cluster: access entries, access policies, and the review of bearer tokens."""

import fnmatch
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from local_cloud.eks.api import Call, operation
from local_cloud.eks.errors import InUseError, InvalidParameterError, InvalidRequestError, NotFoundError
from local_cloud.eks.registry import AccessEntry, Cluster, Document, Eks, now, page

_POLICY_ARN = "arn:aws:eks::aws:cluster-access-policy/"
CLUSTER_ADMIN = f"{_POLICY_ARN}AmazonEKSClusterAdminPolicy"

# Each access policy grants what one of Kubernetes' user-facing roles grants (EKS user guide, access policies).
_ROLES = {
    "AmazonEKSClusterAdminPolicy": "cluster-admin",
    "AmazonEKSAdminPolicy": "admin",
    "AmazonEKSEditPolicy": "edit",
    "AmazonEKSViewPolicy": "view",
    "AmazonEKSAdminViewPolicy": "eks:admin-view",
}

_RBAC = "rbac.authorization.k8s.io/v1"
_STANDARD = "STANDARD"
_NODE_TYPES = {"EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "HYBRID_LINUX", "HYPERPOD_LINUX", "EC2"}


def _group(policy: str) -> str:
    return f"eks:access-policy:{policy}"


def apply_access_roles(cluster: Cluster) -> None:
    """Bind the groups by which access policies of cluster scope reach Kubernetes."""
    every_read = {
        "apiVersion": _RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": "eks:admin-view"},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}],
    }
    bindings = [_binding(policy, None) for policy in _ROLES]
    for manifest in [every_read, *bindings]:
        cluster.kubernetes.apply(manifest, manager="eks", force=True)
    _aggregate_roles(cluster)


def _aggregate_roles(cluster: Cluster) -> None:
    """Fill view, edit and admin, which the controller manager, that is not there, would fill from their parts."""
    rules: list[Document] = []
    for role in ("view", "edit", "admin"):  # each one contains the one before
        part = cluster.kubernetes.get(_RBAC, "ClusterRole", f"system:aggregate-to-{role}")
        rules = [*rules, *(part or {}).get("rules", [])]
        manifest = {"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules}
        cluster.kubernetes.apply(manifest, manager="clusterrole-aggregation-controller", force=True)


def _binding(policy: str, namespace: str | None) -> Document:
    group = _group(policy) if namespace is None else f"{_group(policy)}:{namespace}"
    metadata = {"name": _group(policy)} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": _RBAC,
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _ROLES[policy]},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    }


def principal_of(caller: str) -> str:
    """Return the IAM principal behind a caller: the role behind an assumed role's session."""
    session = re.fullmatch(r"arn:(.+?):sts::(\d+):assumed-role/([^/]+)/.+", caller)
    return f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}" if session else caller


def _user_name(principal: str) -> str:
    role = re.fullmatch(r"arn:(.+?):iam::(\d+):role/(?:.*/)?([^/]+)", principal)
    if role:
        return f"arn:{role[1]}:sts::{role[2]}:assumed-role/{role[3]}/{{{{SessionName}}}}"
    return principal


def add_entry(cluster: Cluster, principal: str, request: Mapping[str, Any]) -> AccessEntry:
    """Make an access entry."""
    kind = request.get("type", _STANDARD)
    groups = list(request.get("kubernetesGroups", []))
    username = request.get("username") or _user_name(principal)
    if kind != _STANDARD:
        groups, username = ["system:nodes"], "system:node:{{EC2PrivateDNSName}}"
    entry = AccessEntry(
        {
            "clusterName": cluster.name,
            "principalArn": principal,
            "kubernetesGroups": groups,
            "accessEntryArn": cluster.arn("access-entry", *principal.split(":")[4:], str(uuid.uuid4())),
            "createdAt": now(),
            "modifiedAt": now(),
            "tags": dict(request.get("tags", {})),
            "username": username,
            "type": kind,
        }
    )
    cluster.access_entries[principal] = entry
    return entry


def admit_creator(cluster: Cluster) -> None:
    """Give the cluster's creator an access entry with all rights."""
    principal = principal_of(cluster.creator)
    entry = add_entry(cluster, principal, {})
    _associate(entry, CLUSTER_ADMIN, {"type": "cluster", "namespaces": []})


def _associate(entry: AccessEntry, policy_arn: str, scope: Document) -> Document:
    previous = entry.policies.get(policy_arn)
    entry.policies[policy_arn] = {
        "policyArn": policy_arn,
        "accessScope": scope,
        "associatedAt": previous["associatedAt"] if previous else now(),
        "modifiedAt": now(),
    }
    return entry.policies[policy_arn]


def _cluster_with_entries(eks: Eks, call: Call) -> Cluster:
    cluster = eks.cluster(call.region, call.request["clusterName"])
    if cluster.document["accessConfig"]["authenticationMode"] == "CONFIG_MAP":
        raise InvalidRequestError(
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this "
            "operation.",
            clusterName=cluster.name,
        )
    return cluster


def _entry(cluster: Cluster, principal: str) -> AccessEntry:
    found = cluster.access_entries.get(principal)
    if found is None:
        raise NotFoundError(
            f"The specified principalArn could not be found. You can view your available access entries with "
            f"'ListAccessEntries'. principalArn: {principal}",
            clusterName=cluster.name,
        )
    return found


@operation
def create_access_entry(eks: Eks, call: Call) -> Document:
    """Create an access entry for an IAM principal that exists."""
    request = call.request
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        principal = request["principalArn"]
        if principal in cluster.access_entries:
            raise InUseError(
                "The specified access entry resource is already in use on this cluster.", clusterName=cluster.name
            )
        if not eks.neighbours.principal_exists(principal):
            raise InvalidParameterError(
                f"The specified principalArn is invalid: invalid principal. {principal}", clusterName=cluster.name
            )
        kind = request.get("type", _STANDARD)
        if kind not in {_STANDARD, *_NODE_TYPES}:
            raise InvalidParameterError(f"The specified type is invalid: {kind}", clusterName=cluster.name)
        if kind != _STANDARD and (request.get("kubernetesGroups") or request.get("username")):
            raise InvalidParameterError(
                f"kubernetesGroups and username cannot be specified with the type {kind}.", clusterName=cluster.name
            )
        _check_groups(cluster, request.get("kubernetesGroups", []))
        return {"accessEntry": dict(add_entry(cluster, principal, request).document)}


def _check_groups(cluster: Cluster, groups: Iterable[str]) -> None:
    for group in groups:
        if group.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
            raise InvalidParameterError(
                f"The kubernetes group name {group} is invalid, it cannot start with system:, eks:, aws:, amazon: or "
                "iam:",
                clusterName=cluster.name,
            )


@operation
def describe_access_entry(eks: Eks, call: Call) -> Document:
    """Describe an access entry."""
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        return {"accessEntry": dict(_entry(cluster, call.request["principalArn"]).document)}


@operation
def list_access_entries(eks: Eks, call: Call) -> Document:
    """List principals that have an entry, or those with one policy."""
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        policy = call.request.get("associatedPolicyArn")
        principals = [
            arn for arn, entry in cluster.access_entries.items() if policy is None or policy in entry.policies
        ]
        return page(principals, call.request, "accessEntries")


@operation
def update_access_entry(eks: Eks, call: Call) -> Document:
    """Change an entry's groups or user name."""
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        entry = _entry(cluster, call.request["principalArn"])
        _check_groups(cluster, call.request.get("kubernetesGroups", []))
        for key in ("kubernetesGroups", "username"):
            if key in call.request:
                entry.document[key] = call.request[key]
        entry.document["modifiedAt"] = now()
        return {"accessEntry": dict(entry.document)}


@operation
def delete_access_entry(eks: Eks, call: Call) -> Document:
    """Delete an access entry."""
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        _entry(cluster, call.request["principalArn"])
        del cluster.access_entries[call.request["principalArn"]]
        return {}


@operation
def associate_access_policy(eks: Eks, call: Call) -> Document:
    """Associate an access policy with an entry, or change its scope."""
    request = call.request
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        entry = _entry(cluster, request["principalArn"])
        policy = request["policyArn"]
        if policy.removeprefix(_POLICY_ARN) not in _ROLES:
            raise InvalidParameterError(
                "The policyArn parameter format is not valid or the policy does not exist. "
                f"You can list valid policies with 'ListAccessPolicies'. {policy}",
                clusterName=cluster.name,
            )
        if entry.document["type"] != _STANDARD:
            raise InvalidRequestError(
                f"An access policy cannot be associated with an access entry of type {entry.document['type']}.",
                clusterName=cluster.name,
            )
        scope = {"type": "cluster", "namespaces": [], **request["accessScope"]}
        if (scope["type"] == "namespace") != bool(scope["namespaces"]):
            raise InvalidParameterError(
                "namespaces must be given with the access scope type namespace, and only with it.",
                clusterName=cluster.name,
            )
        associated = _associate(entry, policy, scope)
        return {
            "clusterName": cluster.name,
            "principalArn": request["principalArn"],
            "associatedAccessPolicy": dict(associated),
        }


@operation
def disassociate_access_policy(eks: Eks, call: Call) -> Document:
    """Take an access policy from an entry."""
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        entry = _entry(cluster, call.request["principalArn"])
        if entry.policies.pop(call.request["policyArn"], None) is None:
            raise NotFoundError(
                f"The access policy {call.request['policyArn']} is not associated with this access entry.",
                clusterName=cluster.name,
            )
        return {}


@operation
def list_associated_access_policies(eks: Eks, call: Call) -> Document:
    """List the policies of an entry."""
    with eks.lock:
        cluster = _cluster_with_entries(eks, call)
        principal = call.request["principalArn"]
        policies = _entry(cluster, principal).policies
        return {
            "clusterName": cluster.name,
            "principalArn": principal,
            "associatedAccessPolicies": [dict(policies[arn]) for arn in sorted(policies)],
        }


@operation
def list_access_policies(_eks: Eks, _call: Call) -> Document:
    """List the access policies there are."""
    return {"accessPolicies": [{"name": name, "arn": f"{_POLICY_ARN}{name}"} for name in sorted(_ROLES)]}


def review(cluster: Cluster, caller: str) -> Document | None:
    """Return the Kubernetes user that a caller is in this cluster, None if the cluster does not know it.

    Policies of namespace scope become one group per namespace; their bindings are made here, when the principal
    shows up, so that wildcards also meet namespaces that are younger than the association.
    """
    entry = cluster.access_entries.get(principal_of(caller))
    if entry is None:
        return None
    session = caller.rpartition("/")[2]
    groups = {"system:authenticated", *entry.document["kubernetesGroups"]}
    for arn, association in entry.policies.items():
        policy, scope = arn.removeprefix(_POLICY_ARN), association["accessScope"]
        if scope["type"] == "cluster":
            groups.add(_group(policy))
            continue
        for namespace in cluster.kubernetes.names("v1", "Namespace"):
            if any(fnmatch.fnmatchcase(namespace, pattern) for pattern in scope["namespaces"]):
                cluster.kubernetes.apply(_binding(policy, namespace), manager="eks", force=True)
                groups.add(f"{_group(policy)}:{namespace}")
    return {
        "username": entry.document["username"].replace("{{SessionName}}", session.replace("@", "-")),
        "uid": f"aws-iam-authenticator:{principal_of(caller)}",
        "groups": sorted(groups - {"system:authenticated"}),
        "extra": {"arn": [caller], "principalId": [principal_of(caller)]},
    }
