"""Endpoints whose pattern has parameters: channels of one name at two paths share nothing."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, NamedTuple

import pytest
from pondsocket import (
    Endpoint,
    GatewayContext,
    History,
    JoinContext,
    LeaveContext,
    Lobby,
    Options,
    OutgoingContext,
    PondSocket,
    UsageError,
)
from pondsocket._state.patterns import Paths
from pondsocket.testing import MemoryPeer, connect
from pondsocket_common import Acknowledged, CloseCode
from pydantic import AfterValidator

from tests.core.members import events, settled
from tests.core.ponds import ROOM, accept_join, admit, join_and_track, relay

ACME, RIVAL = "/acme/socket", "/rival/socket"


class Tenants(NamedTuple):
    pond: PondSocket
    endpoint: Endpoint
    lobby: Lobby


def build(path: str = "/:tenant/socket", options: Options | None = None) -> Tenants:
    pond = PondSocket(options=options)
    endpoint = pond.create_endpoint(path, admit)
    lobby = endpoint.create_channel("/room/:id", join_and_track, history=History())
    lobby.on_message("say", relay)
    return Tenants(pond, endpoint, lobby)


@asynccontextmanager
async def both(
    setup: Tenants, paths: tuple[str, str] = (ACME, RIVAL), users: tuple[str, str] = ("ann", "eve")
) -> AsyncIterator[tuple[MemoryPeer, MemoryPeer]]:
    """Have a member in the room of one name at each path."""
    (one, two), (ann, eve) = paths, users
    async with (
        connect(setup.pond, f"{one}?user={ann}") as first,
        connect(setup.pond, f"{two}?user={eve}") as second,
    ):
        for peer in (first, second):
            assert (await peer.join(ROOM)).event == "ACKNOWLEDGE"
        await settled()
        for peer in (first, second):
            peer.drain()
        yield first, second


# --- what two rooms of one name do not share -----------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "one", "two"),
    [
        ("/:tenant/socket", ACME, RIVAL),
        ("/v:version", "/v1", "/v2"),
        ("/of/*", "/of/a", "/of/a/b"),
        ("*", "/socket", "/socket/room"),
        ("/:a/:b", "/x/y", "/y/x"),
        ("/:tenant/socket", ACME, "/Acme/socket"),
        ("/:tenant/socket", "/caf\u00e9/socket", "/cafe\u0301/socket"),
    ],
)
async def test_what_is_said_at_one_path_is_not_heard_at_another(
    pattern: str, one: str, two: str
) -> None:
    setup = build(pattern)
    async with both(setup, (one, two)) as (ann, eve):
        ann.send("BROADCAST", ROOM, "say", {"n": 1})
        await ann.receive_event("say")
        for path in (one, two):
            await setup.pond.channel(path, ROOM).broadcast("from outside", {})
            setup.pond.channel(path, ROOM).broadcast_nowait("from a thread", {})
        await settled()
        assert events(eve) == ["from outside", "from a thread"]
        assert events(ann) == ["from outside", "from a thread"]


async def test_presence_users_and_assigns_are_each_tenants_own() -> None:
    setup = build()
    async with both(setup) as (ann, eve):
        acme, rival = (setup.pond.channel(path, ROOM) for path in (ACME, RIVAL))
        assert await acme.get_presence() == {"ann": {"who": "ann"}}
        assert await rival.get_presence() == {"eve": {"who": "eve"}}
        assert [*await acme.get_assigns(), *await rival.get_assigns()] == ["ann", "eve"]
        assert not await acme.has_user("eve")
        assert (await acme.user_count(), await rival.user_count()) == (1, 1)
        assert ann.unread == eve.unread == []


async def test_a_history_is_each_tenants_own_and_so_are_its_positions() -> None:
    setup = build()
    for path in (ACME, RIVAL):
        for number in range(3):
            await setup.pond.channel(path, ROOM).broadcast("said", {"in": path, "n": number})
    kept = await setup.pond.channel(ACME, ROOM).history()
    assert kept is not None
    assert [message.payload for message in kept] == [{"in": ACME, "n": n} for n in range(3)]
    assert {message.channel_name for message in kept} == {ROOM}
    async with connect(setup.pond, RIVAL) as eve:
        answer = (await eve.join(ROOM, since=kept[0].position)).payload
        assert isinstance(answer, Acknowledged)
        assert answer.recovered is False
        assert events(eve) == ["CONNECTION", "JOIN"]  # the presence is her own


@pytest.mark.parametrize("users", [("ann", "eve"), ("ann", "ann")])
async def test_an_eviction_and_a_broadcast_to_a_user_stay_at_their_path(
    users: tuple[str, str],
) -> None:
    setup = build()
    async with both(setup, users=users) as (ann, other):
        acme = setup.pond.channel(ACME, ROOM)
        await acme.broadcast_to("note", {}, "ann")
        await acme.evict_user("ann", "rude")
        await settled()
        assert events(ann) == ["note", "EVICTED"]
        assert other.unread == []
        assert await setup.pond.channel(RIVAL, ROOM).user_count() == 1


async def test_a_leave_that_is_held_back_is_not_taken_over_by_another_tenants_join() -> None:
    setup = build(options=Options(presence_leave_delay=60))
    async with setup.pond, connect(setup.pond, f"{RIVAL}?user=eve") as eve:
        await eve.join(ROOM)
        async with connect(setup.pond, f"{ACME}?user=ann") as ann:
            await ann.join(ROOM)
        async with connect(setup.pond, f"{RIVAL}?user=ann") as ann:
            await ann.join(ROOM)
            shown = await setup.pond.channel(RIVAL, ROOM).get_presence()
            assert shown == {"eve": {"who": "eve"}, "ann": {"who": "ann"}}
            assert await setup.pond.channel(ACME, ROOM).get_presence() == {"ann": {"who": "ann"}}


async def test_leave_handlers_and_outgoing_handlers_know_the_path_of_their_channel() -> None:
    setup = build()
    left: list[str] = []

    @setup.lobby.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(f"{ctx.user.id} {ctx.channel.path} {await ctx.remaining_user_count()}")

    async def outgoing(ctx: OutgoingContext) -> None:
        ctx.transform({"at": "later"})

    setup.lobby.on_outgoing("say", outgoing)
    async with both(setup) as (ann, eve):
        ann.send("BROADCAST", ROOM, "say", {})
        assert (await ann.receive_event("say")).payload == {"at": "later"}
        await ann.answer(ann.send("LEAVE_CHANNEL", ROOM, "leave"))
        assert left == [f"ann {ACME} 0"]
        assert eve.unread == []


async def test_a_refused_join_ends_the_membership_at_its_own_path_alone() -> None:
    pond = PondSocket()

    async def join(ctx: JoinContext) -> None:
        if ctx.join_params:
            await ctx.decline(403, "No.")
        else:
            await ctx.accept()

    endpoint = pond.create_endpoint("/:tenant/socket", admit)
    lobby = endpoint.create_channel("/room/:id", join)
    setup = Tenants(pond, endpoint, lobby)
    async with both(setup) as (ann, _):
        assert (await ann.join(ROOM, {"refuse": True})).event == "UNAUTHORIZED"
        assert [channel.path for channel in await lobby.list_channels()] == [RIVAL]


# --- which path is meant -------------------------------------------------------------------------


async def test_channels_are_found_by_their_path() -> None:
    setup = build()
    async with both(setup):
        for path in (ACME, RIVAL):
            channel = await setup.lobby.get_channel(ROOM, path=path)
            assert channel is not None
            assert (channel.path, channel.name) == (path, ROOM)
            assert await setup.lobby.list_channels(path=path) == [channel]
            assert setup.pond.channel(path, ROOM).path == path
        assert await setup.lobby.get_channel(ROOM, path="/other/socket") is None
        assert len(await setup.lobby.list_channels()) == 2


async def test_a_pattern_is_no_path() -> None:
    setup = build()
    pattern = "/:tenant/socket"
    with pytest.raises(UsageError, match="is a pattern, and each of its paths has channels"):
        setup.pond.channel(pattern, ROOM)
    with pytest.raises(UsageError, match="is a pattern"):
        await setup.pond.disconnect(user_id="ann", path=pattern)
    with pytest.raises(UsageError, match="is a pattern"):
        await setup.endpoint.close_connection("ann", path=pattern)
    with pytest.raises(UsageError, match="is a pattern"):
        await setup.lobby.list_channels(path=pattern)
    with pytest.raises(UsageError, match=r"write get_channel\('/room/1', path=…\)"):
        await setup.lobby.get_channel(ROOM)


@pytest.mark.parametrize("path", ["/acme", "/acme/socket/", "/a/b/socket", "//socket", ""])
async def test_a_path_that_is_none_of_the_endpoint_is_refused(path: str) -> None:
    setup = build()
    with pytest.raises(UsageError, match="There is no endpoint"):
        setup.pond.channel(path, ROOM)
    with pytest.raises(UsageError, match="There is no endpoint"):
        await setup.pond.disconnect(user_id="ann", path=path)
    with pytest.raises(UsageError, match="is no path of the endpoint '/:tenant/socket'"):
        await setup.endpoint.close_connection("ann", path=path)
    with pytest.raises(UsageError, match="is no path of the endpoint"):
        await setup.lobby.get_channel(ROOM, path=path)


async def test_a_users_connections_are_closed_at_one_path_or_at_all() -> None:
    setup = build()
    async with both(setup, users=("ann", "ann")) as (acme, rival):
        await setup.pond.disconnect(user_id="ann", path=ACME)
        assert await acme.wait_closed() is CloseCode.DISCONNECTED
        assert rival.closed is None
    async with both(setup, users=("ann", "ann")) as (acme, rival):
        await setup.endpoint.close_connection("ann", path=RIVAL)
        assert await rival.wait_closed() is CloseCode.DISCONNECTED
        assert acme.closed is None
    async with both(setup, users=("ann", "ann")) as peers:
        await setup.endpoint.close_connection("ann")
        assert [await peer.wait_closed() for peer in peers] == [CloseCode.DISCONNECTED] * 2


async def test_a_path_is_found_as_clients_find_it() -> None:
    pond = PondSocket()
    first = pond.create_endpoint("/:any/socket", admit)
    first.create_channel("/of/first", accept_join)
    second = pond.create_endpoint("/second/:kind", admit)
    second.create_channel("/of/second", accept_join)
    third = pond.create_endpoint("/a::b", admit)
    third.create_channel("/of/third", accept_join)
    assert pond.channel("/second/socket", "/of/first").path == "/second/socket"
    with pytest.raises(UsageError, match="No channel pattern"):
        pond.channel("/second/socket", "/of/second")
    # Both the path and the pattern that it is written by.
    assert pond.channel("/a:b", "/of/third").path == pond.channel("/a::b", "/of/third").path
    async with connect(pond, "/a:b") as ann:
        await ann.join("/of/third")
        await pond.channel("/a::b", "/of/third").broadcast("news", {})
        assert (await ann.receive_event("news")).payload == {}


async def test_paths_that_share_their_channels_are_one_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    pond = PondSocket()
    pattern = "/v/:version"
    endpoint = pond.create_endpoint(pattern, admit, shared_channels=True)
    assert "Endpoint '/v/:version': all its paths share channels." in caplog.text
    build()
    assert "Endpoint '/:tenant/socket': each of its paths has its own channels." in caplog.text
    lobby = endpoint.create_channel("/room/:id", accept_join)
    async with both(Tenants(pond, endpoint, lobby), ("/v/1", "/v/2")) as (ann, eve):
        (channel,) = await lobby.list_channels()
        assert channel.path == pattern
        for path in (pattern, "/v/1", "/v/3"):
            assert await lobby.get_channel(ROOM, path=path) is channel
            await pond.channel(path, ROOM).broadcast("news", {})
        await settled()
        assert events(ann) == events(eve) == ["news"] * 3
        await pond.disconnect(user_id="eve", path="/v/1")
        assert eve.closed is None
        await pond.disconnect(user_id="eve", path=pattern)
        assert await eve.wait_closed() is CloseCode.DISCONNECTED


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("/a", "/b/c"), ("/a/b", "/c")),
        (("/a\x1f", "/c"), ("/a", "/c")),
        (("/a/", "/c"), ("/a", "/c")),
    ],
)
def test_no_two_places_have_one_key(one: tuple[str, str], two: tuple[str, str]) -> None:
    paths = Paths("*")
    assert paths.key(*one) != paths.key(*two)


async def test_a_name_that_two_patterns_match_is_one_room_of_the_first() -> None:
    setup = build()
    setup.endpoint.create_channel("/:kind/vip", accept_join)
    rest = setup.endpoint.create_channel("/*", accept_join)
    async with connect(setup.pond, f"{ACME}?user=ann") as ann:
        for name in ("/room/vip", "/room/1/2", "/room"):
            await ann.join(name)
        assert [each.name for each in await setup.lobby.list_channels()] == ["/room/vip"]
        assert [each.name for each in await rest.list_channels()] == ["/room/1/2", "/room"]
        await setup.pond.channel(ACME, "/room/vip").broadcast("news", {})
        assert (await ann.receive_event("news")).channel_name == "/room/vip"


async def test_events_of_the_endpoint_reach_the_rooms_of_their_own_path() -> None:
    setup = build()

    @setup.endpoint.on_message("announce")
    async def announce(ctx: GatewayContext, tenant: str) -> None:
        await setup.pond.channel(ctx.path, ROOM).broadcast("announced", {"by": tenant})

    async with both(setup) as (ann, eve):
        ann.send("BROADCAST", "GATEWAY", "announce", {})
        assert (await ann.receive_event("announced")).payload == {"by": "acme"}
        assert eve.unread == []


@pytest.mark.parametrize("has_second", [True, False])
async def test_a_name_that_fits_another_pattern_by_now_is_no_second_room(
    *, has_second: bool
) -> None:
    known = {"a"}

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(name)
        return name

    async def join(ctx: JoinContext, id: Annotated[str, AfterValidator(check)]) -> None:  # noqa: A002
        await ctx.accept()

    pond, left = PondSocket(), list[str]()
    endpoint = pond.create_endpoint("/socket", admit)
    first = endpoint.create_channel("/of/:id", join)
    second = endpoint.create_channel("/of/:name" if has_second else "/else", accept_join)

    @first.on_leave
    async def leave(ctx: LeaveContext) -> None:
        left.append(ctx.reason)

    async with connect(pond, "/socket?user=ann") as ann:
        assert (await ann.join("/of/a")).event == "ACKNOWLEDGE"
        known.clear()
        answer = await ann.join("/of/a")
        assert answer.event == ("ACKNOWLEDGE" if has_second else "NOT_FOUND")
        assert await first.list_channels() == []
        assert len(await second.list_channels()) == has_second
        assert left == ["evicted"]
    assert await second.list_channels() == []
