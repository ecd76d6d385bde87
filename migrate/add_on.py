"""Which mode the vpc-cni add-on's own configuration asks for: what its next update makes of aws-node.

EKS is asked with the AWS CLI, which the cluster's kubeconfig needs for its token anyway and which names the cluster
there.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from components.attached.vpc_cni_takeover import parsed
from components.running_cluster.kubernetes_api import Manifest
from components.running_cluster.strict_pods import MODE_VARIABLE, entries, part

_KEPT = ("--region", "--profile", "--endpoint-url")
"""Options of `aws eks get-token` that decide whom to ask, and as whom."""

_SECONDS = 30


@dataclass(frozen=True)
class AddOn:
    """What is known of the vpc-cni add-on."""

    mode: str | None
    """The mode that it asks for; None: it asks for none, or nobody knows."""

    said: str
    """That as a sentence."""


def _not_asked(why: str) -> AddOn:
    return AddOn(None, f"The vpc-cni add-on was not asked for its mode: {why}.")


def command(user: Manifest) -> list[str] | None:
    """Return the command that describes the add-on, for a user of a kubeconfig whose token is EKS'; else None."""
    program, given = (
        str(part(user, "exec").get("command", "")),
        [str(each) for each in part(user, "exec").get("args") or ()],
    )
    arguments = [piece for each in given for piece in (each.split("=", 1) if each.startswith("--") else [each])]
    options = dict(pairwise(arguments))
    cluster = options.get("--cluster-name")
    if Path(program).stem != "aws" or "get-token" not in arguments or cluster is None:
        return None
    kept = [piece for key in _KEPT if key in options for piece in (key, options[key])]
    asked = ["eks", "describe-addon", "--cluster-name", cluster, "--addon-name", "vpc-cni", "--output", "json"]
    return [program, *kept, *asked]


def ask(user: Manifest) -> AddOn:
    """Ask for the add-on of the cluster that this user of a kubeconfig gets a token for."""
    if "--role-arn" in (part(user, "exec").get("args") or ()):
        return _not_asked("the kubeconfig's token is that of a role, as which only the token can be asked for")
    asked = command(user)
    if asked is None:
        return _not_asked("the kubeconfig names no cluster of EKS (its user has no `aws eks get-token`)")
    environment = {str(each["name"]): str(each["value"]) for each in entries(user, "exec", "env")}
    try:
        done = subprocess.run(
            asked, check=False, capture_output=True, text=True, timeout=_SECONDS, env={**os.environ, **environment}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _not_asked(str(error))
    return judged(done.returncode, done.stdout, done.stderr)


def judged(code: int, text: str, error: str) -> AddOn:
    """Return what follows from the command's end."""
    if code and "ResourceNotFoundException" in error and "addon" in error.lower():
        return AddOn(None, "aws-node is no EKS add-on.")
    if code:
        return _not_asked(" ".join(error.split()) or f"its command ended with {code}")
    try:
        found: Mapping[str, Any] = json.loads(text)["addon"]
    except (ValueError, KeyError, TypeError):
        return _not_asked("its command printed something else than the add-on")
    mode = part(parsed(str(found.get("configurationValues") or "")), "env").get(MODE_VARIABLE)
    if mode is None:
        return AddOn(None, "The vpc-cni add-on asks for no mode, and without one aws-node is in strict mode.")
    return AddOn(str(mode), f"The vpc-cni add-on asks for {mode} mode.")
