"""The local cloud's processes and files: there once, and gone with it however it ends."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from local_cloud import cloud as local
from local_cloud.cloud import LocalCloud
from local_cloud.layout import Layout
from tests.waiting import WAITER


def _processes(directory: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["name", "cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(directory) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.info["name"])
    return found


def _start_cluster(cloud: LocalCloud) -> None:
    def client(name: str) -> Any:
        return boto3.client(
            name,
            endpoint_url=cloud.record.endpoint,
            region_name="eu-central-1",
            aws_access_key_id=cloud.record.access_key,
            aws_secret_access_key=cloud.record.secret_key,
        )

    ec2, iam, eks = client("ec2"), client("iam"), client("eks")
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    vpc = {"subnetIds": [subnet["SubnetId"] for subnet in subnets]}
    eks.create_cluster(name="dev", roleArn=role, resourcesVpcConfig=vpc)
    eks.get_waiter("cluster_active").wait(name="dev", WaiterConfig=WAITER)
    for used in (ec2, iam, eks):
        used.close()


def _eventually_none(directory: Path) -> None:
    for _ in range(100):
        if not _processes(directory):
            return
        time.sleep(0.1)
    raise AssertionError(_processes(directory))


def test_stop_leaves_no_process_and_no_file(tmp_path: Path, programs: dict[str, Path]) -> None:
    """A cloud with a cluster runs three programs, starts once, and leaves only Pulumi's own files."""
    cloud = LocalCloud.start(tmp_path, programs)
    _start_cluster(cloud)
    assert {"etcd", "kube-apiserver"} <= set(_processes(tmp_path))
    assert LocalCloud.start(tmp_path, programs).record == cloud.record
    assert f"AWS_ENDPOINT_URL={cloud.record.endpoint}" in cloud.layout.env.read_text()
    cloud.stop()
    assert _processes(tmp_path) == []
    for path in (cloud.layout.run, cloud.layout.env, cloud.layout.log):
        assert not path.exists()


def test_killed_server_leaves_no_process_and_the_next_start_cleans_up(
    tmp_path: Path, programs: dict[str, Path]
) -> None:
    """SIGKILL to the server ends etcd and the API servers; the next start removes what it left."""
    cloud = LocalCloud.start(tmp_path, programs)
    _start_cluster(cloud)
    assert cloud.server is not None
    cloud.server.kill()
    cloud.server.wait()
    _eventually_none(tmp_path)
    assert cloud.layout.run.exists()
    with LocalCloud.start(tmp_path, programs) as again:
        assert again.record.process.pid != cloud.record.process.pid
        assert not (again.layout.run / "clusters").exists()
    assert _processes(tmp_path) == []


def test_a_pid_that_was_given_away_is_left_alone(tmp_path: Path) -> None:
    """Stopping by a stale record whose pid is another process now touches nothing."""
    with subprocess.Popen(["sleep", "60"]) as bystander:
        layout = Layout(tmp_path)
        layout.run.mkdir(parents=True)
        process = local.processes.ProcessRecord(bystander.pid, started=1.0)
        layout.write_record(local.ServerRecord(process, "http://127.0.0.1:1", "key", "secret"))
        assert local.stop(layout) is False
        assert bystander.poll() is None
        bystander.terminate()


def test_a_server_that_cannot_start_says_why(tmp_path: Path, programs: dict[str, Path]) -> None:
    """A program that fails at once is an error that quotes the log, and leaves no process."""
    broken = {**programs, "etcd": Path("/bin/false")}
    with pytest.raises(local.LocalCloudError, match="etcd did not become ready"):
        LocalCloud.start(tmp_path, broken)
    assert _processes(tmp_path) == []


def test_command_line(tmp_path: Path) -> None:
    """`status` and `env` say that nothing runs, and fail."""
    for command in ("status", "env"):
        found = subprocess.run(
            [sys.executable, "-m", "local_cloud", command, f"--directory={tmp_path}"],
            cwd=local.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (found.returncode, "Not running" in found.stderr) == (1, True)
