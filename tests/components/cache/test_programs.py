"""The shell programs of the pod as files: what runs is what is written, with everything it has to be told."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.cache import programs
from components.cache.node_local_dns import NodeLocalDnsSettings, manifests

ROOT = Path(__file__).parents[3]
FILES = ROOT / "components/cache/programs"


def runs(interception: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command in a pod that is a shell program, and where it runs."""
    settings = NodeLocalDnsSettings.model_validate({"interception": interception})
    objects = manifests(settings, cluster_dns_ip="172.20.0.10", upstream_ip="172.20.9.9")
    pod = objects["daemonSet"]["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        probes: dict[str, Any] = {key: value for key, value in container.items() if key.endswith("Probe")}
        found = {key: value["exec"]["command"] for key, value in probes.items() if "exec" in value}
        found[""] = [*container["command"], *container["args"]]
        for where, command in found.items():
            if command[:2] == ["sh", "-c"]:
                yield f"{container['name']} {where}".strip(), command


PROBES = {"node-cache startupProbe": "listening", "node-cache readinessProbe": "listening"}


@pytest.mark.parametrize(
    ("interception", "expected"),
    [
        ("socket", {"cleanup": "cleanup", "interception": "interception", **PROBES}),
        ("upstream", {"cleanup": "cleanup", **PROBES}),
    ],
)
def test_the_pod_runs_the_files(interception: str, expected: dict[str, str]) -> None:
    """Each program is its file, byte for byte, with the file that it includes in the place of the line that says so."""
    found = {where: command for where, command in runs(interception) if (where, command)}
    assert {where: command[3] for where, command in found.items()} == expected
    for where, command in found.items():
        written = (FILES / f"{expected[where]}.sh").read_text()
        if expected[where] != "listening":
            before, after = written.split(". ./cleaning.sh\n")
            written = f"{before}{(FILES / 'cleaning.sh').read_text()}{after}"
        assert command[2] == written


@pytest.mark.parametrize("interception", ["socket", "upstream"])
def test_a_program_is_told_what_it_asks_for(interception: str) -> None:
    """Each NAME that a program reads is one it is told, and it is told no other."""
    for where, (_, _, program, _, *arguments) in runs(interception):
        code = re.sub(r"^\s*#.*$", "", program, flags=re.MULTILINE)
        read = set(re.findall(r"\$\{?([A-Z][A-Z_]+)\b", code))
        assert read == {each.partition("=")[0] for each in arguments}, where


@pytest.mark.parametrize("interception", ["socket", "upstream"])
def test_the_kubelet_hands_a_program_on_as_it_is(interception: str) -> None:
    """Nothing in it looks to the kubelet like the name of a variable, `$(NAME)`, or an escaped dollar, `$$`."""
    for where, command in runs(interception):
        assert re.findall(r"\$\$|\$\([A-Z_]+\)", "\n".join(command)) == [], where


def test_every_file_is_a_program_or_part_of_one() -> None:
    """No file is left of a program that is gone."""
    used = {command[3] for _, command in runs("socket")}
    assert {path.stem for path in FILES.glob("*.sh")} == used | {"cleaning"}


def test_what_the_interception_is_told() -> None:
    """The whole of what varies; the rules with the moments in which they hold."""
    run = programs.interception("169.254.20.10", "172.20.0.10")
    assert run["args"] == [
        "interception",
        "LOCAL_ADDRESS=169.254.20.10",
        "CLUSTER_DNS_IP=172.20.0.10",
        "DNS_SOCKET=0A0014AC:0035",
        "INTERFACE=nodelocaldns",
        "COMMENT=node-local-dns",
        "UPSTREAM_COMMENT=NodeLocal DNS Cache: ",
        "STATE=/run/node-local-dns",
        "NODE_CACHE=/node-cache",
        "RULES_IN_PLACE=/run/node-local-dns/rules-in-place",
        "HEARTBEAT=/run/node-local-dns/heartbeat",
        "DRAIN_TRIES=10",
        "DRAIN_PAUSE=0.2",
        """\
NO_SOCKET_MATCH=no-socket-match.node-local-dns.invalid:53 {
    bind 169.254.20.10 172.20.0.10
    prometheus :9253
    whoami
}
""",
        """\
RULES=socket+draining raw PREROUTING -d 169.254.20.10 -p udp --dport 53 -m addrtype --dst-type LOCAL -m socket -j NOTRACK
socket+draining+upstream raw OUTPUT -s 169.254.20.10 -p udp --sport 53 -j NOTRACK
socket+draining+upstream filter INPUT -d 169.254.20.10 -p udp --dport 53 -j ACCEPT
socket+draining+upstream filter OUTPUT -s 169.254.20.10 -p udp --sport 53 -j ACCEPT
socket+draining raw PREROUTING -d 169.254.20.10 -p tcp --dport 53 -m addrtype --dst-type LOCAL -m socket -j NOTRACK
socket+draining+upstream raw OUTPUT -s 169.254.20.10 -p tcp --sport 53 -j NOTRACK
socket+draining+upstream filter INPUT -d 169.254.20.10 -p tcp --dport 53 -j ACCEPT
socket+draining+upstream filter OUTPUT -s 169.254.20.10 -p tcp --sport 53 -j ACCEPT
socket raw PREROUTING -d 172.20.0.10 -p udp --dport 53 -m addrtype --dst-type LOCAL -m socket -j NOTRACK
socket+draining+upstream raw OUTPUT -s 172.20.0.10 -p udp --sport 53 -j NOTRACK
socket+draining+upstream filter INPUT -d 172.20.0.10 -p udp --dport 53 -j ACCEPT
socket+draining+upstream filter OUTPUT -s 172.20.0.10 -p udp --sport 53 -j ACCEPT
socket raw PREROUTING -d 172.20.0.10 -p tcp --dport 53 -m addrtype --dst-type LOCAL -m socket -j NOTRACK
socket+draining+upstream raw OUTPUT -s 172.20.0.10 -p tcp --sport 53 -j NOTRACK
socket+draining+upstream filter INPUT -d 172.20.0.10 -p tcp --dport 53 -j ACCEPT
socket+draining+upstream filter OUTPUT -s 172.20.0.10 -p tcp --sport 53 -j ACCEPT
socket+draining+upstream+idle nat POSTROUTING -s 172.20.0.10 ! -o lo -j MASQUERADE
upstream raw PREROUTING -d 169.254.20.10 -p udp --dport 53 -j NOTRACK
upstream raw OUTPUT -d 169.254.20.10 -p udp --dport 53 -j NOTRACK
upstream raw PREROUTING -d 169.254.20.10 -p tcp --dport 53 -j NOTRACK
upstream raw OUTPUT -d 169.254.20.10 -p tcp --dport 53 -j NOTRACK
upstream raw OUTPUT -d 169.254.20.10 -p tcp --dport 8080 -j NOTRACK
upstream raw OUTPUT -s 169.254.20.10 -p tcp --sport 8080 -j NOTRACK
upstream raw PREROUTING -d 172.20.0.10 -p udp --dport 53 -j NOTRACK
upstream raw OUTPUT -d 172.20.0.10 -p udp --dport 53 -j NOTRACK
upstream raw PREROUTING -d 172.20.0.10 -p tcp --dport 53 -j NOTRACK
upstream raw OUTPUT -d 172.20.0.10 -p tcp --dport 53 -j NOTRACK
upstream raw OUTPUT -d 172.20.0.10 -p tcp --dport 8080 -j NOTRACK
upstream raw OUTPUT -s 172.20.0.10 -p tcp --sport 8080 -j NOTRACK""",  # noqa: E501  # as long as its rules
    ]


def test_the_wheel_has_every_program(tmp_path: Path) -> None:
    """What is installed from a wheel can run in a pod too."""
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".sh")}
    assert packed == {
        "components/cache/programs/cleaning.sh",
        "components/cache/programs/cleanup.sh",
        "components/cache/programs/interception.sh",
        "components/cache/programs/listening.sh",
        "verify/collector.sh",
    }
