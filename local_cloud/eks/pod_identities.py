"""Pod identity associations: which IAM role the pods of a service account have."""

from local_cloud.eks.api import Call, operation
from local_cloud.eks.errors import InUseError, InvalidParameterError, NotFoundError
from local_cloud.eks.registry import Cluster, Document, Eks, now, random_hex

_OPTIONAL = ("disableSessionTags", "targetRoleArn", "policy")


def _find(cluster: Cluster, association_id: str) -> Document:
    found = cluster.pod_identities.get(association_id)
    if found is None:
        raise NotFoundError(
            f"No association found with association-id: {association_id} for cluster: {cluster.name}",
            clusterName=cluster.name,
        )
    return found


@operation
def create_pod_identity_association(eks: Eks, call: Call) -> Document:
    """Associate a role with a service account; the service account need not exist."""
    request = call.request
    with eks.lock:
        cluster = eks.cluster(call.region, request["clusterName"])
        subject = (request["namespace"], request["serviceAccount"])
        if any((other["namespace"], other["serviceAccount"]) == subject for other in cluster.pod_identities.values()):
            raise InUseError(
                f"Association already exists: {subject[0]}/{subject[1]}",
                clusterName=cluster.name,
            )
        if not eks.neighbours.role_exists(request["roleArn"]):
            raise InvalidParameterError(f"Role provided in the request does not exist: {request['roleArn']}")
        association_id = f"a-{random_hex(16).lower()}"
        association: Document = {
            "clusterName": cluster.name,
            "namespace": subject[0],
            "serviceAccount": subject[1],
            "roleArn": request["roleArn"],
            "associationArn": cluster.arn("podidentityassociation", association_id),
            "associationId": association_id,
            "tags": dict(request.get("tags", {})),
            "createdAt": now(),
            "modifiedAt": now(),
            "disableSessionTags": False,
        }
        association |= {key: request[key] for key in _OPTIONAL if key in request}
        cluster.pod_identities[association_id] = association
        return {"association": dict(association)}


@operation
def describe_pod_identity_association(eks: Eks, call: Call) -> Document:
    """Describe an association."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        return {"association": dict(_find(cluster, call.request["associationId"]))}


@operation
def list_pod_identity_associations(eks: Eks, call: Call) -> Document:
    """List associations, of one namespace or service account if asked."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        shown = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")
        return {
            "associations": [
                {key: association[key] for key in shown}
                for association in cluster.pod_identities.values()
                if all(call.request.get(key) in {None, association[key]} for key in ("namespace", "serviceAccount"))
            ]
        }


@operation
def update_pod_identity_association(eks: Eks, call: Call) -> Document:
    """Change an association's role."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        association = _find(cluster, call.request["associationId"])
        for key in ("roleArn", *_OPTIONAL):
            if key in call.request:
                association[key] = call.request[key]
        association["modifiedAt"] = now()
        return {"association": dict(association)}


@operation
def delete_pod_identity_association(eks: Eks, call: Call) -> Document:
    """Delete an association."""
    with eks.lock:
        cluster = eks.cluster(call.region, call.request["clusterName"])
        association = _find(cluster, call.request["associationId"])
        del cluster.pod_identities[association["associationId"]]
        return {"association": dict(association)}
