"""Frozen peers: their system answers, they read nothing, and after that nothing is sent.

A little of what they were sent stands in the server, too little for a write to hang. The settings
are those of the deployment page, with shorter times. Every case runs at the same time.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pytest

from tests.integration.clients import TRANSPORTS, Transport
from tests.integration.frozen import FrozenPeer, NotArranged, until_arranged
from tests.integration.raw_clients import CLOSE, RawClient, connecting
from tests.integration.server_state import watch
from tests.servers import SERVERS, Server

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

APP: Final = "tests.integration.stall_app:app"
ROOM: Final = "/room/1"
RECEIVE_BUFFER: Final = 4_096
PINGS: Final = ("--ws-ping-interval", "3", "--ws-ping-timeout", "3")
# A write that hangs would show them, too; and what is sent meanwhile.
QUIET: Final = {"write_timeout": 100.0, "sse_keepalive_seconds": 100.0, "heartbeat_seconds": 100.0}
UNLIMITED: Final = {"event_rate": None, "control_rate": None, "max_refusals": None}
KERNEL: Final = {"tcp_user_timeout": 3.0}
# On a machine with other things to do.
SOON: Final = 6.0


def stay(client: RawClient) -> None:
    """Do nothing any more."""


def half_close(client: RawClient) -> None:
    """End the sending side, as one that has said all."""
    client.finish_writing()


def say_goodbye(client: RawClient) -> None:
    """Send a close frame, and wait for no answer."""
    client.write_frame(CLOSE, (1000).to_bytes(2))


def stop_in_a_frame(client: RawClient) -> None:
    """Send half of a frame."""
    client.write_bytes(b"\x81\xfe\x10\x00\x00\x00\x00\x00half")


@dataclass(frozen=True)
class Case:
    """One server with one frozen peer.

    Args:
        setup: The name of its setup.
        transport: The peer's.
        seconds: After how long it is to be gone.
        arguments: Further arguments of the server.
        options: The pond's.
        last: What the peer does when it freezes.
    """

    setup: str
    transport: Transport
    seconds: float
    arguments: tuple[str, ...] = ()
    options: tuple[tuple[str, float], ...] = ()
    last: Callable[[RawClient], None] = stay

    def server(self) -> Server:
        """Not yet started."""
        setup = next(setup for setup in SERVERS if setup.name == self.setup)
        env = {"POND_OPTIONS": json.dumps(QUIET | UNLIMITED | dict(self.options))}
        return Server(APP, *setup.arguments, *self.arguments, server=setup.server, env=env)

    def __str__(self) -> str:
        return f"{self.setup}, {self.transport}, {self.last.__name__}"


FASTLANE: Final = "uvicorn-uvloop-fastlane"
SANSIO: Final = "uvicorn-asyncio-websockets-sansio"
WSPROTO: Final = "uvicorn-asyncio-wsproto"
CASES: Final = (
    Case(FASTLANE, "websocket", 6, PINGS),
    Case(FASTLANE, "websocket", 6, PINGS, last=stop_in_a_frame),
    Case(FASTLANE, "websocket", 10, last=half_close),
    Case(FASTLANE, "websocket", 10, last=say_goodbye),
    Case(FASTLANE, "sse", 2, last=half_close),
    # Here the adapter sees that the server waits for such a peer, at most two seconds later.
    Case(SANSIO, "websocket", 6 + 2, PINGS),
    Case(SANSIO, "websocket", 2, last=half_close),
    Case(SANSIO, "websocket", 5, last=say_goodbye),
    Case(WSPROTO, "websocket", 6 + 2, PINGS),
    # It waits for an answer to its close frame first, for ten seconds.
    Case("uvicorn-uvloop-websockets", "websocket", 6 + 10 + 2, PINGS),
    *(
        Case(setup, transport, 3, options=tuple(KERNEL.items()))
        for setup in (
            FASTLANE,
            SANSIO,
            "hypercorn-asyncio-0",
            "hypercorn-asyncio-1",
            "hypercorn-trio-0",
            "granian-asyncio-1",
        )
        for transport in TRANSPORTS
    ),
)


async def see(case: Case, alone: asyncio.Lock) -> str | None:
    """Return what is wrong; None if a frozen peer is gone in time.

    Args:
        alone: Held while it freezes, which must not take as long as a ping waits for its answer.
    """
    server, loop = case.server(), asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, server)
        connect = await stack.enter_async_context(connecting(server))
        async with alone:
            member = await (await connect("websocket", "member")).join(ROOM)
            frozen = await (await connect(case.transport, "frozen", RECEIVE_BUFFER)).join(ROOM)
            peer = FrozenPeer(frozen)
            await peer.fill(member, ROOM)
            case.last(frozen)
        began = loop.time()
        state: Any = {}
        while loop.time() - began < case.seconds + SOON:
            state = await watch(server)
            held = peer.socket_states
            if not held and "frozen" in state["ends"]:
                break
            await asyncio.sleep(0.2)
        else:
            if held:
                peer.check()
            return f"{case}: after {case.seconds + SOON:g} s {held}, {state['ends']}"
        if state["users"] != {ROOM: 1} or member.ended.done():
            return f"{case}: {state}"
    return None


async def test_a_frozen_peer_is_gone_in_time_though_nothing_is_sent() -> None:
    few, alone = asyncio.Semaphore(8), asyncio.Lock()

    async def see_one(case: Case) -> str | None:
        async with few:
            try:
                return await until_arranged(partial(see, case, alone))
            except NotArranged as why:
                # So slow a machine that the server ended each peer while it froze: in time, too.
                print(f"{case}: {why}")
                return None

    found = await asyncio.gather(*map(see_one, CASES))
    assert [each for each in found if each is not None] == []
