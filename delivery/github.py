"""One comment and one issue that are updated, never repeated, through GitHub's API.

Both are found again by a mark, an HTML comment in their text that readers do not see. It counts only where an app
wrote it, as a workflow's token does: anybody may write an issue with our mark in it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

_PAGE = 100


class GitHubError(RuntimeError):
    """GitHub refused, or the workflow did not say where it runs."""


def mark(name: str) -> str:
    """Return the text by which a comment or issue is found again."""
    return f"<!-- eks-node-local-dns:{name} -->"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository on GitHub, as a workflow's environment tells it."""

    api: str
    """Address of the API."""

    name: str
    """Owner and name."""

    token: str
    """A token that may write comments or issues."""

    @classmethod
    def of_workflow(cls, environment: Mapping[str, str] = os.environ) -> "Repository":
        """Return the repository a workflow runs in; raises `GitHubError` outside of one."""
        missing = [key for key in ("GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN") if not environment.get(key)]
        if missing:
            raise GitHubError(
                f"{', '.join(missing)} not set: this runs in a GitHub workflow, which sets the first two; give it the "
                "token with `env: GITHUB_TOKEN: ${{ github.token }}`."
            )
        return cls(
            api=environment["GITHUB_API_URL"],
            name=environment["GITHUB_REPOSITORY"],
            token=environment["GITHUB_TOKEN"],
        )

    def _request(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  # httpx's arguments, GitHub's JSON
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/vnd.github+json"}
        answer = httpx.request(
            method, f"{self.api}/repos/{self.name}/{path}", headers=headers, timeout=30, follow_redirects=True, **more
        )
        if answer.is_error:
            raise GitHubError(f"GitHub refused {method} {path} ({answer.status_code}): {answer.text[:300]}")
        return answer.json()

    def _marked(self, path: str, name: str, **parameters: str) -> Any:  # noqa: ANN401  # GitHub's JSON
        page = 1
        while True:
            found = self._request("GET", path, params={**parameters, "per_page": _PAGE, "page": page})
            for each in found:
                ours = each["user"]["type"] == "Bot" and mark(name) in (each.get("body") or "")
                if ours and "pull_request" not in each:
                    return each
            if len(found) < _PAGE:
                return None
            page += 1

    def comment(self, pull_request: int, name: str, body: str) -> str:
        """Write the comment of that name on a pull request, over its earlier text; return its address."""
        text = f"{mark(name)}\n{body}"
        before = self._marked(f"issues/{pull_request}/comments", name)
        if before:
            return str(self._request("PATCH", f"issues/comments/{before['id']}", json={"body": text})["html_url"])
        return str(self._request("POST", f"issues/{pull_request}/comments", json={"body": text})["html_url"])

    def open_issue(self, name: str, title: str, body: str) -> str:
        """Open the issue of that name, or update it if it is open; return its address."""
        content = {"title": title, "body": f"{mark(name)}\n{body}"}
        before = self._marked("issues", name, state="open")
        if before:
            return str(self._request("PATCH", f"issues/{before['number']}", json=content)["html_url"])
        return str(self._request("POST", "issues", json=content)["html_url"])

    def close_issue(self, name: str, reason: str) -> str | None:
        """Close the issue of that name with a comment, if it is open; return its address."""
        before = self._marked("issues", name, state="open")
        if not before:
            return None
        self._request("POST", f"issues/{before['number']}/comments", json={"body": reason})
        return str(self._request("PATCH", f"issues/{before['number']}", json={"state": "closed"})["html_url"])
