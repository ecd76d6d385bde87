"""Why the Kubernetes API cannot be asked: each message in full."""

from pathlib import Path

import pytest

from components.running_cluster.kubernetes_api import KubernetesApi, KubernetesApiError


def refusal(kubeconfig: str | Path) -> str:
    """Return why a kubeconfig is of no use."""
    with pytest.raises(KubernetesApiError) as refused:
        KubernetesApi.from_kubeconfig(kubeconfig)
    return str(refused.value)


USABLE = (
    ". Set KUBECONFIG to one, or take a stack's with --stack; `aws eks update-kubeconfig --name CLUSTER` writes one"
)


def test_no_usable_kubeconfig(tmp_path: Path) -> None:
    """What is wrong with it, and where one comes from."""
    assert refusal(tmp_path / "none") == (
        "there is no usable kubeconfig: Invalid kube-config file. No configuration found." + USABLE
    )
    assert refusal("{}") == (
        "there is no usable kubeconfig: Invalid kube-config file. Expected key current-context in kube-config" + USABLE
    )


def test_the_user_of_a_kubeconfig_is_kept(tmp_path: Path) -> None:
    """Whether it is a text or a file, and of the context that was chosen."""
    text = """
    clusters: [{name: c, cluster: {server: "https://127.0.0.1:9"}}]
    users: [{name: a, user: {token: one}}, {name: b, user: {token: two}}]
    contexts: [{name: x, context: {cluster: c, user: a}}, {name: y, context: {cluster: c, user: b}}]
    current-context: x
    """
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    for given in (text, file):
        assert KubernetesApi.from_kubeconfig(given).user == {"token": "one"}
        assert KubernetesApi.from_kubeconfig(given, "y").user == {"token": "two"}


def stack_refusal(monkeypatch: pytest.MonkeyPatch, path: Path) -> str:
    """Return why a stack tells no kubeconfig, with only the commands of a folder."""
    monkeypatch.setenv("PATH", str(path))
    with pytest.raises(KubernetesApiError) as refused:
        KubernetesApi.from_stack("prod")
    return str(refused.value)


def test_a_stack_without_a_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What Pulumi said, and what to do instead."""
    assert stack_refusal(monkeypatch, tmp_path) == (
        "--stack needs the pulumi command: [Errno 2] No such file or directory: 'pulumi'. Install it, or use KUBECONFIG"
    )
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\necho \"error: no stack named 'prod' found\" >&2\nexit 255\n")
    program.chmod(0o755)
    assert stack_refusal(monkeypatch, tmp_path) == (
        "stack prod has no output kubeconfig: error: no stack named 'prod' found. `pulumi stack ls --all` lists the "
        "stacks there are, and one has outputs once an update of it has succeeded; until then use KUBECONFIG, as `aws "
        "eks update-kubeconfig --name CLUSTER` writes it"
    )
