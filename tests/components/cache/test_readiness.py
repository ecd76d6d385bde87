"""The readiness probe in containers' namespaces, with real sockets: whether the cache that is asked is its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from components.cache import programs
from components.cache.interception import STATE

CLUSTER_DNS = "127.20.0.10"
"""Stands for the ClusterIP: on loopback, so that the namespace needs no link of its own."""

PROCESS = """
import socket, sys
sockets = []
for address in sys.argv[1:]:
    each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    each.bind((address, 53))
    sockets.append(each)
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def node() -> Iterator[list[str]]:
    """Yield the beginning of a command in a network namespace, which every container of the node shares."""
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    made = subprocess.Popen(
        ["unshare", *root, "--net", "sh", "-c", "ip link set lo up && echo up && cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with made:
        assert made.stdin
        assert made.stdout
        assert made.stdout.readline() == b"up\n"
        yield ["nsenter", "--target", str(made.pid), "--net", *(["--user", "--preserve-credentials"] if root else [])]
        made.stdin.close()


@contextmanager
def container(node: list[str], *addresses: str) -> Iterator[list[str]]:
    """Run a container whose first process holds sockets; yield the beginning of a command inside."""
    setup = f'mount -t tmpfs tmpfs /run && mkdir -p {STATE} && exec "$@"'
    started = subprocess.Popen(
        [*node, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", setup, "sh",
         sys.executable, "-c", PROCESS, *addresses],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with started:
        assert started.stdin
        assert started.stdout
        assert started.stdout.readline() == b"listening\n"
        with open(f"/proc/{started.pid}/task/{started.pid}/children") as children:  # noqa: PTH123  # no path to keep
            [first] = children.read().split()
        yield [*node, "nsenter", "--target", first, "--mount", "--pid", "--"]
        started.stdin.close()


def is_ready(inside: list[str]) -> bool:
    """Run the probe in a container."""
    return subprocess.run([*inside, *programs.listening(CLUSTER_DNS)], check=False).returncode == 0


def test_only_the_cache_that_holds_the_socket_itself_is_ready(node: list[str]) -> None:
    """Another cache's socket on the same address makes nobody ready, nor does one's own on another address."""
    with ExitStack() as stack:
        nobody = stack.enter_context(container(node))
        assert not is_ready(nobody)
        other_address = stack.enter_context(container(node, "127.20.0.11"))
        assert not is_ready(other_address)
        with container(node, CLUSTER_DNS) as cache:
            assert is_ready(cache)
            assert not is_ready(nobody)
            assert not is_ready(other_address)
            with container(node, CLUSTER_DNS, "127.20.0.12") as successor:  # as during a rolling update
                assert is_ready(successor)
                assert is_ready(cache)
            assert is_ready(cache)
        assert not is_ready(nobody)
