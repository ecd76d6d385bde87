"""One local cloud and one stack brought up on it, for every test that looks at them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_cloud.cloud import LocalCloud
from local_cloud.stacks import ROOT, Run, Stack
from tests.engine.copies import Clone, copy_repository, link_packages


@dataclass
class BroughtUp:
    """The stack `dev` and its consumer, up on a local cloud."""

    cloud: LocalCloud
    stack: Stack
    consumer: Stack
    preview: Run
    up: Run
    consumer_up: Run


@pytest.fixture(scope="session")
def brought_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BroughtUp]:
    """Bring the stack up once; what it made goes with the cloud."""
    directory: Path = tmp_path_factory.mktemp("engine")
    with LocalCloud.start(directory) as cloud:
        stack = Stack(cloud.environment, directory / "projects")
        consumer = Stack(cloud.environment, directory / "projects", project=ROOT / "examples" / "consumer")
        preview = stack.preview()
        up = stack.up()
        yield BroughtUp(cloud, stack, consumer, preview, up, consumer.up())


@pytest.fixture(scope="session")
def clone(brought_up: BroughtUp, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a clone of the repository whose stack `dev` is up."""
    directory = tmp_path_factory.mktemp("clone") / "repository"
    copy_repository(directory)
    link_packages(directory)
    return Clone(directory, brought_up.cloud.environment)
