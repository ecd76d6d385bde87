"""Run the program against Pulumi mocks, in this process, and keep every request that reaches the engine."""

import logging
import runpy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime import mocks, rpc, set_all_config
from pulumi.runtime.proto import engine_pb2, resource_pb2
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack

from tests.mocked_engine import ended

ROOT = Path(__file__).parents[2]
WITHOUT_A_REGION = '{"mocked": true}'
UNKNOWN = rpc.UNKNOWN

_HOW_IT_IS_ASKED = frozenset(
    {
        *("type", "name", "custom", "object", "properties", "id"),
        # what the SDK itself can do, and where in the source the request comes from
        *("acceptSecrets", "acceptResources", "acceptsByteString", "supportsPartialValues", "supportsResultReporting"),
        *("sourcePosition", "stackTrace", "parentStackTraceHandle", "deleteBeforeReplaceDefined"),
        # of the plugin: as locked with the other packages
        *("version", "packageRef", "pluginDownloadURL", "pluginChecksums"),
        # input by input what `dependencies` has for all of them
        "propertyDependencies",
    }
)
"""Fields of a request that are no option of the resource; any other that is not empty is one."""


@dataclass(frozen=True)
class Run:
    """One run of the program: what it is told, and what AWS and the cluster answer."""

    stack: str
    """Name of the stack."""

    config: Mapping[str, str]
    """The stack file's, as the engine hands it over."""

    mocked: Mapping[str, str]
    """ClusterIPs of Services, by name."""

    functions: Mapping[str, Any]
    """What AWS answers to data sources, by function and add-on."""

    objects: Mapping[str, Any]
    """What is read, by type."""


@dataclass(frozen=True)
class Registered:
    """One resource as the program asked for it."""

    urn: str
    type: str
    name: str
    read: bool
    id: str
    inputs: dict[str, Any]
    options: dict[str, Any]
    """Each that is not left to the engine, by its name in the engine's protocol."""

    @property
    def parent(self) -> str:
        """URN of the parent; empty for the stack."""
        return self.options.get("parent", "")

    @property
    def dependencies(self) -> list[str]:
        """URNs of what it waits for."""
        return self.options.get("dependencies", [])

    @property
    def provider(self) -> str:
        """Reference to an explicit provider; empty for the default one."""
        return self.options.get("provider", "")

    @property
    def deleted_with(self) -> str:
        """URN of what takes it along when it goes."""
        return self.options.get("deletedWith", "")


@dataclass
class Recording:
    """One run of the program."""

    resources: list[Registered]
    calls: list[dict[str, Any]]
    """Data sources asked, each as `{function: arguments}`."""
    hooks: dict[str, dict[str, Any]]
    """Hooks by name, each with its options."""
    component_outputs: dict[str, dict[str, Any]]
    """What components tell, by URN."""
    outputs: dict[str, Any]
    warnings: list[str]
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


def _state(request: Any, asked: dict[str, Any], mocked: Mapping[str, str], *, preview: bool) -> dict[str, Any]:
    """Return what was asked for with what AWS or Kubernetes would add to it; nobody knows that in a preview."""
    added: dict[str, dict[str, Any]] = {
        "aws:ec2/eip:Eip": {"allocationId": f"eipalloc-{request.name}"},
        "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 7},
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider": {"arn": "arn:aws:iam::1:oidc-provider/x"},
        "aws:iam/role:Role": {"arn": f"arn:aws:iam::1:role/{request.name}", "name": f"{request.name}-1"},
        "aws:kms/key:Key": {"arn": f"arn:aws:kms:eu:1:key/{request.name}"},
    }
    told = added.get(request.type, {})
    state = {**asked, **(dict.fromkeys(told, UNKNOWN) if preview else told)}
    if request.type == "kubernetes:core/v1:Service":
        service = asked["metadata"]["name"] if "metadata" in asked else request.id.rpartition("/")[2]
        if service in mocked:
            address = UNKNOWN if preview else mocked[service]
            state["spec"] = {**state.get("spec", {}), "clusterIP": address}
    return state


