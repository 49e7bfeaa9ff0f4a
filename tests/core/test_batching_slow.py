"""A batch leaves, and a member is too slow for it: the others learn of it in order."""

from typing import Any

import pytest
from pondsocket import (
    History,
    Hooks,
    LeaveReason,
    PondSocket,
    PresenceMode,
    ServerActions,
    ServerMessage,
    User,
)
from pondsocket.testing import MemoryPeer
from pondsocket_common import PresenceDiff

from tests.core.batching_programs import ManualLoop, batch_by_hand
from tests.core.members import member, settled
from tests.core.ponds import ROOM, UNLIMITED, PondSetup, accept_join, admit, relay
from tests.frames import frame_of


class GoodbyeHooks(Hooks):
    """Hooks that tell the room at once who has left."""

    def __init__(self) -> None:
        self.pond: PondSocket | None = None

    def left(self, channel_name: str, user: User, reason: LeaveReason) -> None:
        assert self.pond is not None
        self.pond.channel("/socket", channel_name).broadcast_nowait("left", {"n": user.id})


def batching_setup(hooks: GoodbyeHooks | None = None, **lobby: Any) -> tuple[PondSetup, ManualLoop]:
    pond = PondSocket(options=UNLIMITED, hooks=hooks)
    if hooks is not None:
        hooks.pond = pond
    endpoint = pond.create_endpoint("/socket", admit)
    room = endpoint.create_channel("/room/:id", accept_join, **lobby)
    room.on_message("say", relay)
    return PondSetup(pond, endpoint, room), batch_by_hand(pond)


def shown(peer: MemoryPeer) -> list[Any]:
    """Return what the last list of presences holds."""
    last = [message for message in peer.drain() if message.action == "PRESENCE"][-1]
    return [each["name"] for each in last.payload.presence]  # type: ignore[union-attr]


async def track(setup: PondSetup, user: str, mood: str = "") -> None:
    channel = await setup.lobby.get_channel(ROOM)
    assert channel is not None
    (one,) = channel.roster.of_user(user)
    channel.track_member(one, {"name": user, "mood": mood})


@pytest.mark.parametrize("who", ["ann", "bob"])
async def test_no_member_is_shown_one_that_was_too_slow_for_what_waited(who: str) -> None:
    setup, _ = batching_setup()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        await track(setup, "bob")
        ann.drain()
        bob.drain()
        bob.capacity = 0
        await setup.pond.channel("/socket", ROOM).broadcast("tick")
        await track(setup, who, "anew")
        await settled()
        assert not bob.session.is_open
        assert shown(ann) == (["ann"] if who == "ann" else [])


async def test_nothing_is_shown_for_who_is_too_slow_for_what_was_said_before_it() -> None:
    setup, _ = batching_setup()
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        bob.capacity = 0
        await setup.pond.channel("/socket", ROOM).broadcast("tick")
        await track(setup, "bob")
        await settled()
        channel = await setup.lobby.get_channel(ROOM)
        assert channel is not None
        assert await channel.get_presence() == {}
        assert [message.event for message in ann.drain()] == ["tick"]


async def test_a_reply_that_waits_elsewhere_is_out_before_a_position_is_taken() -> None:
    setup, loop = batching_setup(GoodbyeHooks(), history=History(size=9))
    other = "/room/2"
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        for peer in (ann, bob):
            assert (await peer.join(other)).event == "ACKNOWLEDGE"
        bob.capacity = 0
        await setup.pond.channel("/socket", other).broadcast("tick")
        ann.session.memberships[other].send_frame(frame_of(b"{}", "answer"))  # type: ignore[attr-defined]
        await setup.pond.channel("/socket", ROOM).broadcast("tock")
        loop.turn()
        await settled()
        frames = [frame for frame in ann._frames if frame.channel == ROOM]
        assert [frame.message.event for frame in frames] == ["left", "tock"]
        assert [frame.position.offset for frame in frames if frame.position] == [1, 2]
        ann._frames.clear()


@pytest.mark.parametrize("how", ["all", "to"])
@pytest.mark.parametrize("outgoing", [False, True])
async def test_positions_keep_their_order_where_a_hook_speaks(how: str, outgoing: bool) -> None:
    setup, loop = batching_setup(GoodbyeHooks(), history=History(size=9))
    if outgoing:
        setup.lobby.on_outgoing("shout", lambda _ctx: None)
        setup.lobby.on_outgoing("left", lambda _ctx: None)
    async with member(setup, "ann") as ann, member(setup, "bob") as bob:
        bob.capacity = 0
        channel = setup.pond.channel("/socket", ROOM)
        await channel.broadcast("tick")
        if how == "all":
            await channel.broadcast("shout")
        else:
            await channel.broadcast_to("shout", {}, "ann", "bob")
        loop.turn()
        await settled()
        offsets = [message.position.offset for message in ann.drain() if message.position]
        assert offsets == sorted(offsets)
        assert len(offsets) == 3


async def test_a_diff_that_is_made_meanwhile_goes_behind_the_one_before_it() -> None:
    class EndHooks(GoodbyeHooks):
        def left(self, channel_name: str, user: User, reason: LeaveReason) -> None: ...

        def disconnected(self, user_id: str, *_: object) -> None:
            assert self.pond is not None
            self.pond.channel("/socket", ROOM).broadcast_nowait("left", {"n": user_id})

    setup, loop = batching_setup(EndHooks())
    other = "/room/2"
    async with member(setup, "ann", other) as ann, member(setup, "bob", other) as bob:
        await ann.join(ROOM, presence=PresenceMode.DIFF)
        await bob.join(ROOM)
        await track(setup, "bob")
        for peer in (ann, bob):
            peer.drain()
        bob.capacity = 0
        await setup.pond.channel("/socket", other).broadcast("tick")
        answer = ServerMessage(ServerActions.SYSTEM, "answer", other, "1", {})
        ann.session.memberships[other].send(answer)  # type: ignore[attr-defined]
        await setup.pond.channel("/socket", ROOM).broadcast("tock")
        loop.turn()
        await settled()
        listed: set[str] = set()
        for message in ann.drain():
            if isinstance(message.payload, PresenceDiff):
                listed |= {entry.user for entry in message.payload.joins}
                listed -= {entry.user for entry in message.payload.leaves}
        assert not listed
