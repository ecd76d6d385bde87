"""`python -m delivery`: what continuous integration says about previews and drift."""

import os
from pathlib import Path
from typing import Annotated

import typer

from delivery.github import GitHubError, Repository
from delivery.gitlab import GitLabError, Project
from delivery.preview import Preview, UnreadableError, read
from delivery.summary import FOUND, LONGEST, Seen, summary

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

_Previews = Annotated[
    list[Path],
    typer.Argument(help="What `pulumi preview --json` printed, a file for each environment, named like it: dev.json."),
]


def _forge() -> Repository | Project:
    """Return where the pipeline runs."""
    return Project.of_pipeline() if os.environ.get("GITLAB_CI") else Repository.of_workflow()


def _read(files: list[Path]) -> dict[str, Seen]:
    """Return what each file says; of one that says nothing, why."""
    found: dict[str, Seen] = {}
    for path in files:
        try:
            found[path.stem] = read(path.read_text())
        except OSError as error:
            found[path.stem] = UnreadableError(f"there is no output of it: {error.strerror}, {path}")
        except UnreadableError as error:
            found[path.stem] = UnreadableError(f"{path}: {error}")
    return found


def _end(previews: dict[str, Seen]) -> None:
    """End with 2 if an environment could not be read: what it would become is not known."""
    unread = [str(each) for each in previews.values() if isinstance(each, UnreadableError)]
    for each in unread:
        typer.echo(each, err=True)
    if unread:
        raise typer.Exit(2)


@app.command("summary")
def show_summary(
    files: _Previews,
    *,
    title: Annotated[str, typer.Option(help="Heading of the text.")] = "Preview",
    everything: Annotated[bool, typer.Option("--all", help="However long it is; a comment is shortened.")] = False,
) -> None:
    """Print previews as Markdown: what goes, what pods and DNS will feel, policy, all changes."""
    previews = _read(files)
    typer.echo(summary(previews, title, longest=None if everything else LONGEST))
    _end(previews)


@app.command()
def comment(
    files: _Previews,
    *,
    pull_request: Annotated[int, typer.Option(help="Number of the pull request, or of the merge request.")],
    name: Annotated[str, typer.Option(help="Which of our comments on it.")] = "preview",
) -> None:
    """Write the summary as the one comment on a pull request (GitHub) or merge request (GitLab)."""
    previews = _read(files)
    try:
        typer.echo(_forge().comment(pull_request, name, summary(previews)))
    except (GitHubError, GitLabError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    _end(previews)


@app.command()
def drift(files: _Previews, *, name: Annotated[str, typer.Option(help="Which of our issues.")] = "drift") -> None:
    """Open, update or close the one issue about drift, from what `pulumi refresh --preview-only --json` printed.

    Ends with 1 if something was changed by hand, with 2 if something could not be looked at.
    """
    looks = {key: _looked_at(each) for key, each in _read(files).items()}
    drifted = [key for key, each in looks.items() if isinstance(each, Preview) and each.changes]
    unseen = [key for key, each in looks.items() if isinstance(each, UnreadableError)]
    said = [f"{' and '.join(keys)} {what}" for keys, what in ((drifted, _DRIFTED), (unseen, _UNSEEN)) if keys]
    try:
        forge = _forge()
        if said:
            shown = {key: looks[key] for key in (*drifted, *unseen)}
            text = summary(shown, "What was changed by hand", FOUND)
            typer.echo(forge.open_issue(name, f"Drift: {'; '.join(said)}", text))
        else:
            closed = forge.close_issue(name, "Everything is again as the last update left it.")
            typer.echo(closed or "No drift.")
    except (GitHubError, GitLabError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    _end(looks)
    if drifted:
        raise typer.Exit(1)


_DRIFTED = "changed by hand"
_UNSEEN = "could not be looked at"


def _looked_at(look: Seen) -> Seen:
    """Return a look that ended; one that failed says nothing about drift, whatever it had found until then."""
    if isinstance(look, Preview) and look.errors:
        return UnreadableError("\n".join(look.errors))
    return look


if __name__ == "__main__":
    app()