class RecordingMonitor(mocks.MockMonitor):
    """Keeps every request that reaches the engine, and answers it.

    The SDK's own monitor reads the inputs as the program would, which makes futures of the resources among them on
    the thread that answers; whoever loses that race waits for ever. This one never leaves plain data.
    """

    def __init__(self, run: Run, *, preview: bool) -> None:
        self.resources = {}
        self.recorded: list[Registered] = []
        self.calls: list[dict[str, Any]] = []
        self.hooks: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self._run, self._preview = run, preview
        self._unreachable: set[str] = set()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Record a registration."""
        urn = self.make_urn(request.parent, request.type, request.name)
        asked = _plain(request.object)
        self.recorded.append(_record(request, urn, asked, read=False))
        state = _state(request, asked, self._run.mocked, preview=self._preview)
        if request.type == "eks:index:Cluster":
            kubeconfig = UNKNOWN if self._preview else WITHOUT_A_REGION
            state |= {"eksCluster": self._control_plane(urn, request.name, asked), "kubeconfigJson": kubeconfig}
        if request.type == "pulumi:providers:kubernetes" and asked["kubeconfig"] == UNKNOWN:
            self._unreachable.add(urn)
        identity = "" if self._preview or request.type == "pulumi:pulumi:Stack" else f"{request.name}-id"
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, identity, state)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=_struct(state))

    def ReadResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Record a resource that is only read."""
        urn = self.make_urn(request.parent, request.type, request.name)
        asked = _plain(request.properties)
        self.recorded.append(_record(request, urn, asked, read=True))
        unreachable = request.provider.rpartition("::")[0] in self._unreachable
        state = _state(request, asked, self._run.mocked, preview=unreachable)
        state |= {} if unreachable else self._run.objects.get(request.type, {})
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, request.id, state)
        return resource_pb2.ReadResourceResponse(urn=urn, properties=_struct(state))

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Record the outputs of a component or of the stack."""
        self.outputs[request.urn] = _plain(request.outputs)
        return super().RegisterResourceOutputs(request)

    def RegisterResourceHook(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Record a hook."""
        self.hooks[request.name] = {
            key: value for key, value in json_format.MessageToDict(request).items() if key not in {"name", "callback"}
        }
        return super().RegisterResourceHook(request)

    def Invoke(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Look a registered resource up, or answer a data source; what AWS does not have is a failure, as there."""
        answer = resource_pb2.ResourceInvokeResponse()
        arguments = _plain(request.args)
        function = request.tok.rpartition(":")[2]
        name = " ".join([function, arguments.get("addonName", "")]).strip()
        if request.tok == "pulumi:pulumi:getResource":
            found = self.resources[arguments["urn"]]._asdict()
        else:
            self.calls.append({request.tok: arguments})
            if name not in self._run.functions:
                answer.failures.add(reason="couldn't find resource")
                return answer
            found = self._run.functions[name]
            if function == "getCluster":
                found = {**found, "name": arguments["name"]}
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
        if self._preview:
            state = {key: value if key == "name" else UNKNOWN for key, value in state.items()}
        identity = UNKNOWN if self._preview else asked["name"]
        self.resources[urn] = mocks.MockMonitor.ResourceRegistration(urn, identity, state)
        return {rpc._special_sig_key: rpc._special_resource_sig, "urn": urn, "id": identity}


class _Listening(mocks.MockEngine):
    """Keeps warnings, and tells none."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger(__name__))
        self.warnings: list[str] = []

    def Log(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        """Keep a warning."""
        if request.severity == engine_pb2.WARNING:
            self.warnings.append(request.message)


def _struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(dict(values))
    return made


def _plain(values: struct_pb2.Struct) -> dict[str, Any]:
    return _whole(json_format.MessageToDict(values))


def _whole(value: Any) -> Any:
    """Return a value whose whole numbers are such: a Struct knows no other than floating-point ones."""
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _record(request: Any, urn: str, inputs: dict[str, Any], *, read: bool) -> Registered:
    options = json_format.MessageToDict(request)
    options = {key: value for key, value in options.items() if key not in _HOW_IT_IS_ASKED and value}
    if "dependencies" in options:
        options["dependencies"] = sorted(options["dependencies"])
    return Registered(urn, request.type, request.name, read, request.id if read else "", inputs, options)


def recorded(run: Run, *, preview: bool = False) -> Recording:
    """Run the program; of one that refuses, the reason is in `error`.

    In a `preview` of a stack that was never brought up, nobody knows what AWS would give: it is `UNKNOWN`.
    """
    monitor, engine = RecordingMonitor(run, preview=preview), _Listening()

    async def deploy() -> None:
        set_all_config(dict(run.config))
        features = monitor.GetDeploymentInfo(empty_pb2.Empty()).supportedFeatures
        configure(
            mocks.MockSettings(
                monitor=monitor,
                engine=engine,
                project="eks-node-local-dns",
                stack=run.stack,
                dry_run=preview,
                organization="organization",
                callbacks=None,
                outputs=set(),
                root_directory=str(ROOT),
                monitor_features=set(features),
            )
        )
        await run_in_stack(lambda: (runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__"), None)[1])

    error = ended(deploy)
    stack = [urn for urn in monitor.outputs if "::pulumi:pulumi:Stack::" in urn]
    outputs = {urn: each for urn, each in monitor.outputs.items() if urn not in stack}
    exported = monitor.outputs[stack[0]] if stack else {}
    return Recording(monitor.recorded, monitor.calls, monitor.hooks, outputs, exported, sorted(engine.warnings), error)
