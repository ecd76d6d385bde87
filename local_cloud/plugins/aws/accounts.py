"""IAM, KMS and CloudWatch Logs: who may do what, what encrypts, and where logs go."""

import json
from typing import Any

from botocore.exceptions import ClientError

from local_cloud.plugins.aws.resource_type import (
    Clients,
    Properties,
    ResourceType,
    from_pairs,
    inputs,
    is_missing,
    pairs,
)


def _quietly(call: Any, **names: Any) -> Any:  # noqa: ANN401  # any boto3 operation
    """Call AWS; return None when there is no such thing."""
    try:
        return call(**names)
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def _create_role(clients: Clients, new: Properties, _seconds: float) -> str:
    clients("iam").create_role(
        RoleName=new["name"], AssumeRolePolicyDocument=new["assumeRolePolicy"], Tags=pairs(new.get("tags"))
    )
    return str(new["name"])


def _read_role(clients: Clients, identity: str, known: Properties) -> Properties | None:
    found = _quietly(clients("iam").get_role, RoleName=identity)
    if found is None:
        return None
    role = found["Role"]
    policy, written = role["AssumeRolePolicyDocument"], known.get("assumeRolePolicy", "")
    same = bool(written) and json.loads(written) == policy
    tags = from_pairs(role.get("Tags"))
    return {
        "arn": role["Arn"],
        "name": role["RoleName"],
        "uniqueId": role["RoleId"],
        # AWS keeps the meaning and not the text: the text as written, as long as it means the same.
        "assumeRolePolicy": written if same else json.dumps(policy, sort_keys=True),
        "tagsAll": tags,
        **({"tags": tags} if tags else {}),
    }


def _retag_role(clients: Clients, identity: str, old: Properties, new: Properties) -> None:
    before, after = old.get("tags") or {}, new.get("tags") or {}
    clients("iam").untag_role(RoleName=identity, TagKeys=[key for key in before if key not in after])
    clients("iam").tag_role(RoleName=identity, Tags=pairs(after))


def _create_attachment(clients: Clients, new: Properties, _seconds: float) -> str:
    clients("iam").attach_role_policy(RoleName=new["role"], PolicyArn=new["policyArn"])
    return f"{new['role']}/{new['policyArn']}"


def _read_attachment(clients: Clients, _identity: str, known: Properties) -> Properties | None:
    found = _quietly(clients("iam").list_attached_role_policies, RoleName=known["role"])
    arns = [each["PolicyArn"] for each in (found or {}).get("AttachedPolicies", [])]
    return {"role": known["role"], "policyArn": known["policyArn"]} if known["policyArn"] in arns else None


def _delete_attachment(clients: Clients, _identity: str, old: Properties, _seconds: float) -> None:
    _quietly(clients("iam").detach_role_policy, RoleName=old["role"], PolicyArn=old["policyArn"])


def _create_identity_provider(clients: Clients, new: Properties, _seconds: float) -> str:
    made = clients("iam").create_open_id_connect_provider(
        Url=new["url"], ClientIDList=new["clientIdLists"], ThumbprintList=["0" * 40], Tags=pairs(new.get("tags"))
    )
    return str(made["OpenIDConnectProviderArn"])


def _read_identity_provider(clients: Clients, identity: str, known: Properties) -> Properties | None:
    found = _quietly(clients("iam").get_open_id_connect_provider, OpenIDConnectProviderArn=identity)
    return found and {
        "arn": identity,
        "url": known.get("url") or f"https://{found['Url']}",
        "clientIdLists": found["ClientIDList"],
        "tagsAll": from_pairs(found.get("Tags")),
    }


