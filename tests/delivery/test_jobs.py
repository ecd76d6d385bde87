"""What decides in a job when its commands end well or badly; the commands are stand-ins that only end."""

import os
import re
import shutil
from pathlib import Path

import pytest

from local_cloud.stacks import ROOT
from tests.delivery.jobs import Done, Runner, offer_release

PULUMI = "#!/bin/sh\necho pulumi $*\nexit ${PULUMI_ENDS:-0}\n"
PYTHON = '#!/bin/sh\necho python $*\ncase "$*" in *verify*) exit ${VERIFY_ENDS:-0};; esac\n'


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Return a runner on whose path every command is a stand-in."""
    directory = tmp_path / "checkout"
    shutil.copytree(ROOT / ".github", directory / ".github")
    shutil.copy2(ROOT / ".gitlab-ci.yml", directory)
    (tmp_path / "bin").mkdir()
    commands = {
        tmp_path / "bin/make": "#!/bin/sh\necho make $*\nexit ${MAKE_ENDS:-0}\n",
        tmp_path / "bin/sudo": '#!/bin/sh\nshift\nexec "$@"\n',
        tmp_path / "bin/pulumi": PULUMI,
        directory / ".venv/bin/python": PYTHON,
    }
    for path, text in commands.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    variables = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    values = {"vars.PULUMI_BACKEND_URL": "file:///nowhere", "inputs.stack": "dev", "matrix.stack": "dev"}
    return Runner(directory, variables, values)


def with_environment(runner: Runner, **more: str) -> Runner:
    """Return the same runner with more variables."""
    return Runner(runner.directory, {**runner.environment, **more}, runner.values)


@pytest.mark.parametrize(
    ("ends", "failed_step"),
    [
        ({}, ""),
        ({"PULUMI_ENDS": "255"}, "Up"),
        ({"VERIFY_ENDS": "1"}, "Verify"),
        ({"VERIFY_ENDS": "2"}, "Verify"),
        ({"MAKE_ENDS": "2"}, "Install the packages"),
    ],
)
def test_a_stack_counts_as_deployed_once_dns_is_proved(runner: Runner, ends: dict[str, str], failed_step: str) -> None:
    """The job passes when verify does, and fails when it does not, could not tell, or is not reached."""
    done = with_environment(runner, **ends).run("deploy-stack", "up")
    assert done.failed_step == failed_step
    assert ("python -m verify --stack dev" in done.text) is (failed_step in {"", "Verify"})


def test_the_check_job_runs_commands_that_there_are(runner: Runner) -> None:
    """Lint, then every test, as commands of the Makefile; either fails the job."""
    done = runner.run("pull-request", "check")
    assert not done.failed
    commands = re.findall(r"^make (\w+)$", done.text, re.MULTILINE)
    assert commands == ["lint", "test"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(commands) <= set(targets)
    assert with_environment(runner, MAKE_ENDS="1").run("pull-request", "check").failed_step == "Lint"


def test_a_preview_that_failed_is_summarized_and_fails(runner: Runner) -> None:
    """What the engine said reaches the summary also when a policy has stopped it."""
    stopped = with_environment(runner, PULUMI_ENDS="255")
    assert stopped.run("pull-request", "preview").failed_step == "Preview"
    assert stopped.ran == ["Install the packages", "Preview", "Summary"]
    assert "delivery summary previews/dev.json" in Path(runner.environment["GITHUB_STEP_SUMMARY"]).read_text()


@pytest.mark.parametrize(
    ("check", "preview", "passes"),
    [
        ("success", "success", True),
        ("failure", "success", False),
        ("success", "failure", False),
        ("success", "skipped", False),
        ("success", "cancelled", False),
    ],
)
def test_only_what_was_checked_and_previewed_may_be_merged(
    runner: Runner, check: str, preview: str, *, passes: bool
) -> None:
    """The one required check always reports; of a fork, whose previews are skipped, it says what to do."""
    values = {**runner.values, "needs.check.result": check, "needs.preview.result": preview}
    done = Runner(runner.directory, runner.environment, values).run("pull-request", "merge")
    assert done.failed is not passes
    assert ("push its commits to a branch" in done.text) is (preview == "skipped")


def release(runner: Runner, tmp_path: Path, *, honest: bool = True) -> Runner:
    """Return the runner of a pipeline that can download the stand-in of the CLI."""
    offer_release(tmp_path, tmp_path / "bin" / "pulumi", honest=honest)
    return with_environment(runner, AWS_TOKEN="token", CI_MERGE_REQUEST_IID="7")  # noqa: S106  # of no use anywhere


def gitlab(runner: Runner, job: str, **more: str) -> Done:
    """Run a job of GitLab's."""
    return with_environment(runner, **more).run_gitlab(job)


def test_gitlab_installs_only_the_cli_that_was_released(runner: Runner, tmp_path: Path) -> None:
    """An archive that is not the one of the release ends the job before anything of it is run."""
    refused = gitlab(release(runner, tmp_path, honest=False), "up-dev")
    assert refused.failed
    assert "pulumi up" not in refused.text


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ("preview-prod", "pulumi preview --stack prod"),
        ("up-stg", "python -m verify --stack stg"),
        ("look-dev", "pulumi refresh --preview-only --stack dev"),
        ("comment", "delivery comment --pull-request 7 previews/dev.json previews/stg.json previews/prod.json"),
        ("report", "delivery drift drift/dev.json drift/stg.json drift/prod.json"),
        ("check", "make test"),
    ],
)
def test_gitlab_runs_each_job(runner: Runner, tmp_path: Path, job: str, says: str) -> None:
    """Each job's lines are commands that work, with its stack in the variables."""
    apt = tmp_path / "bin/apt-get"
    apt.write_text("#!/bin/sh\n")
    apt.chmod(0o755)
    done = gitlab(release(runner, tmp_path), job)
    assert not done.failed, done.text
    # What a preview prints is in its artifact.
    written = "".join(path.read_text() for path in runner.directory.glob("*/*.json"))
    assert says in done.text + written
    assert gitlab(runner, "check", MAKE_ENDS="1").failed


def test_gitlab_deploys_only_what_is_proved(runner: Runner, tmp_path: Path) -> None:
    """A stack whose DNS is not proved fails its job, and with it the stages after it."""
    ready = release(runner, tmp_path)
    assert gitlab(ready, "up-dev", VERIFY_ENDS="2").status == 2
