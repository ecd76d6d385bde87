import asyncio
from typing import Any

import pulumi
import pytest

from components.running_cluster import strict_pods_guard
from components.running_cluster.kubernetes_api import KubernetesApiError
from tests.program.recorder import recorded
from tests.program.runs import RUNS, run_of

SERVICE = "kubernetes:core/v1:Service"


@pytest.mark.parametrize("run", ["dev", "a cluster that exists"])
@pytest.mark.parametrize("ignored", [False, True])
def test_the_guard_asks_the_stacks_own_cluster_and_obeys_its_setting(
    monkeypatch: pytest.MonkeyPatch, run: str, ignored: bool
) -> None:
    """The hook that the program registers refuses, and only `ignoreStrictPods` makes a warning of it."""
    made: dict[str, Any] = {}
    asked: list[str] = []
    warned: list[str] = []

    class Hook(pulumi.ResourceHook):
        def __init__(self, name: str, func: Any, opts: Any = None) -> None:
            made[name] = func
            super().__init__(name, func, opts)

    def ask(kubeconfig: str) -> None:
        asked.append(kubeconfig)
        raise KubernetesApiError("no answer")

    monkeypatch.setattr(pulumi, "ResourceHook", Hook)
    monkeypatch.setattr(strict_pods_guard, "_ask", ask)
    settings = {**RUNS[run].get("settings", {}), "nodeLocalDns": {"ignoreStrictPods": ignored}}
    outputs = recorded(run_of({**RUNS[run], "settings": settings})).outputs
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    [hook] = made.values()
    refused = None
    try:
        asyncio.run(hook(pulumi.ResourceHookArgs("urn", "", "name", SERVICE, new_inputs={})))
    except strict_pods_guard.StrictPodsError as error:
        refused = str(error)
    assert asked == [outputs["kubeconfig"]]
    told = " ".join(warned) if ignored else refused
    assert (refused is None) is ignored
    assert "no answer" in str(told)
