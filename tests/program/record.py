"""Run the program against Pulumi mocks and print, as JSON, every resource it asks for and every output it gives.

A process for each run: the SDK keeps its settings for as long as a process lives. The run comes as JSON on standard
input: `stack`, `config` (the stack file's, as the engine hands it over), `mocked` (the ClusterIPs that the mocked
cluster answers with), `functions` (what AWS answers to data sources), `objects` (what is read, by type).
"""

import asyncio
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import mocks, rpc, set_all_config
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack

ROOT = Path(__file__).parents[2]
WITHOUT_A_REGION = '{"mocked": true}'


def _state(request: Any, asked: dict[str, Any], mocked: dict[str, str]) -> dict[str, Any]:
    """Return what was asked for with what AWS or Kubernetes would add to it."""
    added: dict[str, dict[str, Any]] = {
        "aws:ec2/eip:Eip": {"allocationId": f"eipalloc-{request.name}"},
        "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 7},
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider": {"arn": "arn:aws:iam::1:oidc-provider/x"},
        "aws:iam/role:Role": {"arn": f"arn:aws:iam::1:role/{request.name}", "name": f"{request.name}-1"},
        "aws:kms/key:Key": {"arn": f"arn:aws:kms:eu:1:key/{request.name}"},
    }
    state = {**asked, **added.get(request.type, {})}
    if request.type == "kubernetes:core/v1:Service":
        service = asked["metadata"]["name"] if "metadata" in asked else request.id.rpartition("/")[2]
        if service in mocked:
            state["spec"] = {**state.get("spec", {}), "clusterIP": mocked[service]}
    return state


class RecordingMonitor(mocks.MockMonitor):
    """Keeps every request that reaches the engine, and answers it.

    The SDK's own monitor reads the inputs as the program would, which makes futures of the resources among them on
    the thread that answers; whoever loses that race waits for ever. This one never leaves plain data.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        self.resources = {}
        self.recorded: list[dict[str, Any]] = []
        self.outputs: dict[str, dict[str, Any]] = {}
        self._mocked: dict[str, str] = asked["mocked"]
        self._functions: dict[str, Any] = asked["functions"]
        self._objects: dict[str, Any] = asked["objects"]

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Record a registration."""
        urn = self.make_urn(request.parent, request.type, request.name)
        self.recorded.append(_record(request, urn, read=False))
        asked = json_format.MessageToDict(request.object)
        state = _state(request, asked, self._mocked)
        if request.type == "eks:index:Cluster":
            state |= {"eksCluster": self._control_plane(urn, request.name, asked), "kubeconfigJson": WITHOUT_A_REGION}
        identity = "" if request.type == "pulumi:pulumi:Stack" else f"{request.name}-id"
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, identity, state)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=_struct(state))

    def ReadResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Record a resource that is only read."""
        urn = self.make_urn(request.parent, request.type, request.name)
        self.recorded.append(_record(request, urn, read=True))
        state = _state(request, json_format.MessageToDict(request.properties), self._mocked)
        state |= self._objects.get(request.type, {})
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, request.id, state)
        return resource_pb2.ReadResourceResponse(urn=urn, properties=_struct(state))

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Record the outputs of a component or of the stack."""
        self.outputs[request.urn] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)

    def Invoke(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Look a registered resource up, or answer a data source; what AWS does not have is a failure, as there."""
        answer = resource_pb2.ResourceInvokeResponse()
        arguments = json_format.MessageToDict(request.args)
        name = " ".join([request.tok.rpartition(":")[2], arguments.get("addonName", "")]).strip()
        if request.tok == "pulumi:pulumi:getResource":
            found = self.resources[arguments["urn"]]._asdict()
        elif name in self._functions:
            found = self._functions[name]
        else:
            answer.failures.add(reason="couldn't find resource")
            return answer
        getattr(answer, "return").CopyFrom(_struct(found))
        return answer

    def _control_plane(self, parent: str, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Keep the child of the remote component that its outputs refer to; return the reference."""
        urn = self.make_urn(parent, "aws:eks/cluster:Cluster", f"{name}-eksCluster")
        state = {
            "name": asked["name"],
            "endpoint": "https://mocked.eks",
            "certificateAuthority": {"data": "bW9ja2Vk"},
            "identities": [{"oidcs": [{"issuer": "https://oidc.mocked"}]}],
            "vpcConfig": {"clusterSecurityGroupId": "sg-mocked", "subnetIds": []},
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": asked["kubernetesServiceIpAddressRange"]},
        }
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, asked["name"], state)
        return {rpc._special_sig_key: rpc._special_resource_sig, "urn": urn, "id": asked["name"]}


def _struct(values: dict[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(values)
    return made


def _record(request: Any, urn: str, *, read: bool) -> dict[str, Any]:
    inputs = request.properties if read else request.object
    return {
        "urn": urn,
        "type": request.type,
        "name": request.name,
        "read": read,
        "id": request.id if read else "",
        "parent": request.parent,
        "inputs": json_format.MessageToDict(inputs),
        "dependencies": sorted(request.dependencies),
        "provider": request.provider,
        "providers": {} if read else dict(request.providers),
        "protect": False if read else request.protect,
        "deleted_with": "" if read else request.deletedWith,
        "import_id": "" if read else request.importId,
        "retained": False if read else request.retainOnDelete,
    }


async def _deploy(asked: dict[str, Any], monitor: RecordingMonitor) -> None:
    set_all_config(asked["config"])
    features = monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures
    configure(
        mocks.MockSettings(
            monitor=monitor,
            engine=mocks.MockEngine(None),
            project="eks-node-local-dns",
            stack=asked["stack"],
            dry_run=False,
            organization="organization",
            callbacks=None,
            outputs=set(),
            root_directory=str(ROOT),
            monitor_features=set(features),
        )
    )

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")

    await run_in_stack(program)


def main() -> None:
    """Record the run; of a program that refuses, the reason is in `error`."""
    asked = json.load(sys.stdin)
    monitor = RecordingMonitor(asked)
    error = ""
    try:
        asyncio.run(_deploy(asked, monitor))
    except pulumi.RunError as raised:
        error = str(raised)
    outputs = [each for urn, each in monitor.outputs.items() if "::pulumi:pulumi:Stack::" in urn]
    recorded = {"resources": monitor.recorded, "outputs": outputs[0] if outputs else {}, "error": error}
    json.dump(recorded, sys.stdout)


if __name__ == "__main__":
    main()
