"""What tests need of the external programs, provided before the first of them starts, however they are started.

A build takes minutes and the network: inside a test it would run into the test's limit, or into a proxy that the test
has set. So a test says what it needs: `@pytest.mark.needs("promtool")`, or a mark or a fixture that is named here; one
that asks for a program it has not named fails, also where the program is there.
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from rich.console import Console

from tools import PROGRAMS, MissingToolError, provisioning
from tools.progress import provide

_API_SERVER = ("etcd", "kube-apiserver")
_LOCAL_CLOUD = (*_API_SERVER, "kubectl")

NEEDED_BY = {
    # mark or fixture: what is needed by the tests that have it
    "engine": ("pulumi", *_LOCAL_CLOUD),
    "lab": ("ip", "iptables", "nft", "node-cache-stand-in", "dig", "curl", "dnsperf"),
    "programs": _LOCAL_CLOUD,
}


def needed(item: pytest.Item) -> frozenset[str]:
    """Return the names of the programs that a test may run."""
    names = {name for mark in item.iter_markers("needs") for name in mark.args}
    fixtures = getattr(item, "fixturenames", ())
    for each, programs in NEEDED_BY.items():
        if item.get_closest_marker(each) or each in fixtures:
            names.update(programs)
    return frozenset(names)


class Programs:
    """The plugin that provides programs, and sees to it that no test asks for one it has not named."""

    def __init__(self) -> None:
        self._named: frozenset[str] | None = None
        """What the test that runs now has named; none between tests."""

        self._missing = ""
        """Why a program that tests need cannot be had."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Provide what the tests that were chosen need."""
        if not session.config.option.collectonly:
            capture: Any = session.config.pluginmanager.getplugin("capturemanager")
            try:
                with capture.global_and_fixture_disabled():
                    _provide({name for item in session.items for name in needed(item)})
            except MissingToolError as error:
                self._missing = str(error)
            self._watch()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Let a test whose programs cannot be had fail with the remedy, and at once."""
        if self._missing and needed(item):
            pytest.fail(self._missing, pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Let a test, and the fixtures that are made for it, ask for what it has named."""
        self._named = needed(item)
        try:
            return (yield)
        finally:
            self._named = None

    def _watch(self) -> None:
        """Have every question for a program of the catalogue answered only to those who named it."""
        unwatched: Any = provisioning._on_path
        catalogue = frozenset(PROGRAMS)

        @functools.wraps(unwatched)
        def on_path(name: str) -> Path | None:
            if self._named is not None and name in catalogue:
                assert name in self._named, f"say what the test needs: @pytest.mark.needs({name!r})"
            return unwatched(name)

        cast("Any", on_path).cache_clear = unwatched.cache_clear
        cast("Any", provisioning)._on_path = on_path


def _provide(names: Iterable[str]) -> None:
    """Provide programs; of several processes that want some at once, the first does it, and shows how far it is."""
    wanted = [name for name in PROGRAMS if name in set(names)]
    lock = FileLock(user_cache_path("eks-node-local-dns", ensure_exists=True) / "tests.lock")
    try:
        with lock.acquire(timeout=0):
            provide(wanted, Console(stderr=True))
    except Timeout:
        with lock:
            provide(wanted, Console(quiet=True))
