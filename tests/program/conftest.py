"""What the program asks of the engine, recorded once for every stack file and for what may differ in one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.outputs import StackOutputs

ROOT = Path(__file__).parents[2]

UPSTREAM_IP = "172.20.199.7"

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

RUNS: dict[str, dict[str, Any]] = {
    # name of the run: stack file (or a stack without one), settings on top of it, what the cluster and AWS answer
    "dev": {"stack": "dev"},
    "stg": {"stack": "stg"},
    "prod": {"stack": "prod"},
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
        "mocked": {"kube-dns": "10.77.64.10", "kube-dns-upstream": "10.77.99.3"},
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


@dataclass(frozen=True)
class Registered:
    """One resource as the program asked for it."""

    urn: str
    type: str
    name: str
    read: bool
    id: str
    parent: str
    inputs: dict[str, Any]
    dependencies: list[str]
    provider: str
    providers: dict[str, str]
    protect: bool
    deleted_with: str
    import_id: str
    retained: bool


@dataclass
class Recording:
    """One run of the program."""

    resources: list[Registered]
    outputs: dict[str, Any]
    error: str
    by_urn: dict[str, Registered] = field(init=False)

    def __post_init__(self) -> None:
        """Index the resources."""
        self.by_urn = {each.urn: each for each in self.resources}

    def of(self, kind: str) -> list[Registered]:
        """Return every resource of a type."""
        return [each for each in self.resources if each.type == kind]

    def one(self, kind: str, name: str | None = None) -> Registered:
        """Return the only resource of a type, or the only one of a name in it."""
        [found] = [each for each in self.of(kind) if name in {None, each.name}]
        return found

    def dies_with(self, each: Registered) -> str:
        """Return what `deletedWith` comes to: the engine hands a parent's on to its children."""
        while not each.deleted_with and each.parent in self.by_urn:
            each = self.by_urn[each.parent]
        return each.deleted_with


def _asked(run: dict[str, Any]) -> dict[str, Any]:
    file = ROOT / "stacks" / f"Pulumi.{run['stack']}.yaml"
    config = yaml.safe_load(file.read_text())["config"] if file.exists() else {"aws:region": "eu-central-1"}
    if "region" in run:
        config["aws:region"] = run["region"]
    config |= {f"eks-node-local-dns:{key}": value for key, value in run.get("settings", {}).items()}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
    mocked = {"kube-dns": "172.20.0.10", "kube-dns-upstream": UPSTREAM_IP, **run.get("mocked", {})}
    answers = {"functions": run.get("functions", SHOP), "objects": run.get("objects", {})}
    return {"stack": run["stack"], "config": texts, "mocked": mocked, **answers}


def _recorded(run: dict[str, Any]) -> Recording:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("record.py"))],
        check=False,
        capture_output=True,
        text=True,
        input=json.dumps(_asked(run)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return Recording([Registered(**each) for each in found["resources"]], found["outputs"], found["error"])


@pytest.fixture(scope="session")
def record() -> Callable[[dict[str, Any]], Recording]:
    """Return what runs the program for one more entry of the form of `RUNS`."""
    return _recorded


@pytest.fixture(scope="session")
def recordings() -> dict[str, Recording]:
    """Run the program once for each of `RUNS`."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(RUNS, pool.map(_recorded, RUNS.values()), strict=True))
