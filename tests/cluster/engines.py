"""The engines that the contract is tested on, and the loops that fit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from pondsocket.backplane import Backplane
from pondsocket.backplane.memory import MemoryHub
from pondsocket.backplane.redis import RedisBackplane
from pondsocket_asgi.testing import virtual_backend

from .redis_server import RedisServer

# As short as a lease may be, so that its end is soon seen.
LEASE: Final = 1.6
OPTIONS: Final[Mapping[str, Any]] = {"lease": LEASE, "silence": 1.2}
# For how long presence is kept that a Redis with these options has forgotten.
DOUBT: Final = RedisBackplane("redis://host", **OPTIONS).doubt_seconds

_prefixes = count(1)

NewBackplane: TypeAlias = Callable[..., Backplane]
"""Returns the access of one more node to the same engine; takes `max_payload` and `outage`."""


def new_prefix() -> str:
    """Return a prefix that no other test uses: for the test, the engine is empty."""
    return f"pond{next(_prefixes)}"


SETTINGS: Final = [
    pytest.param(
        (engine, loop), marks=pytest.mark.redis if engine == "redis" else (), id=f"{engine}-{loop}"
    )
    for engine in ("memory", "redis")
    for loop in ("asyncio", "trio")
]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis for all tests that leave it whole."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with RedisServer(folder) as server:
        yield server


@pytest.fixture(params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Run a test on each engine and each loop."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def loops_of_engines(setting: tuple[str, str]) -> Any:
    """Run a module's tests on each engine, as its `anyio_backend`; in memory, time jumps."""
    engine, loop = setting
    return virtual_backend(loop) if engine == "memory" else loop


@pytest.fixture
def engine(setting: tuple[str, str], request: pytest.FixtureRequest) -> NewBackplane:
    """Return what gives nodes access to an empty engine."""
    if setting[0] == "memory":
        hub = MemoryHub(lease=LEASE)

        def new_in_memory(**options: Any) -> Backplane:
            hub.max_payload = options.get("max_payload", hub.max_payload)
            hub.outage = options.get("outage", hub.outage)
            return hub.backplane()

        return new_in_memory
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = new_prefix()
    return lambda **options: RedisBackplane(server.url, prefix=prefix, **{**OPTIONS, **options})
