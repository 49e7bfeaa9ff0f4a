"""Fixtures for the published clients."""

from collections.abc import Iterator

import pytest

from tests.interop.peers import APP
from tests.servers import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all scenarios of a module: each has rooms of its own."""
    with Server(APP) as server:
        yield server
