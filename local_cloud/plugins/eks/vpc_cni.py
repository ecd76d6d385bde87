"""How pulumi-eks turns its VPC CNI options into the add-on's configuration: pure, with its defaults and merge rules."""

import json
from collections.abc import Mapping
from typing import Any

# What pulumi-eks 4.x sends even if nothing is asked for (nodejs/eks/addons/cni-addon.ts).
ALWAYS: Mapping[str, str] = {
    "AWS_VPC_ENI_MTU": "9001",
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "false",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT": "false",
    "AWS_VPC_K8S_CNI_LOGLEVEL": "DEBUG",
    "AWS_VPC_K8S_CNI_LOG_FILE": "/host/var/log/aws-routed-eni/ipamd.log",
    "AWS_VPC_K8S_CNI_VETHPREFIX": "eni",
    "AWS_VPC_K8S_PLUGIN_LOG_FILE": "/var/log/aws-routed-eni/plugin.log",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL": "DEBUG",
    "ENABLE_POD_ENI": "false",
    "WARM_ENI_TARGET": "1",
}
ALWAYS_INIT: Mapping[str, str] = {"DISABLE_TCP_EARLY_DEMUX": "false"}


def merged_configuration(values: Mapping[str, Any] | None) -> str:
    """Return the add-on's `configurationValues`: the user's values win key by key over the component's."""
    values = dict(values or {})
    values["env"] = {**ALWAYS, **values.get("env", {})}
    init = dict(values.get("init", {}))
    values["init"] = {**init, "env": {**ALWAYS_INIT, **init.get("env", {})}}
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
