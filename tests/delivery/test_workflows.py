import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from components.cache.node_local_dns import NodeLocalDnsSettings
from components.cluster.versions import PINNED
from local_cloud.stacks import ROOT
from tools import locate
from tools.catalogue import PROGRAMS, GoProgram
from verify.probe import RULES_IMAGE

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
STACKS = {path.stem.removeprefix("Pulumi.") for path in (ROOT / "stacks").glob("Pulumi.*.yaml")}


@pytest.mark.needs("actionlint")
def test_workflows_pass_actionlint() -> None:
    """GitHub will understand every workflow, expressions and shell included."""
    shellcheck = f"-shellcheck={Path(sys.prefix, 'bin', 'shellcheck')}"
    done = subprocess.run([locate("actionlint"), shellcheck, *WORKFLOWS], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_workflows_pass_zizmor() -> None:
    """No workflow has a known security mistake."""
    zizmor = Path(sys.prefix, "bin", "zizmor")
    done = subprocess.run(
        [zizmor, "--offline", "--no-progress", ROOT / ".github"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / ".github/actions/pulumi/action.yml"], ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """Somebody else's action is named by a commit, with its version beside it."""
    used = re.findall(r"uses: (\S+)(.*)", path.read_text())
    foreign = [each for each in used if not each[0].startswith("./")]
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", name) for name, _rest in foreign)
    assert all(re.fullmatch(r" # v\d+\.\d+\.\d+", rest) for _name, rest in foreign)


CLOUD = {"contents": "read", "id-token": "write"}
PERMISSIONS = {
    "pull-request": {
        "check": {"contents": "read"},
        "preview": CLOUD,
        "comment": {"contents": "read", "pull-requests": "write"},
        "merge": {},
    },
    "deploy": dict.fromkeys(("dev", "stg", "prod"), CLOUD),
    "deploy-stack": {"up": CLOUD},
    "drift": {"look": CLOUD, "report": {"contents": "read", "issues": "write"}},
}


def test_jobs_have_only_the_permissions_they_need() -> None:
    """Nothing is granted to a whole workflow, and to each job exactly this."""
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in WORKFLOWS}
    assert all(each["permissions"] == {} for each in workflows.values())
    granted = {
        name: {job: each["permissions"] for job, each in workflow["jobs"].items()}
        for name, workflow in workflows.items()
    }
    assert granted == PERMISSIONS


def test_the_token_reaches_only_the_step_that_writes() -> None:
    """What a step installs or builds before it cannot read it."""
    with_token = [
        (path.stem, step["name"])
        for path in WORKFLOWS
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job.get("steps", ())
        if "github.token" in str(step)
    ]
    assert with_token == [("drift", "Report"), ("pull-request", "Comment")]
    assert sum(path.read_text().count("github.token") for path in WORKFLOWS) == len(with_token)


def test_nothing_is_told_of_a_run_that_is_being_cancelled() -> None:
    """A preview that a newer push has cut short is not summarized, stored or commented on."""
    for path in WORKFLOWS:
        jobs = yaml.safe_load(path.read_text())["jobs"]
        conditions = {name: str(job.get("if", "")) for name, job in jobs.items() if name != "merge"}
        assert not any("always()" in each for each in conditions.values()), conditions
        assert "always()" not in str([job.get("steps") for job in jobs.values()])
    assert (
        yaml.safe_load((ROOT / ".github/workflows/pull-request.yml").read_text())["jobs"]["merge"]["if"] == "always()"
    )


def test_every_stack_is_previewed_deployed_and_watched() -> None:
    """A stack file without a place in the workflows would be forgotten; deployment goes dev, stg, prod."""
    read = {path.stem: yaml.safe_load(path.read_text())["jobs"] for path in WORKFLOWS}
    assert set(read["pull-request"]["preview"]["strategy"]["matrix"]["stack"]) == STACKS
    assert set(read["drift"]["look"]["strategy"]["matrix"]["stack"]) == STACKS
    assert {job["with"]["stack"] for job in read["deploy"].values()} == STACKS
    assert [job.get("needs") for job in read["deploy"].values()] == [None, "dev", "stg"]


def test_gitlab_does_what_the_workflows_do() -> None:
    """The commands of GitLab's pipeline are those of the workflows, for every stack."""
    pipeline = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    scripts = "\n".join(line for job in pipeline.values() if isinstance(job, dict) for line in job.get("script", ()))
    commands = [
        line.strip().removeprefix("run: ")
        for path in WORKFLOWS
        for line in path.read_text().splitlines()
        if re.search(r"^\s+(run: )?(pulumi (preview|up|refresh)|\S+ -m (verify|delivery (comment|drift))) ", line)
    ]
    assert len(commands) == 6
    for command in commands:
        assert command.replace("$PULL_REQUEST", "$CI_MERGE_REQUEST_IID") in scripts
    for prefix in ("preview", "up", "look"):
        assert {key.removeprefix(f"{prefix}-") for key in pipeline if key.startswith(f"{prefix}-")} == STACKS


def test_the_workflows_run_the_engine_that_is_tested() -> None:
    """One version of the engine, here and in the workflows."""
    program = PROGRAMS["pulumi"]
    assert isinstance(program, GoProgram)
    [version] = [each for each in program.linker_variables.values() if each.startswith("v")]
    setup = (ROOT / ".github/actions/pulumi/action.yml").read_text()
    assert f"pulumi-version: {version.removeprefix('v')}\n" in setup
    assert f"PULUMI_VERSION: {version.removeprefix('v')}\n" in (ROOT / ".gitlab-ci.yml").read_text()


RENOVATE = json.loads((ROOT / "renovate.json").read_text())


def _watched(dependency: str) -> dict[str, list[str]]:
    """Return the versions that the patterns of renovate.json find of a dependency, by file."""
    files = [path for path in (Path(each) for each in _tracked()) if (ROOT / path).is_file()]
    found: dict[str, list[str]] = {}
    for manager in RENOVATE["customManagers"]:
        for path in files:
            if not any(re.search(each.strip("/"), str(path)) for each in manager["managerFilePatterns"]):
                continue
            for pattern in manager["matchStrings"]:
                for match in re.finditer(pattern.replace("(?<", "(?P<"), (ROOT / path).read_text()):
                    named = match.groupdict()
                    if named.get("depName", manager.get("depNameTemplate")) == dependency:
                        found.setdefault(str(path), []).append(named["currentValue"])
    return found


def _tracked() -> list[str]:
    return ["Makefile", ".gitlab-ci.yml", ".github/actions/pulumi/action.yml", "tools/catalogue.py"] + [
        str(path.relative_to(ROOT)) for room in ("components", "verify") for path in (ROOT / room).rglob("*.py")
    ]


def test_renovate_finds_every_add_on() -> None:
    """The patterns of renovate.json match each add-on of the table of versions."""
    row_pattern, pin_pattern = (
        re.compile(each.replace("(?<", "(?P<")) for each in RENOVATE["customManagers"][0]["matchStrings"]
    )
    found = {
        (row["kubernetes"], pin["addon"], pin["currentValue"])
        for row in row_pattern.finditer((ROOT / "components/cluster/versions.py").read_text())
        for pin in pin_pattern.finditer(row.group())
    }
    assert found == {
        (kubernetes, addon, version)
        for kubernetes, versions in PINNED.items()
        for addon, version in versions.model_dump().items()
    }


def test_renovate_finds_every_other_version_wherever_it_is_written() -> None:
    """A version that is in several files is found in all of them, or its update would arrive red."""
    name, tag = NodeLocalDnsSettings().image.split(":")
    assert _watched(name) == {"components/cache/node_local_dns.py": [tag], "verify/probe.py": [tag]}
    assert f"{name}:{tag}" == RULES_IMAGE
    engine = PROGRAMS["pulumi"]
    server = PROGRAMS["kube-apiserver"]
    assert isinstance(engine, GoProgram)
    assert isinstance(server, GoProgram)
    [version] = [each for each in engine.linker_variables.values() if each.startswith("v")]
    files = (".github/actions/pulumi/action.yml", ".gitlab-ci.yml", "tools/catalogue.py")
    assert _watched("pulumi/pulumi") == {path: [version.removeprefix("v")] for path in files}
    kubernetes = server.linker_variables["k8s.io/component-base/version.gitVersion"]
    assert _watched("k8s.io/kubernetes") == {"tools/catalogue.py": [kubernetes.removeprefix("v")]}
    assert f"\tk8s.io/kubernetes {kubernetes} // indirect" in (ROOT / "tools/kubernetes/go.mod").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [uv] = [each for each in project["optional-dependencies"]["dev"] if each.startswith("uv==")]
    assert _watched("uv") == {"Makefile": [uv.removeprefix("uv==")]}


def test_renovate_updates_the_programs_that_tools_builds() -> None:
    """go.mod calls a tool's module indirect, which Renovate leaves alone unless it is told not to."""
    [rule] = [each for each in RENOVATE["packageRules"] if each.get("matchDepTypes") == ["indirect"]]
    patterns = [re.compile(re.escape(each).replace(r"/\*\*", "/.*")) for each in rule["matchPackageNames"]]
    for file in sorted((ROOT / "tools").glob("*/go.mod")):
        before, _, required = file.read_text().partition("require")
        modules = re.findall(r"^\t(\S+) v\S+ // indirect$", required, re.MULTILINE)
        for tool in re.findall(r"^(?:tool |\t)([\w./-]+)$", before, re.MULTILINE):
            # Of the modules required, a tool's is the longest that its import path begins with.
            module = max((each for each in modules if tool.startswith(each)), key=len)
            assert any(pattern.fullmatch(module) for pattern in patterns), module


def test_what_renovate_runs_afterwards_is_there() -> None:
    """The commands that write what follows from an update are commands of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [
        command for rule in RENOVATE["packageRules"] for command in rule.get("postUpgradeTasks", {}).get("commands", [])
    ]
    assert commands == ["make lock", "make reference"]
    assert {each.removeprefix("make ") for each in commands} <= targets
    documented = (ROOT / "docs/runbooks/upgrade.md").read_text()
    assert all(f"`{each}`" in documented for each in commands)


def test_delivery_and_policies_need_no_other_room(tmp_path: Path) -> None:
    """Who copies the two folders into a repository of their own has all that their commands import."""
    for room in ("delivery", "policies"):
        shutil.copytree(ROOT / room, tmp_path / room)
    (tmp_path / "dev.json").write_text('{"steps": []}')
    for command in (
        ("-m", "delivery", "summary", "dev.json"),
        ("-c", "import sys; sys.path.insert(0, 'policies'); import eks_dns_policies"),
    ):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
