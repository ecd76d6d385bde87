"""Which tests share what takes long to make: several processes that run tests side by side keep those together."""

import inspect
from typing import Any

import pytest

_SCOPES = ("session", "package", "module", "class")
"""The widest first; what is made for one test only is not shared."""


def group_of(item: pytest.Item) -> str | None:
    """Return the name of what a test shares with others: the fixture of the widest scope, one that is ended first."""
    definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009  # of functions, which all of ours are
    ours: list[Any] = [each[-1] for each in definitions.values() if each[-1].baseid]
    shared = [each for each in ours if each.scope in _SCOPES]
    if not shared:
        return None
    widest = min(
        shared,
        key=lambda each: (not inspect.isgeneratorfunction(each.func), _SCOPES.index(each.scope), each.argname),
    )
    where = "" if widest.scope == "session" else f" {item.nodeid.partition('::')[0]}"
    return f"{widest.argname}{where}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the group of each test, for `pytest --dist loadgroup`."""
    for item in items:
        if group := group_of(item):
            item.add_marker(pytest.mark.xdist_group(group))
