"""Programs in this process: what the engine leaves when it ends a run before its program."""

import gc
from pathlib import Path

import pytest
from pulumi.automation import CommandError

from local_cloud import cloud
from local_cloud.inline_program import InlineProgram
from local_cloud.layout import Layout
from local_cloud.stacks import Stack
from tools import locate

_WAITS_FOR_WHAT_IS_NOT_THERE = """
import pulumi
import pulumi_kubernetes as k8s

KUBECONFIG = '''
apiVersion: v1
kind: Config
current-context: nobody
clusters: [{name: nobody, cluster: {server: "https://127.0.0.1:9"}}]
contexts: [{name: nobody, context: {cluster: nobody, user: nobody}}]
users: [{name: nobody, user: {}}]
'''

async def main():
    inside = pulumi.ResourceOptions(provider=k8s.Provider("nobody", kubeconfig=KUBECONFIG))
    first = k8s.apps.v1.DaemonSet.get("first", "kube-system/first", opts=inside)
    second = k8s.core.v1.ConfigMap.get("second", "kube-system/second", opts=inside)
    await first.spec.future()
    await second.data.future()

pulumi.run(main)
"""


@pytest.mark.engine
def test_a_program_that_the_engine_leaves_waiting_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends at an object that is not there leaves no event loop for the garbage collector to find."""
    layout = Layout(tmp_path / "cloud")
    layout.state.mkdir(parents=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: waiting\nruntime: python\n")
    (project / "__main__.py").write_text(_WAITS_FOR_WHAT_IS_NOT_THERE)
    programs: list[InlineProgram] = []

    class Kept(InlineProgram):
        def close(self) -> None:
            super().close()
            programs.append(self)

    monkeypatch.setattr("local_cloud.stacks.InlineProgram", Kept)
    stack = Stack(cloud.environment(layout, {"pulumi": locate("pulumi")}), tmp_path / "projects", project=project)
    with pytest.raises(CommandError):
        stack.preview()
    [program] = programs
    assert program._loop is not None
    assert program._loop.is_closed()
    gc.collect()  # what was left open warns now, and a warning fails the test
