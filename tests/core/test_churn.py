"""A thousand connections come and go, some without a close: nothing is left."""

import gc
import random
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import Channel, CloseCode, JoinContext, LeaveContext, OutgoingContext
from pondsocket._channel.member import Member
from pondsocket.adapter import Session
from pondsocket.testing import MemoryPeer

from tests.core.members import say, settled
from tests.core.ponds import ROOM, admitted, build
from tests.live_objects import live_objects

CONNECTIONS = 1_000


def remaining(*kinds: type) -> list[object]:
    gc.collect()
    return live_objects(*kinds)


@pytest.mark.parametrize("seed", [1])
async def test_a_thousand_connections_in_random_order_leave_nothing_behind(seed: int) -> None:
    chance = random.Random(seed)
    counts = {"joined": 0, "left": 0}
    undecided = anyio.Event()

    async def join(ctx: JoinContext) -> None:
        manner = ctx.join_params.get("manner")
        if manner == "slow":
            await anyio.lowlevel.checkpoint()
        elif manner == "never":
            await undecided.wait()
        elif manner == "declined":
            await ctx.decline()
            return
        await ctx.accept()
        counts["joined"] += 1
        if chance.random() < 0.05:  # few, for each tells every member of all others
            await ctx.track({"n": counts["joined"]})

    async def leave(ctx: LeaveContext) -> None:
        if chance.random() < 0.5:
            await anyio.lowlevel.checkpoint()
        counts["left"] += 1

    async def wait_a_little(ctx: OutgoingContext) -> None:
        await anyio.lowlevel.checkpoint()

    setup = build(join)
    setup.lobby.on_leave(leave)
    setup.lobby.on_outgoing("say", wait_a_little)
    before = {id(thing) for thing in remaining(Session, Member, Channel)}

    async def life(peer: MemoryPeer) -> None:
        async with anyio.create_task_group() as served:
            served.start_soon(peer.session.run, peer, peer.pull)
            manner = chance.choice(["at once"] * 6 + ["slow", "slow", "never", "declined"])
            peer.send("JOIN_CHANNEL", ROOM, "join", {"manner": manner})
            for _ in range(chance.randrange(8)):
                await anyio.lowlevel.checkpoint()
            if chance.random() < 0.01:
                say(peer, "to all")
            for _ in range(chance.randrange(8)):
                await anyio.lowlevel.checkpoint()
            match chance.choice(["leave", "vanish", "cancel", "close", "leave and vanish"]):
                case "cancel":
                    served.cancel_scope.cancel()
                case "close":
                    peer.session.close(CloseCode.DISCONNECTED)
                case "leave":
                    peer.send("LEAVE_CHANNEL", ROOM, "leave")
                    for _ in range(chance.randrange(4)):
                        await anyio.lowlevel.checkpoint()
                    peer.vanish()
                case "leave and vanish":
                    peer.send("LEAVE_CHANNEL", ROOM, "leave")
                    peer.vanish()
                case _:
                    peer.vanish()

    with anyio.fail_after(25):
        async with anyio.create_task_group() as tasks:
            for number in range(CONNECTIONS):
                session = await admitted(setup.pond, f"user{number}")
                tasks.start_soon(life, MemoryPeer(session))
                if number % 50 == 0:
                    await anyio.lowlevel.checkpoint()
            del session
    await settled()

    assert counts["joined"] > CONNECTIONS / 3
    assert counts["left"] == counts["joined"]
    assert await setup.endpoint.connection_count() == 0
    assert len(setup.endpoint.sessions) == setup.endpoint.sessions.user_count == 0
    assert await setup.lobby.list_channels() == []
    left_over: list[Any] = [
        thing for thing in remaining(Session, Member, Channel) if id(thing) not in before
    ]
    assert left_over == []


async def test_all_thousand_in_one_room_see_each_other_go() -> None:
    setup = build()
    peers: list[MemoryPeer] = []
    async with anyio.create_task_group() as tasks:
        for number in range(CONNECTIONS):
            session = await admitted(setup.pond, f"user{number}")
            peer = MemoryPeer(session)
            tasks.start_soon(session.run, peer, peer.pull)
            peer.send("JOIN_CHANNEL", ROOM, "join")
            peers.append(peer)
        await settled()
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert await channel.user_count() == CONNECTIONS
        say(peers[0], "hello")
        await settled()
        assert all(peer.unread[-1].event == "say" for peer in peers)

        random.Random(7).shuffle(peers)
        for count, peer in enumerate(peers, start=1):
            if count % 2:
                peer.vanish()
            else:
                peer.send("LEAVE_CHANNEL", ROOM, "leave")
        await settled()
        assert await channel.user_count() == 0
        assert await setup.endpoint.connection_count() == CONNECTIONS // 2
        for peer in peers:
            peer.vanish()
    assert await setup.endpoint.connection_count() == 0
    assert await setup.lobby.list_channels() == []
