"""One local cloud for all tests that only look at it or make things of their own in it."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from local_cloud.cloud import LocalCloud, locate_programs
from tests.waiting import eventually

_TOKEN_SECONDS = 600
"""How long a token is used, of the fourteen minutes that it is good for."""

ASSUMABLE = '{"Version":"2012-10-17","Statement":[]}'


@dataclass(frozen=True)
class Account:
    """The clients of an account and what a cluster needs in it."""

    cloud: LocalCloud
    eks: Any
    ec2: Any
    iam: Any
    logs: Any
    role: str
    vpc: str
    subnets: list[str]
    _kubeconfigs: dict[str, tuple[float, Path]] = field(default_factory=dict)
    """By cluster: when its token was asked for, and the kubeconfig that it is in."""

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program in the cloud's environment."""
        return subprocess.run(
            command,
            env={**self.cloud.environment, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ask(self, cluster: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the cluster's creator."""
        return self.run("kubectl", "--kubeconfig", str(self._kubeconfig(cluster)), *arguments)

    def kubectl(self, cluster: str, *arguments: str) -> str:
        """Run kubectl as the cluster's creator, which has to succeed."""
        found = self.ask(cluster, *arguments)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def _kubeconfig(self, cluster: str) -> Path:
        """Return a kubeconfig with a token in it: to ask for one each time takes ten times as long as kubectl does."""
        asked, path = self._kubeconfigs.get(cluster, (0.0, Path()))
        if not path.name or time.monotonic() - asked > _TOKEN_SECONDS:
            described = self.eks.describe_cluster(name=cluster)["cluster"]
            token = self.run("aws", "eks", "get-token", "--cluster-name", cluster)
            assert token.returncode == 0, token.stderr
            path = self.cloud.layout.directory / f"{cluster}.kubeconfig"
            path.write_text(yaml.safe_dump({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "c", "cluster": {
                    "server": described["endpoint"],
                    "certificate-authority-data": described["certificateAuthority"]["data"]}}],
                "users": [{"name": "c", "user": {"token": json.loads(token.stdout)["status"]["token"]}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
            }))  # fmt: skip
            self._kubeconfigs[cluster] = (time.monotonic(), path)
        return path

    def create_cluster(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Create a cluster and wait until it is ACTIVE."""
        request: dict[str, Any] = {
            "name": name,
            "version": "1.35",
            "roleArn": self.role,
            "resourcesVpcConfig": {"subnetIds": self.subnets},
            "accessConfig": {"authenticationMode": "API"},
            **arguments,
        }
        assert self.eks.create_cluster(**request)["cluster"]["status"] == "CREATING"
        eventually(lambda: self.eks.describe_cluster(name=name)["cluster"]["status"] != "CREATING")
        cluster = self.eks.describe_cluster(name=name)["cluster"]
        assert cluster["status"] == "ACTIVE", cluster["health"]
        return cluster


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    """Return the external programs the local cloud needs; the Pulumi engine is none of them."""
    return locate_programs(("etcd", "kube-apiserver", "kubectl"))


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory, programs: dict[str, Path]) -> Iterator[Account]:
    """Return an account with a network in it."""
    with LocalCloud.start(tmp_path_factory.mktemp("cloud"), programs) as cloud:
        session = boto3.Session(
            aws_access_key_id=cloud.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=cloud.environment["AWS_SECRET_ACCESS_KEY"],
            region_name="eu-central-1",
        )
        eks, ec2, iam, logs = (
            session.client(name, endpoint_url=cloud.environment["AWS_ENDPOINT_URL"])
            for name in ("eks", "ec2", "iam", "logs")
        )
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"eu-central-1{zone}")[
                "Subnet"
            ]["SubnetId"]
            for index, zone in enumerate("ab")
        ]
        role = iam.create_role(RoleName="cluster", AssumeRolePolicyDocument=ASSUMABLE)["Role"]["Arn"]
        yield Account(cloud, eks, ec2, iam, logs, role, vpc, subnets)
        for client in (eks, ec2, iam, logs):
            client.close()


@pytest.fixture(scope="session")
def bare(account: Account) -> str:
    """Return the name of a cluster with a service CIDR of its own and no managed add-on."""
    account.create_cluster("bare", kubernetesNetworkConfig={"serviceIpv4Cidr": "10.100.0.0/16"})
    return "bare"
