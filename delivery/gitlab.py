"""One note on a merge request and one issue that are updated, never repeated, through GitLab's API."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from delivery.github import mark

_PAGE = 100


class GitLabError(RuntimeError):
    """GitLab refused, or the pipeline did not say where it runs."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project on GitLab, as a pipeline's variables tell it."""

    api: str
    """Address of the API, with its version."""

    number: str
    """Its id."""

    token: str
    """A token that may write notes and issues (a project access token; the job's own may not)."""

    @classmethod
    def of_pipeline(cls, environment: Mapping[str, str] = os.environ) -> "Project":
        """Return the project a pipeline runs in; raises `GitLabError` outside of one."""
        missing = [key for key in ("CI_API_V4_URL", "CI_PROJECT_ID", "GITLAB_TOKEN") if not environment.get(key)]
        if missing:
            raise GitLabError(
                f"{', '.join(missing)} not set: this runs in a GitLab pipeline, which sets the first two; store a "
                "project access token with the scope api as the masked variable GITLAB_TOKEN."
            )
        return cls(
            api=environment["CI_API_V4_URL"],
            number=environment["CI_PROJECT_ID"],
            token=environment["GITLAB_TOKEN"],
        )

    def _request(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  # httpx's arguments, GitLab's JSON
        answer = httpx.request(
            method,
            f"{self.api}/{path if path == 'user' else f'projects/{self.number}/{path}'}",
            headers={"PRIVATE-TOKEN": self.token},
            timeout=30,
            **more,
        )
        if answer.is_error:
            raise GitLabError(f"GitLab refused {method} {path} ({answer.status_code}): {answer.text[:300]}")
        return answer.json()

    def _marked(self, path: str, name: str, field: str, **parameters: str) -> Any:  # noqa: ANN401  # GitLab's JSON
        # Anybody may write our mark: it counts only where this token wrote it.
        ourselves, page = self._request("GET", "user")["id"], 1
        while True:
            found = self._request("GET", path, params={**parameters, "per_page": _PAGE, "page": page})
            for each in found:
                if each["author"]["id"] == ourselves and mark(name) in (each.get(field) or ""):
                    return each
            if len(found) < _PAGE:
                return None
            page += 1

    def comment(self, merge_request: int, name: str, body: str) -> str:
        """Write the note of that name on a merge request, over its earlier text; return what was done."""
        notes = f"merge_requests/{merge_request}/notes"
        content = {"body": f"{mark(name)}\n{body}"}
        before = self._marked(notes, name, "body")
        if before:
            self._request("PUT", f"{notes}/{before['id']}", json=content)
            return f"Updated note {before['id']} of merge request {merge_request}."
        made = self._request("POST", notes, json=content)
        return f"Wrote note {made['id']} on merge request {merge_request}."

    def open_issue(self, name: str, title: str, body: str) -> str:
        """Open the issue of that name, or update it if it is open; return its address."""
        content = {"title": title, "description": f"{mark(name)}\n{body}"}
        before = self._marked("issues", name, "description", state="opened")
        if before:
            return str(self._request("PUT", f"issues/{before['iid']}", json=content)["web_url"])
        return str(self._request("POST", "issues", json=content)["web_url"])

    def close_issue(self, name: str, reason: str) -> str | None:
        """Close the issue of that name with a note, if it is open; return its address."""
        before = self._marked("issues", name, "description", state="opened")
        if not before:
            return None
        self._request("POST", f"issues/{before['iid']}/notes", json={"body": reason})
        return str(self._request("PUT", f"issues/{before['iid']}", json={"state_event": "close"})["web_url"])
