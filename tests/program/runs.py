"""The runs of the program that are recorded: each stack file, and what may differ in one."""

import copy
import functools
import json
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml

from components.outputs import StackOutputs
from tests.program.recorder import Recording, Run, recorded

ROOT = Path(__file__).parents[2]

UPSTREAM_IP = "172.20.199.7"
"""ClusterIP of kube-dns-upstream."""

SHOP: dict[str, Any] = {
    # what AWS answers about a cluster that the program did not make, by function and add-on
    "getCluster": {
        "name": "shop",
        "arn": "arn:aws:eks:eu-central-1:1:cluster/shop",
        "status": "ACTIVE",
        "version": "1.34",
        "endpoint": "https://shop.eks",
        "certificateAuthorities": [{"data": "c2hvcA=="}],
        "identities": [{"oidcs": [{"issuer": "https://oidc.shop"}]}],
        "kubernetesNetworkConfigs": [{"ipFamily": "ipv4", "serviceIpv4Cidr": "10.100.0.0/16"}],
        "computeConfigs": [{"enabled": False}],
        "vpcConfig": {
            "vpcId": "vpc-5",
            "subnetIds": ["subnet-b", "subnet-a", "subnet-p"],
            "clusterSecurityGroupId": "sg-5",
        },
    },
    "getClusters": {"names": ["shop", "warehouse"]},
    "getVpc": {"cidrBlockAssociations": [{"cidrBlock": "10.0.0.0/16", "state": "associated"}]},
    "getSubnets": {"ids": ["subnet-p", "subnet-other"]},
    "getOpenIdConnectProvider": {"arn": "arn:aws:iam::1:oidc-provider/oidc.shop"},
    "getAddon vpc-cni": {
        "addonVersion": "v1.22.3-eksbuild.1",
        "configurationValues": '{"env": {"WARM_IP_TARGET": "3"}}',
        "serviceAccountRoleArn": "arn:aws:iam::1:role/cni",
        "podIdentityAssociations": [{"serviceAccount": "aws-node", "roleArn": "arn:aws:iam::1:role/pod"}],
        "tags": {"team": "platform"},
    },
    "getAddon kube-proxy": {"addonVersion": "v1.34.6-eksbuild.25", "configurationValues": ""},
}


def _objects(**env: str) -> dict[str, Any]:
    """Return what is read in a cluster whose aws-node has this environment."""
    variables = [{"name": key, "value": value} for key, value in env.items()]
    # Beside the environment all is as the chart has it, but for a second toleration.
    pod = {
        "tolerations": [{"operator": "Exists"}, {"key": "gpu", "effect": "NoExecute", "tolerationSeconds": 60}],
        "containers": [
            {
                "name": "aws-node",
                "image": "eks/amazon-k8s-cni:v1.22.3",
                "env": variables,
                "resources": {"requests": {"cpu": "25m"}},
            },
            {"name": "aws-eks-nodeagent", "args": ["--metrics-bind-addr=:8162", "--health-probe-bind-addr=:9163"]},
        ],
    }
    return {
        "kubernetes:apps/v1:DaemonSet": {"spec": {"template": {"spec": pod}}},
        "kubernetes:core/v1:ServiceAccount": {"metadata": {"name": "aws-node"}},
        "kubernetes:core/v1:ConfigMap": {"data": {"config": "mode: iptables\n"}},
    }


