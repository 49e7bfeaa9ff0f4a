"""Fixtures for the published clients."""

from collections.abc import Iterator

import pytest

from tests.interop.client_processes import APP, BEAT_SECONDS, expect_positions
from tests.servers import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all scenarios of a module: each has rooms of its own."""
    with Server(APP) as server:
        yield server


@pytest.fixture(scope="module")
def remembering_server() -> Iterator[Server]:
    """Yield the same server, whose rooms have a history; it is checked that they do."""
    with Server(APP, env={"POND_HISTORY": "1"}) as server:
        expect_positions(server)
        yield server


@pytest.fixture(scope="module")
def beating_server() -> Iterator[Server]:
    """Yield the same server, with a very short patience for silence."""
    with Server(APP, env={"POND_BEAT": str(BEAT_SECONDS)}) as server:
        yield server
