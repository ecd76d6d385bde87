import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from delivery.__main__ import app

if TYPE_CHECKING:
    from conftest import Forge

MARKED = "<!-- eks-node-local-dns:preview --><!-- eks-node-local-dns:drift --> see my site"
URN = "urn:pulumi:dev::p::aws:kms/key:Key::key"
CHANGED = {"steps": [{"op": "update", "urn": URN}], "changeSummary": {"update": 1}}
UNCHANGED: dict[str, object] = {"steps": [], "changeSummary": {"same": 1}}
FAILED = {"steps": [], "diagnostics": [{"severity": "error", "message": "error: no credentials"}]}
STRANGERS = [
    {"user": {"type": "User"}, "author": {"id": 99}, "body": MARKED, "description": MARKED, "id": 3, "number": 3}
]


@pytest.fixture(params=["github", "gitlab"])
def pipeline(request: pytest.FixtureRequest, forge: "Forge", monkeypatch: pytest.MonkeyPatch) -> "Forge":
    """Make the process believe that it runs in a pipeline of each forge."""
    if request.param == "github":
        monkeypatch.delenv("GITLAB_CI", raising=False)
        monkeypatch.setenv("GITHUB_API_URL", forge.address)
        monkeypatch.setenv("GITHUB_REPOSITORY", "some/one")
        monkeypatch.setenv("GITHUB_TOKEN", forge.token)
    else:
        monkeypatch.setenv("GITLAB_CI", "true")
        monkeypatch.setenv("CI_API_V4_URL", forge.address)
        monkeypatch.setenv("CI_PROJECT_ID", "7")
        monkeypatch.setenv("GITLAB_TOKEN", forge.token)
    return forge


def preview(directory: Path, content: object, stack: str = "dev") -> str:
    """Write what a preview printed."""
    path = directory / f"{stack}.json"
    path.write_text(json.dumps(content))
    return str(path)


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, arguments)


def text_of(found: dict[str, str]) -> str:
    """Return an issue's or comment's text."""
    return found.get("body") or found["description"]


def test_a_comment_is_updated_and_not_repeated(pipeline: "Forge", tmp_path: Path) -> None:
    """However often the pipeline runs, a pull request has one comment of ours, behind any number of others."""
    somebody = {"user": {"type": "Bot"}, "author": {"id": pipeline.user}, "body": "somebody else"}
    pipeline.comments[5] = [
        *({**each} for each in STRANGERS),
        *({**somebody, "id": number} for number in range(10, 130)),
    ]
    assert run("comment", "--pull-request", "5", preview(tmp_path, CHANGED)).exit_code == 0
    assert run("comment", "--pull-request", "5", preview(tmp_path, UNCHANGED)).exit_code == 0
    [strange, ours] = [each for each in pipeline.comments[5] if "eks-node-local-dns" in each["body"]]
    assert "### dev: no changes" in ours["body"]
    assert strange["body"] == MARKED


def test_drift_is_one_issue_that_closes_by_itself(pipeline: "Forge", tmp_path: Path) -> None:
    """Drift opens an issue and exits with 1, more drift updates it, none closes it."""
    pipeline.issues += [{**each, "state": "open"} for each in STRANGERS]
    assert run("drift", preview(tmp_path, CHANGED)).exit_code == 1
    assert run("drift", preview(tmp_path, {**CHANGED, "steps": [{"op": "delete", "urn": URN}]})).exit_code == 1
    strange, issue = pipeline.issues
    assert strange["body"] == MARKED
    assert issue["state"] == "open"
    assert issue["title"] == "Drift: dev changed by hand"
    assert "### dev: 1 deleted" in text_of(issue)
    assert run("drift", preview(tmp_path, UNCHANGED)).exit_code == 0
    assert issue["state"] == "closed"
    assert run("drift", preview(tmp_path, UNCHANGED)).exit_code == 0
    assert len(pipeline.issues) == 2
    assert strange["state"] == "open"


def test_one_environment_that_cannot_be_read_does_not_silence_the_others(pipeline: "Forge", tmp_path: Path) -> None:
    """The comment is written with what is known, says what is not, and the job fails."""
    result = run("comment", "--pull-request", "5", preview(tmp_path, CHANGED), str(tmp_path / "absent" / "prod.json"))
    assert result.exit_code == 2
    [written] = pipeline.comments[5]
    assert "### dev: 1 to update" in written["body"]
    assert "### prod: **could not be previewed**" in written["body"]
    assert "No such file" in written["body"]


def test_a_look_that_failed_is_no_drift_and_hides_none(pipeline: "Forge", tmp_path: Path) -> None:
    """An issue says which stack could not be looked at, apart from those that were changed; it is not closed."""
    failed = preview(tmp_path, FAILED, "prod")
    assert run("drift", preview(tmp_path, UNCHANGED), failed).exit_code == 2
    [issue] = pipeline.issues
    assert issue["title"] == "Drift: prod could not be looked at"
    assert "no credentials" in text_of(issue)
    assert "### dev" not in text_of(issue)
    absent = str(tmp_path / "stg.json")
    assert run("drift", preview(tmp_path, CHANGED), absent, failed).exit_code == 2
    assert issue["title"] == "Drift: dev changed by hand; stg and prod could not be looked at"
    assert "### dev: 1 changed" in text_of(issue)
    assert run("drift", failed).exit_code == 2
    assert issue["state"] == "open"


def test_a_refusal_is_told(pipeline: "Forge", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that may not write ends the job with what the forge said, and writes nothing."""
    monkeypatch.setattr(pipeline, "token", "another")
    result = run("comment", "--pull-request", "5", preview(tmp_path, CHANGED))
    assert (result.exit_code, pipeline.comments) == (1, {})
    assert "Bad credentials" in result.output
    assert run("drift", preview(tmp_path, CHANGED)).exit_code == 2


def test_outside_of_a_pipeline_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that a pipeline sets are named."""
    for name in ("GITLAB_CI", "GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN", "CI_API_V4_URL", "GITLAB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    result = run("comment", "--pull-request", "5", preview(tmp_path, CHANGED))
    assert result.exit_code == 1
    assert "GITHUB_TOKEN" in result.output
    monkeypatch.setenv("GITLAB_CI", "true")
    assert "GITLAB_TOKEN" in run("comment", "--pull-request", "5", preview(tmp_path, CHANGED)).output


def test_an_unreadable_preview_is_not_no_change(tmp_path: Path) -> None:
    """A file that is missing or no preview ends with 2: neither drift nor its absence is known."""
    broken = tmp_path / "prod.json"
    broken.write_text("panic")
    for path in (broken, tmp_path / "absent.json"):
        result = run("summary", str(path))
        assert result.exit_code == 2
        assert path.name in result.output


def test_all_of_a_preview_can_be_printed(tmp_path: Path) -> None:
    """What a comment leaves out is printed with --all, and only then."""
    steps = [{"op": "update", "urn": f"{URN}-{number}-{'x' * 60}"} for number in range(1000)]
    path = preview(tmp_path, {"steps": steps})
    assert "./eks-node-local-dns delivery summary --all" in run("summary", path).output
    assert run("summary", "--all", path).output.count("- to update") == 1000