STANDARD = {"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "standard"}
READ_FROM = "organization/eks-node-local-dns/prod"
READ_OUTPUTS: dict[str, Any] = {
    name: f"prod's {name}" for name in sorted(StackOutputs.names() - {"privateSubnetIds", "publicSubnetIds"})
} | {"clusterName": "shop", "privateSubnetIds": ["subnet-1"], "publicSubnetIds": [], "serviceIpv4Cidr": "10.100.0.0/16"}

EVERY_SETTING: dict[str, Any] = {
    # each that can be, beside the others; `test_every_setting_is_away_from_its_default` knows the rest
    "kubernetesVersion": "1.34",
    "serviceCidr": "10.100.0.0/16",
    "network": {"cidr": "10.40.0.0/18", "zones": ["c", "a", "b"], "nat": "perZone"},
    "cluster": {
        "name": "shop",
        "publicAccessCidrs": ["203.0.113.0/24", "198.51.100.7/32"],
        "admins": ["arn:aws:iam::111122223333:role/platform", "arn:aws:iam::111122223333:user/on-call"],
        "logTypes": ["audit", "api"],
        "logRetentionDays": 90,
        "deletionProtection": True,
    },
    "vpcCni": {
        "podEni": False,
        "podSecurityGroupEnforcingMode": "strict",
        "externalSnat": True,
        "prefixDelegation": True,
        "networkPolicy": True,
        "disableTcpEarlyDemux": True,
        "logLevel": "ERROR",
    },
    "nodeGroups": {
        "arm": {
            "instanceTypes": ["m7g.large", "m7g.xlarge"],
            "minSize": 2,
            "desiredSize": 3,
            "maxSize": 9,
            "autoscaled": True,
            "capacityType": "SPOT",
            "diskSizeGib": 80,
            "labels": {"example.com/team": "platform", "tier": "system"},
        },
        "intel": {"instanceTypes": ["t3.large"]},
    },
    "nodeLocalDns": {
        "localAddress": "169.254.25.10",
        "interception": "upstream",
        "image": "mirror.example/dns/k8s-dns-node-cache:1.26.9",
        "corefile": {
            "clusterDomain": "shop.example",
            "cluster": {
                "successCapacity": 2000,
                "successTtl": 20,
                "denialCapacity": 3000,
                "denialTtl": 2,
                "prefetch": {"amount": 7, "durationSeconds": 90, "percentage": 20},
                "serveStaleSeconds": 600,
            },
            "reverse": {
                "successCapacity": 2100,
                "successTtl": 21,
                "denialCapacity": 3100,
                "denialTtl": 3,
                "prefetch": {"enabled": False, "amount": 6, "durationSeconds": 93, "percentage": 23},
                "serveStaleSeconds": 300,
            },
            "external": {
                "successCapacity": 2200,
                "successTtl": 300,
                "denialCapacity": 3200,
                "denialTtl": 4,
                "prefetch": {"amount": 8, "durationSeconds": 91, "percentage": 21},
                "serveStaleSeconds": 3600,
            },
            "upstreamServers": ["10.0.0.2", "10.0.0.3:5353"],
            "clusterForceTcp": False,
            "maxConcurrent": 500,
            "stubDomains": {
                "corp.example": {
                    "servers": ["10.9.0.2"],
                    "forceTcp": True,
                    "cache": {
                        "successCapacity": 2300,
                        "successTtl": 60,
                        "denialCapacity": 3300,
                        "denialTtl": 6,
                        "prefetch": {"amount": 9, "durationSeconds": 92, "percentage": 22},
                        "serveStaleSeconds": 60,
                    },
                }
            },
            "rewrites": [{"source": "db.shop.example", "target": "db.corp.example"}],
            "log": True,
            "extraPlugins": ["bufsize 1232", "template IN AAAA"],
        },
        "observability": {
            "podMonitor": True,
            "prometheusRule": True,
            "dashboard": True,
            "labels": {"release": "prometheus"},
            "scrapeIntervalSeconds": 15,
            "setupEndpoint": True,
            "runbooks": "https://wiki.example/dns",
        },
        "cpuRequest": "50m",
        "memoryRequestMebibytes": 64,
        "ignoreStrictPods": True,
    },
    "addonVersions": {
        "vpcCni": "v1.22.3-eksbuild.1",
        "kubeProxy": "v1.33.3-eksbuild.4",
        "coreDns": "v1.13.1-eksbuild.2",
    },
    "tags": {"environment": "every", "cost-center": "dns"},
}

RUNS: dict[str, dict[str, Any]] = {
    # name of the run: stack file (or a stack without one), settings on top of it, what the cluster and AWS answer
    "dev": {"stack": "dev"},
    "stg": {"stack": "stg"},
    "prod": {"stack": "prod"},
    "every setting away from its default": {
        "stack": "every",
        "settings": EVERY_SETTING,
        "region": "eu-west-1",
        "mocked": {"kube-dns-upstream": "10.100.99.3"},
    },
    "a cluster made here": {
        "stack": "here",
        "settings": {"nodeGroups": {"default": {"instanceTypes": ["m6i.large"]}}},  # the default's
    },
    "without the cache": {"stack": "dev", "settings": {"nodeLocalDns": {"enabled": False}}},
    "in an existing VPC": {
        "stack": "dev",
        "settings": {
            "serviceCidr": "10.77.64.0/18",
            "network": {
                "cidr": "10.10.0.0/16",
                "existing": {
                    "vpcId": "vpc-0abc",
                    "privateSubnetIds": ["subnet-1", "subnet-2"],
                    "publicSubnetIds": ["subnet-3"],
                },
            },
            "cluster": {
                "admins": ["arn:aws:iam::111122223333:role/platform", "arn:aws:iam::111122223333:role/on-call"],
                "publicAccessCidrs": ["203.0.113.0/24"],
            },
        },
        "mocked": {"kube-dns-upstream": "10.77.99.3"},
    },
    "on Graviton, in China": {
        "stack": "dev",
        "settings": {
            "cluster": {"admins": ["arn:aws-cn:iam::111122223333:role/on-call"]},
            "nodeGroups": {"default": {"instanceTypes": ["m7g.large"]}},
        },
        "region": "cn-north-1",
    },
    "with a kube-dns made anew": {"stack": "dev", "mocked": {"kube-dns": "172.20.3.3"}},
    "a cluster that exists": {
        "stack": "attached",
        "settings": {"source": {"clusterName": "shop"}},
        "mocked": {"kube-dns": "10.100.0.10"},
        "objects": _objects(**STANDARD),
    },
    "a cluster that exists, and its CNI": {
        "stack": "attached",
        "settings": {"source": {"clusterName": "shop"}, "vpcCni": {"manage": True}},
        "mocked": {"kube-dns": "10.100.0.10"},
        "objects": _objects(WARM_IP_TARGET="3"),
    },
    "a cluster that exists, and its CNI that is no add-on": {
        "stack": "attached",
        "settings": {"source": {"clusterName": "shop"}, "vpcCni": {"manage": True}},
        "mocked": {"kube-dns": "10.100.0.10"},
        "objects": _objects(WARM_IP_TARGET="7"),
        "functions": {key: value for key, value in SHOP.items() if key != "getAddon vpc-cni"},
    },
    "a cache with all it can have": {
        "stack": "attached",
        "settings": {
            "source": {"clusterName": "shop"},
            "nodeLocalDns": {
                "corefile": {
                    "stubDomains": {"corp": {"servers": ["10.9.0.2"]}},
                    "rewrites": [{"source": "db.cluster.local", "target": "db.corp"}],
                },
                "observability": {"podMonitor": True, "prometheusRule": True},
            },
        },
        "mocked": {"kube-dns": "10.100.0.10"},
        "objects": _objects(**STANDARD),
    },
    "another stack's": {
        "stack": "attached",
        "settings": {"source": {"stack": READ_FROM}},
        "mocked": {"kube-dns": "10.100.0.10"},
        "objects": {
            **_objects(**STANDARD),
            "pulumi:pulumi:StackReference": {"name": READ_FROM, "outputs": READ_OUTPUTS},
        },
        "functions": {**SHOP, "readStackOutputs": {"outputs": READ_OUTPUTS}},
    },
}


def run_of(description: dict[str, Any]) -> Run:
    """Return a run from its description in `RUNS`."""
    file = ROOT / "stacks" / f"Pulumi.{description['stack']}.yaml"
    config = yaml.safe_load(file.read_text())["config"] if file.exists() else {"aws:region": "eu-central-1"}
    if "region" in description:
        config["aws:region"] = description["region"]
    config |= {f"eks-node-local-dns:{key}": value for key, value in description.get("settings", {}).items()}
    # EKS gives kube-dns the tenth address of the Services'.
    services = IPv4Network(config.get("eks-node-local-dns:serviceCidr", "172.20.0.0/16"))
    return Run(
        stack=description["stack"],
        config={key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()},
        mocked={"kube-dns": str(services[10]), "kube-dns-upstream": UPSTREAM_IP, **description.get("mocked", {})},
        functions=description.get("functions", SHOP),
        objects=description.get("objects", {}),
    )


@functools.cache
def recording(name: str, *, preview: bool = False) -> Recording:
    """Return what the program asks for in one of `RUNS`; one run for all who look at it."""
    return recorded(run_of(RUNS[name]), preview=preview)


def _put(settings: Any, path: str, value: Any) -> None:
    """Set what a path such as `nodeGroups.default.minSize` leads to; a number is a place in a list."""
    *outer, last = path.split(".")
    for key in outer:
        settings = settings[int(key)] if isinstance(settings, list) else settings.setdefault(key, {})
    settings[last] = value


@functools.cache
def _with(name: str, settings: str) -> Recording:
    changed = copy.deepcopy(RUNS[name])
    for path, value in json.loads(settings).items():
        _put(changed.setdefault("settings", {}), path, value)
    return recorded(run_of(changed))


def recording_with(name: str, settings: dict[str, Any]) -> Recording:
    """Return what the program asks for in one of `RUNS` with other settings, by their paths."""
    return _with(name, json.dumps(settings))
