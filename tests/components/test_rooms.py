"""The rooms of `components`: which way they import, and what each hands on."""

import importlib
import re
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]

PUBLIC = {
    "components": (
        "EksCluster EksClusterArgs Network NetworkArgs NodeLocalDns NodeLocalDnsArgs NodeLocalDnsSettings "
        "PodSecurityGroup PodSecurityGroupArgs StackOutputs attach"
    ),
    "components.attached": "AttachedCluster AttachedClusterArgs SourceSettings Wanted attach",
    "components.cache": (
        "CorefileSettings NodeLocalDns NodeLocalDnsArgs NodeLocalDnsSettings ObservabilitySettings manifests"
    ),
    "components.cluster": (
        "AddonVersions ClusterSettings EksCluster EksClusterArgs Network NetworkArgs NetworkSettings "
        "NodeGroupSettings VpcCniSettings"
    ),
    "components.pod_security_groups": (
        "LabelOperator LabelRequirementArgs LabelSelectorArgs PodSecurityGroup PodSecurityGroupArgs TrafficProtocol "
        "TrafficRuleArgs"
    ),
    "components.running_cluster": ("CniState KubernetesApi KubernetesApiError SecurityGroupPod StrictPodsError alone"),
}


def test_imports_run_one_way(capsys: pytest.CaptureFixture[str]) -> None:
    """No room imports one that stands on it, and no modules import each other: the contracts in pyproject.toml."""
    kept = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert kept == 0, capsys.readouterr().out


@pytest.mark.parametrize("room", PUBLIC)
def test_a_room_hands_on_its_public_names(room: str) -> None:
    """Exactly these, and each is there when it is asked for."""
    module = importlib.import_module(room)
    assert sorted(module.__all__) == PUBLIC[room].split()
    assert all(getattr(module, name) for name in module.__all__)


def test_every_room_is_held() -> None:
    """A new room has to say what it hands on."""
    rooms = {f"components.{path.parent.name}" for path in (ROOT / "components").glob("*/__init__.py")}
    assert rooms | {"components"} == PUBLIC.keys()


def test_documents_import_what_is_handed_on() -> None:
    """Programs in README, docs and examples take public names from rooms, never from the modules inside them."""
    sources = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    imports = [
        (str(path.relative_to(ROOT)), room, name.strip())
        for path in sources
        for room, names in re.findall(r"^from (components[\w.]*) import ([\w, ]+)$", path.read_text(), re.MULTILINE)
        for name in names.split(",")
    ]
    assert imports
    assert [each for each in imports if each[2] not in PUBLIC.get(each[1], "").split()] == []
