"""Peers whose host vanished: the server hears nothing of it, and yet ends them in time.

Every case runs at the same time, since each takes half a minute by its nature.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.integration.clients import TRANSPORTS, Transport
from tests.integration.raw_clients import RawClient, RawConnector, connecting, socket_states
from tests.integration.server_state import watch
from tests.servers import SERVERS, Server

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

APP: Final = "tests.integration.stall_app:app"
# From its last word: until it is written to or pinged, and for as long as an answer may take. The
# settings are those of the deployment page.
LIMIT_SECONDS: Final = 35.0
# What is held for longer than that is watched a little longer, to be told apart.
WATCH_SECONDS: Final = LIMIT_SECONDS + 2.0
PINGS: Final = ("--ws-ping-interval", "15", "--ws-ping-timeout", "15")
HYPERCORN_PINGS: Final = ("--websocket-ping-interval", "15")
KERNEL: Final = {"tcp_user_timeout": 10.0}
# Established, or closed by the peer alone: the server still holds it.
HELD: Final = {"01", "08"}


@dataclass(frozen=True)
class Case:
    """One server, and which of its clients' ends it notices.

    Args:
        setup: The name of its setup.
        noticed: Over which transports a vanished peer is noticed.
        arguments: Further arguments of the server.
        options: The pond's.
    """

    setup: str
    noticed: tuple[Transport, ...]
    arguments: tuple[str, ...] = ()
    options: dict[str, float] = field(default_factory=dict)

    def server(self) -> Server:
        """Not yet started."""
        setup = next(setup for setup in SERVERS if setup.name == self.setup)
        env = {"POND_OPTIONS": json.dumps(self.options)}
        return Server(APP, *setup.arguments, *self.arguments, server=setup.server, env=env)


CASES: Final = (
    # A ping that is not answered ends a WebSocket on uvicorn, and says nothing of a stream.
    Case("uvicorn-uvloop-fastlane", ("websocket",), PINGS),
    Case("uvicorn-asyncio-wsproto", ("websocket",), PINGS),
    # With the kernel's help, whatever is written to a vanished peer ends its connection.
    Case("uvicorn-asyncio-websockets-sansio", TRANSPORTS, PINGS, KERNEL),
    # By itself this older one takes its time: it says goodbye, and waits for an answer to that.
    Case("uvicorn-uvloop-websockets", TRANSPORTS, PINGS, KERNEL),
    Case("hypercorn-asyncio-1", TRANSPORTS, HYPERCORN_PINGS, KERNEL),
    Case("hypercorn-trio-0", TRANSPORTS, (), KERNEL),
    # It does not ping by itself, so that there are the heartbeats, every 25 s.
    Case("granian-asyncio-1", TRANSPORTS, (), KERNEL),
    # Without it, hypercorn waits for no answer to its pings.
    Case("hypercorn-asyncio-0", (), HYPERCORN_PINGS),
)


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Server]]:
    """One server a case, started together."""
    with ExitStack() as stack:
        started = [case.server() for case in CASES]

        async def start_all() -> None:
            await asyncio.gather(
                *(asyncio.to_thread(stack.enter_context, server) for server in started)
            )

        asyncio.run(start_all())
        yield started


class CaseClients:
    """The clients of one case: over each transport one that vanishes and one that stays."""

    def __init__(self, case: Case, server: Server) -> None:
        self.case = case
        self.server = server
        self.vanished: dict[str, RawClient] = {}
        self.stayed: dict[str, RawClient] = {}
        self.held_for: dict[str, float] = {}

    async def connect(self, connect: RawConnector) -> None:
        """Connect the clients."""
        for transport in TRANSPORTS:
            self.vanished[transport] = await connect(transport, f"{transport}-vanished")
            self.stayed[transport] = await connect(transport, f"{transport}-stayed")

    async def watch(self, started: float, seconds: float) -> None:
        """Note until when the server holds what has vanished."""
        loop = asyncio.get_running_loop()
        while (passed := loop.time() - started) < seconds:
            for transport, client in self.vanished.items():
                if HELD.intersection(socket_states(self.server, client.address)):
                    self.held_for[transport] = passed
            await asyncio.sleep(0.2)

    async def findings(self) -> dict[str, Any]:
        """Return what became of the clients."""
        state = await watch(self.server)
        return {
            "case": self.case.setup,
            "noticed": {each for each, held in self.held_for.items() if held <= LIMIT_SECONDS},
            "held_for": self.held_for,
            "ended": set(state["ends"]),
            "left": {name for name, client in self.stayed.items() if client.ended.done()},
        }


async def test_a_vanished_peer_is_let_go_within_thirty_five_seconds(servers: list[Server]) -> None:
    loop = asyncio.get_running_loop()
    groups = [CaseClients(case, server) for case, server in zip(CASES, servers, strict=True)]
    async with AsyncExitStack() as stack:
        connectors = [await stack.enter_async_context(connecting(server)) for server in servers]
        await asyncio.gather(*map(CaseClients.connect, groups, connectors))
        for group in groups:
            for client in group.vanished.values():
                client.vanish()
        started = loop.time()
        await asyncio.gather(*(group.watch(started, WATCH_SECONDS) for group in groups))
        findings = [await group.findings() for group in groups]
    for case, finding in zip(CASES, findings, strict=True):
        assert finding["noticed"] == set(case.noticed), finding
        assert finding["ended"] == {f"{transport}-vanished" for transport in case.noticed}, finding
        assert not finding["left"], finding
