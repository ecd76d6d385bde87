"""One name starts every command, from a clone or the wheel, and says what to do where it cannot."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from commands import __main__ as commands

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "eks-node-local-dns"


def test_the_wheel_has_it_under_the_same_name() -> None:
    """What pip installs is what a clone has; the wheel holds what it can run without one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {commands.NAME: "commands.__main__:main"}
    assert SCRIPT.name == commands.NAME
    assert {"commands", "verify", "migrate"} <= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_command_tells_what_it_takes(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its help names it as it was typed."""
    monkeypatch.setattr("sys.argv", [commands.NAME, name, "--help"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 0
    assert f"Usage: eks-node-local-dns {name} " in re.sub(r"\s+", " ", capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_without_a_command_all_are_listed(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with what it does."""
    monkeypatch.setattr("sys.argv", [commands.NAME, *arguments])
    commands.main()
    said = capsys.readouterr().out
    assert all(does in said for _module, does in commands.COMMANDS.values())


def test_a_misspelt_command_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list follows, and the exit code is no success."""
    monkeypatch.setattr("sys.argv", [commands.NAME, "verfiy"])
    with pytest.raises(SystemExit, match=r"There is no command verfiy\.\nUsage: "):
        commands.main()


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("typer", "The Python package typer is missing: run `make setup` in the clone, and then this again."),
        ("lab", "eks-node-local-dns lab is only in a clone of the repository: run it there, after `make setup`."),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(missing: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, neither without the packages nor outside a clone."""

    def absent(name: str) -> object:
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(name=name)
        return import_module(name)

    monkeypatch.setattr(commands, "import_module", absent)
    with pytest.raises(SystemExit) as ended:
        commands.run("lab", [])
    assert ended.value.code == said


def test_a_clone_that_was_not_set_up_says_so(tmp_path: Path) -> None:
    """A fresh shell in a fresh clone gets one sentence with the command that helps."""
    shutil.copy(SCRIPT, tmp_path)
    done = subprocess.run([tmp_path / SCRIPT.name, "verify"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"The Python packages are not installed: run 'make -C {tmp_path} setup', and then this again.\n"
    )


def test_it_works_from_any_folder(tmp_path: Path) -> None:
    """Paths in the arguments are those of the folder one is in; the packages are the clone's."""
    clone, elsewhere = tmp_path / "a clone", tmp_path / "elsewhere"
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    elsewhere.mkdir()
    python.write_text('#!/bin/sh\npwd\necho "$PYTHONPATH"\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    shutil.copy(SCRIPT, clone)
    done = subprocess.run(
        [clone / SCRIPT.name, "lab", "crash loop"], check=True, capture_output=True, text=True, cwd=elsewhere,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    assert done.stdout.splitlines() == [str(elsewhere), str(clone), "-m", "commands", "lab", "crash loop"]
