"""Two ids: the secret one of a connection, and the public one of a user, who may have several."""

from typing import Any

import pytest
from pondsocket import ConnectionContext, EventContext, JoinContext, LeaveContext, PondSocket
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Connected, PresenceList

from tests.core.members import events, member, settled
from tests.core.ponds import ROOM, build


async def test_the_public_id_is_never_the_secret_and_others_see_the_public_one_alone() -> None:
    setup = build()

    @setup.lobby.on_message("show")
    async def show(ctx: EventContext) -> None:
        await ctx.track({"id": ctx.user.id})
        await ctx.broadcast("all", {"assigns": await ctx.get_all_assigns()})

    async with connect(setup.pond, "/socket") as ann, member(setup, "bob") as bob:
        connected = (await ann.receive_event("CONNECTION")).payload
        assert isinstance(connected, Connected)
        assert connected.id != connected.connection_id
        assert connected.connection_id == ann.session.connection_id
        await ann.join(ROOM)
        ann.send("BROADCAST", ROOM, "show")
        await bob.receive_event("all")
        for message in (*ann.unread, *bob.unread):
            assert connected.connection_id not in repr(message)


@pytest.mark.parametrize(("given", "public"), [("ann", "ann"), (7, "7"), ("ü-1", "ü-1")])
async def test_the_application_gives_the_public_id(given: object, public: str) -> None:
    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept(user_id=given)

    setup = build(connect=admit)
    async with connect(setup.pond, "/socket") as peer:
        connected = (await peer.receive_event("CONNECTION")).payload
        assert isinstance(connected, Connected)
        assert connected.id == public
        assert peer.session.assigns["user_id"] == given


async def test_made_up_ids_differ() -> None:
    setup = build()
    async with connect(setup.pond, "/socket") as one, connect(setup.pond, "/socket") as two:
        assert one.session.user_id != two.session.user_id
        assert not one.session.is_user_known


async def tab(peer: MemoryPeer) -> MemoryPeer:
    await peer.join(ROOM)
    await settled()
    peer.drain()
    return peer


async def test_several_connections_of_a_user_are_one_user_with_an_entry_a_tab() -> None:
    left: list[str] = []

    async def join(ctx: JoinContext) -> None:
        await ctx.accept({"tab": ctx.join_params.get("tab")})

    setup = build(join)

    @setup.lobby.on_message("show")
    async def show(ctx: EventContext, n: int) -> None:
        await ctx.track({"n": n})

    @setup.lobby.on_message("to_ann")
    async def to_ann(ctx: EventContext) -> None:
        await ctx.broadcast_to("hello", {}, "ann")

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.user.id)

    url = "/socket?user=ann"
    async with member(setup, "bob") as bob:
        async with connect(setup.pond, url) as first:
            async with connect(setup.pond, url) as second:
                await tab(first)
                await tab(second)
                channel = await setup.lobby.get_channel(ROOM)
                assert channel is not None
                assert await channel.user_count() == 2
                first.send("BROADCAST", ROOM, "show", {"n": 1})
                await bob.receive_event("JOIN")
                second.send("BROADCAST", ROOM, "show", {"n": 2})
                update = (await bob.receive_event("UPDATE")).payload
                assert update == PresenceList(({"n": 2},), {"n": 2})
                bob.send("BROADCAST", ROOM, "to_ann")
                await first.receive_event("hello")
                await second.receive_event("hello")
            await settled()
            update = (await bob.receive_event("UPDATE")).payload
            assert update == PresenceList(({"n": 1},), {"n": 1})
            assert left == []
        assert (await bob.receive_event("LEAVE")).payload == PresenceList((), {"n": 1})
        assert left == ["ann"]
        assert await channel.user_count() == 1


async def test_evicting_a_user_ends_every_tab_and_one_leave_is_told() -> None:
    setup = build()
    left: list[Any] = []

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append((ctx.user.id, ctx.reason))

    async with member(setup, "ann") as first, member(setup, "ann") as second:
        await setup.pond.channel("/socket", ROOM).evict_user("ann", "out")
        assert events(first) == events(second) == ["EVICTED"]
        assert left == [("ann", "evicted")]


async def test_a_user_of_one_endpoint_is_another_at_the_next_for_its_own_count() -> None:
    pond = PondSocket()

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann")

    one, two = pond.create_endpoint("/one", admit), pond.create_endpoint("/two", admit)
    async with connect(pond, "/one"), connect(pond, "/two"):
        await settled()
        await one.close_connection("ann")
        await settled()
        assert (await one.connection_count(), await two.connection_count()) == (0, 1)
