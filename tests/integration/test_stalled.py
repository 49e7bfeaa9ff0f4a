"""One peer stops reading: every server ends it, and the others never notice."""

import asyncio
from typing import Final, NamedTuple

import pytest

from tests.integration.arrival_gaps import Gaps
from tests.integration.clients import Transport
from tests.integration.raw_clients import RawClient, RawConnector, connecting
from tests.integration.server_state import resident_bytes, see_end, see_freed, watch
from tests.servers import UVICORNS, Serve, Setup

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

APP: Final = "tests.integration.stall_app:app"
# Streams do not depend on the WebSocket implementation.
CASES: Final[list[tuple[Setup, Transport]]] = [
    *((setup, "websocket") for setup in UVICORNS),
    *((setup, "sse") for setup in UVICORNS if setup.name.endswith("-websockets-sansio")),
]
# A second attempt sends more events than a connection has at once.
UNLIMITED: Final = {"POND_OPTIONS": '{"event_rate": null}'}
ROOM: Final = "/room/1"
HEALTHY: Final = 19
COUNT: Final = 250
SIZE: Final = 60_000
# No more of them on the way at once than a healthy member's outbox holds several times over.
AHEAD: Final = 2
GAP_SECONDS: Final = 0.05
# What a stalled peer does to the others it does every time; what the machine does, now and then.
ATTEMPTS: Final = 5
# Where the others are as uneven as this by themselves, nothing can be told of the stalled one: what
# it holds up, it holds up until the server's `send` gives it up, after a second.
NOISY_SECONDS: Final = 0.5
GROWN_BYTES: Final = 5_000_000
RECEIVE_BUFFER: Final = 8_192
# The server's `send` has a second before the socket is reset; then it is a matter of scheduling.
GONE_SECONDS: Final = 1.0 + 5.0


class Members(NamedTuple):
    """Who is in the room."""

    driver: RawClient
    others: list[RawClient]

    @property
    def all(self) -> list[RawClient]:
        return [self.driver, *self.others]


async def meet(connect: RawConnector, transport: Transport, count: int) -> Members:
    """Connect the members. The one that broadcasts uses a WebSocket, which is faster than POSTs."""
    driver = await (await connect("websocket", "driver")).join(ROOM)
    others = [
        await (await connect(transport, f"{number}")).join(ROOM) for number in range(count - 1)
    ]
    return Members(driver, others)


async def stall(connect: RawConnector, transport: Transport) -> RawClient:
    """Join, and read no more."""
    client = await (await connect(transport, "stalled", RECEIVE_BUFFER)).join(ROOM)
    client.stall()
    return client


class Run(NamedTuple):
    """How some broadcasts went."""

    worst_gap: float
    most_bytes: int


async def broadcast(members: Members, pid: int, count: int) -> Run:
    """Broadcast as fast as every member hears it."""
    gaps, sent, most_bytes = Gaps(members.all, pid), 0, 0
    async with asyncio.timeout(60):
        while gaps.heard_by_all < count:
            if sent < count and sent - gaps.heard_by_all < AHEAD:
                sent += 1
                await members.driver.send("BROADCAST", ROOM, "say", {"n": sent, "size": SIZE})
                most_bytes = max(most_bytes, resident_bytes(pid))
            else:
                await asyncio.sleep(0.001)
    return Run(gaps.worst, most_bytes)


def is_even(without: float, with_it: float) -> bool:
    """Whether the worst gap is none, or one that this machine makes without a stalled member."""
    if with_it <= GAP_SECONDS:
        return True
    return GAP_SECONDS < without <= NOISY_SECONDS and with_it <= without


@pytest.mark.parametrize(("setup", "transport"), CASES, ids=str)
async def test_nineteen_hear_everything_evenly_while_the_twentieth_does_not_read(
    serve: Serve, setup: Setup, transport: Transport
) -> None:
    server = serve(APP, *setup.arguments, server=setup.server, env=UNLIMITED)
    async with connecting(server) as connect:
        members = await meet(connect, transport, HEALTHY)
        pid = (await watch(connect.server))["pid"]
        gaps: list[tuple[float, float]] = []
        for attempt in range(1, ATTEMPTS + 1):
            # As many without the stalled member: the longer a run, the worse its worst gap.
            control = await broadcast(members, pid, COUNT)
            name = f"stalled-{attempt}"
            stalled = await (await connect(transport, name, RECEIVE_BUFFER)).join(ROOM)
            stalled.stall()
            run = await broadcast(members, pid, COUNT)
            await see_freed(connect.server, stalled, GONE_SECONDS)
            assert await see_end(connect.server, name) == "SLOW_CONSUMER"
            assert run.most_bytes - control.most_bytes < GROWN_BYTES
            gaps.append((control.worst_gap, run.worst_gap))
            if is_even(*gaps[-1]):
                break
        else:
            seen = ", ".join(f"{with_it:.3f} s ({without:.3f} s)" for without, with_it in gaps)
            pytest.fail(f"the worst gaps with a stalled member (and without): {seen}")
        state = await watch(connect.server)
        assert state["users"] == {ROOM: HEALTHY}
        assert state["counts"]["slow_consumer"] == attempt
        assert connect.server.log().count("slow consumer") == attempt
        assert "Traceback" not in connect.server.log()