def _retag_identity_provider(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    clients("iam").tag_open_id_connect_provider(OpenIDConnectProviderArn=identity, Tags=pairs(new.get("tags")))


def _create_key(clients: Clients, new: Properties, _seconds: float) -> str:
    tags = [{"TagKey": key, "TagValue": value} for key, value in (new.get("tags") or {}).items()]
    made = clients("kms").create_key(Description=new.get("description", ""), Tags=tags)["KeyMetadata"]
    if new.get("enableKeyRotation"):
        clients("kms").enable_key_rotation(KeyId=made["KeyId"])
    return str(made["KeyId"])


def _read_key(clients: Clients, identity: str, known: Properties) -> Properties | None:
    found = _quietly(clients("kms").describe_key, KeyId=identity)
    if found is None or found["KeyMetadata"]["KeyState"] == "PendingDeletion":
        return None
    tags = {each["TagKey"]: each["TagValue"] for each in clients("kms").list_resource_tags(KeyId=identity)["Tags"]}
    return {
        "arn": found["KeyMetadata"]["Arn"],
        "keyId": identity,
        "description": found["KeyMetadata"]["Description"],
        "enableKeyRotation": clients("kms").get_key_rotation_status(KeyId=identity)["KeyRotationEnabled"],
        "deletionWindowInDays": known.get("deletionWindowInDays", 30),  # AWS is told only at deletion
        "tagsAll": tags,
    }


def _rotation(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    call = clients("kms").enable_key_rotation if new.get("enableKeyRotation") else clients("kms").disable_key_rotation
    call(KeyId=identity)


def _retag_key(clients: Clients, identity: str, old: Properties, new: Properties) -> None:
    before, after = old.get("tags") or {}, new.get("tags") or {}
    clients("kms").untag_resource(KeyId=identity, TagKeys=[key for key in before if key not in after])
    clients("kms").tag_resource(
        KeyId=identity, Tags=[{"TagKey": key, "TagValue": value} for key, value in after.items()]
    )


def _create_logs(clients: Clients, new: Properties, _seconds: float) -> str:
    clients("logs").create_log_group(logGroupName=new["name"], tags=new.get("tags") or {})
    _retention(clients, new["name"], {}, new)
    return str(new["name"])


def _retention(clients: Clients, identity: str, _old: Properties, new: Properties) -> None:
    if new.get("retentionInDays"):
        clients("logs").put_retention_policy(logGroupName=identity, retentionInDays=new["retentionInDays"])


def _read_logs(clients: Clients, identity: str, _known: Properties) -> Properties | None:
    for group in clients("logs").describe_log_groups(logGroupNamePrefix=identity)["logGroups"]:
        if group["logGroupName"] == identity:
            return {
                "arn": group["arn"].removesuffix(":*"),
                "name": identity,
                "retentionInDays": group.get("retentionInDays", 0),
                "tagsAll": clients("logs").list_tags_log_group(logGroupName=identity)["tags"],
            }
    return None


def _retag_logs(clients: Clients, identity: str, old: Properties, new: Properties) -> None:
    before, after = old.get("tags") or {}, new.get("tags") or {}
    clients("logs").untag_log_group(logGroupName=identity, tags=[key for key in before if key not in after])
    clients("logs").tag_log_group(logGroupName=identity, tags=after)


TYPES: dict[str, ResourceType] = {
    "aws:iam/role:Role": ResourceType(
        inputs=inputs("name assumeRolePolicy tags"),
        required=inputs("assumeRolePolicy"),
        create=_create_role,
        read=_read_role,
        delete=lambda clients, identity, _old, _seconds: _quietly(clients("iam").delete_role, RoleName=identity),
        updates={
            "tags": _retag_role,
            "assumeRolePolicy": lambda clients, identity, _old, new: clients("iam").update_assume_role_policy(
                RoleName=identity, PolicyDocument=new["assumeRolePolicy"]
            ),
        },
        autoname="name",
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": ResourceType(
        inputs=inputs("role policyArn"),
        required=inputs("role policyArn"),
        create=_create_attachment,
        read=_read_attachment,
        delete=_delete_attachment,
        updates={},
    ),
    "aws:iam/openIdConnectProvider:OpenIdConnectProvider": ResourceType(
        inputs=inputs("url clientIdLists tags"),
        required=inputs("url clientIdLists"),
        create=_create_identity_provider,
        read=_read_identity_provider,
        delete=lambda clients, identity, _old, _seconds: _quietly(
            clients("iam").delete_open_id_connect_provider, OpenIDConnectProviderArn=identity
        ),
        updates={"tags": _retag_identity_provider},
        delete_first=True,
    ),
    "aws:kms/key:Key": ResourceType(
        inputs=inputs("description enableKeyRotation deletionWindowInDays tags"),
        create=_create_key,
        read=_read_key,
        delete=lambda clients, identity, old, _seconds: _quietly(
            clients("kms").schedule_key_deletion,
            KeyId=identity,
            PendingWindowInDays=old.get("deletionWindowInDays", 30),
        ),
        updates={
            "tags": _retag_key,
            "enableKeyRotation": _rotation,
            "description": lambda clients, identity, _old, new: clients("kms").update_key_description(
                KeyId=identity, Description=new.get("description", "")
            ),
            "deletionWindowInDays": lambda *_: None,  # AWS is told only at deletion
        },
    ),
    "aws:cloudwatch/logGroup:LogGroup": ResourceType(
        inputs=inputs("name retentionInDays tags"),
        create=_create_logs,
        read=_read_logs,
        delete=lambda clients, identity, _old, _seconds: _quietly(
            clients("logs").delete_log_group, logGroupName=identity
        ),
        updates={"tags": _retag_logs, "retentionInDays": _retention},
        autoname="name",
    ),
}
