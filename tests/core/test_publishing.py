"""A broadcast is decided, it gets its position, and it is emitted: in one step, or in two."""

from collections.abc import Awaitable
from typing import Any

import pytest
from pondsocket import EncodingError, UsageError
from pondsocket._channel.late import LateBroadcast
from pondsocket._history.slice import Audience
from pondsocket.testing import MemoryPeer
from pydantic import BaseModel, model_serializer

from tests.core.histories import build_with_history, heard, said
from tests.core.late_store import build_late
from tests.core.members import channel_of, members
from tests.core.ponds import ROOM, PondSetup, build

HISTORIES = pytest.mark.parametrize("make", [build, build_with_history])


async def publishing_of(setup: PondSetup) -> Any:
    return (await channel_of(setup)).publishing


def offsets(peer: MemoryPeer) -> list[int | None]:
    return [message.position and message.position.offset for message in peer.drain()]


@HISTORIES
async def test_a_broadcast_is_one_step_where_no_store_is_late(make: Any) -> None:
    setup = make()
    async with members(setup, "ann", "bob") as peers:
        publishing = await publishing_of(setup)
        assert publishing.publish("said", {"n": 1}) is None
        assert [heard(peer) for peer in peers] == [[1], [1]]


@HISTORIES
@pytest.mark.parametrize(
    ("audience", "expected"),
    [
        (None, ["ann", "bob", "cat"]),
        (Audience(("ann", "cat", "dan", "ann")), ["ann", "cat"]),
        (Audience(("ann", "dan"), is_exclusion=True), ["bob", "cat"]),
        (Audience(()), []),
        (Audience((), is_exclusion=True), ["ann", "bob", "cat"]),
    ],
)
async def test_a_broadcast_reaches_its_audience_alone(
    make: Any, audience: Audience | None, expected: list[str]
) -> None:
    setup = make()
    users = ("ann", "bob", "cat")
    async with members(setup, *users) as peers:
        publishing = await publishing_of(setup)
        publishing.publish("said", {"n": 1}, audience)
        got = {user: heard(peer) for user, peer in zip(users, peers, strict=True)}
        assert got == {user: [1] if user in expected else [] for user in users}


async def test_a_late_broadcast_to_no_user_reaches_no_member() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    async with members(setup, "ann") as (ann,):
        rest = (await publishing_of(setup)).publish("said", {"n": 1}, Audience(()))
        assert isinstance(rest, LateBroadcast)
        store.answer_all()
        await rest
        assert heard(ann) == []


async def test_a_broadcast_from_a_member_reaches_all_others_whatever_its_audience_is() -> None:
    setup = build_with_history()
    async with members(setup, "ann", "bob") as (ann, bob):
        channel = await channel_of(setup)
        (first, _) = channel.roster
        audience = Audience(("bob",))
        channel.publishing.publish("said", {"n": 1}, audience, but=first)
        assert (heard(ann), heard(bob)) == ([], [1])


class Nested(BaseModel):
    """A payload that broadcasts in the same channel when it is encoded."""

    n: int

    @model_serializer
    def encode(self) -> dict[str, int]:
        broadcast_inner()
        return {"n": self.n}


def broadcast_inner() -> None:
    """Set by the test."""


@HISTORIES
async def test_a_payload_that_broadcasts_when_it_is_encoded_comes_behind_that(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make()
    handle = setup.pond.channel("/socket", ROOM)

    def broadcast() -> None:
        handle.broadcast_nowait("said", {"n": 1})

    monkeypatch.setattr(f"{__name__}.broadcast_inner", broadcast)
    async with members(setup, "ann", "bob") as peers:
        await handle.broadcast("said", {"inner": Nested(n=2)})
        for peer in peers:
            messages = peer.drain()
            assert [said(message) for message in messages] == [1, "said"]
            if make is build_with_history:
                found = [message.position and message.position.offset for message in messages]
                assert found == [1, 2]


async def test_a_payload_that_broadcasts_when_it_is_encoded_comes_behind_that_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setup, store = build_late()
    store.reads_at_once = True
    handle = setup.pond.channel("/socket", ROOM)

    def broadcast() -> None:
        handle.broadcast_nowait("said", {"n": 1})

    monkeypatch.setattr(f"{__name__}.broadcast_inner", broadcast)
    async with members(setup, "ann") as (ann,):
        rest = (await publishing_of(setup)).publish("said", {"inner": Nested(n=2)})
        assert isinstance(rest, Awaitable)
        for append in store.appends:
            append.apply()
        for append in reversed(store.appends):
            append.answer()
        await rest
        messages = [await ann.receive(), await ann.receive()]
        assert [message.position and message.position.offset for message in messages] == [1, 2]
        assert messages[0].payload == {"n": 1}


@HISTORIES
@pytest.mark.parametrize(
    ("event", "payload", "error"),
    [("", {}, UsageError), ("said", [1], UsageError), ("said", {"n": object()}, EncodingError)],
)
async def test_what_cannot_be_sent_takes_no_position(
    make: Any, event: str, payload: Any, error: type[Exception]
) -> None:
    setup = make()
    async with members(setup, "ann") as (ann,):
        publishing = await publishing_of(setup)
        with pytest.raises(error):
            publishing.publish(event, payload)
        publishing.publish("said", {})
        assert offsets(ann) == [None if make is build else 1]


async def test_a_late_broadcast_is_decided_at_once_and_emitted_when_it_has_its_position() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    async with members(setup, "ann") as (ann,):
        publishing = await publishing_of(setup)
        payload = {"n": 1}
        rest = publishing.publish("said", payload)
        payload["n"] = 2
        assert isinstance(rest, LateBroadcast)
        assert [append.shown for append in store.appends] == [b'{"n":1}']
        assert heard(ann) == []
        store.answer_all()
        await rest
        assert heard(ann) == [1]
        assert publishing.publish("said", {"n": 3}, keep=False) is None
        assert heard(ann) == [3]


async def test_a_late_broadcast_that_is_given_up_is_not_sent_and_holds_no_other() -> None:
    setup, store = build_late()
    store.reads_at_once = True
    async with members(setup, "ann") as (ann,):
        publishing = await publishing_of(setup)
        first, second = publishing.publish("said", {"n": 1}), publishing.publish("said", {"n": 2})
        store.appends[0].apply()
        store.appends[1].answer()
        await second
        assert heard(ann) == []
        first.give_up()
        assert heard(ann) == [2]
