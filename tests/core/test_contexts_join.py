"""What a join handler is given, and what it does."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from pondsocket import CloseCode, History, JoinContext, PondSocket, UsageError
from pondsocket.testing import connect
from pondsocket_common import Acknowledged, Refused

from tests.core.batching_programs import batch_by_hand
from tests.core.members import events, member, say, settled
from tests.core.ponds import ROOM, admit, assert_nothing_left, build


def logged_errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def test_a_join_context_shows_what_was_asked() -> None:
    seen: list[object] = []

    async def join(ctx: JoinContext) -> None:
        seen.extend(
            [ctx.join_params, ctx.get_join_params(), ctx.event, ctx.route.params, ctx.user.id]
        )
        seen.extend([ctx.channel.name, ctx.channel.params, ctx.request_id])
        await ctx.accept()

    async with connect(build(join).pond, "/socket?user=ann") as ann:
        request_id = ann.send("JOIN_CHANNEL", ROOM, "enter", {"as": "guest"})
        await ann.answer(request_id)

    params = {"as": "guest"}
    assert seen == [params, params, "enter", {"id": "1"}, "ann", ROOM, {"id": "1"}, request_id]


@pytest.mark.parametrize("response", [{"motd": "hi"}, [1], "text", 7, False])
async def test_a_response_travels_on_the_acknowledgement(response: object) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept(response=response)

    async with connect(build(join).pond, "/socket") as ann:
        assert (await ann.join(ROOM)).payload == Acknowledged(response=response)


async def test_what_needs_a_membership_fails_before_there_is_one() -> None:
    failures: list[str] = []

    async def join(ctx: JoinContext) -> None:
        for attempt in (ctx.reply("a", {}), ctx.track({})):
            try:
                await attempt
            except UsageError as error:
                failures.append(str(error))
        await ctx.accept()

    async with member(build(join), "ann") as ann:
        await settled()
        assert not ann.unread

    assert len(failures) == 2
    assert all("write `await ctx.accept()` first" in failure for failure in failures)


async def test_a_broadcast_before_accepting_reaches_the_others() -> None:
    async def join(ctx: JoinContext) -> None:
        if ctx.user.id == "ann":
            await ctx.broadcast("knock", {})
            await ctx.broadcast_from("knock again", {})
            await ctx.broadcast_to("psst", {}, "bob", "ann")
            assert await ctx.get_all_presence() == {}
            assert list(await ctx.get_all_assigns()) == ["bob"]
        await ctx.accept()

    setup = build(join)
    async with member(setup, "bob") as bob, member(setup, "ann") as ann:
        await settled()
        assert events(bob) == ["knock", "knock again", "psst"]
        assert not ann.unread


async def test_a_broadcast_after_accepting_reaches_the_member_too() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept()
        await ctx.broadcast("all", {})
        await ctx.broadcast_from("others", {})
        await ctx.broadcast_to("ann", {}, "ann")

    setup = build(join)
    async with member(setup, "bob") as bob:
        bob.drain()
        async with member(setup, "ann") as ann:
            await settled()
            assert events(bob)[-2:] == ["all", "others"]
            assert not ann.unread or events(ann) == ["all", "ann"]


async def test_a_second_decision_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept({"n": 1})
        await ctx.accept({"n": 2}, response="again")
        await ctx.decline(403, "no")
        assert await ctx.get_assign("n") == 1

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM)).payload == Acknowledged()
        await settled()
        assert events(ann) == ["CONNECTION"]
        say(ann, "in")
        assert (await ann.receive()).event == "say"
    assert len(logged_errors(caplog)) == 2
    assert all("decided twice" in message for message in logged_errors(caplog))


async def test_accepting_after_declining_admits_no_member(caplog: pytest.LogCaptureFixture) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.decline(403, "no")
        await ctx.accept()

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM)).payload == Refused(403, "no")
        await settled()
        assert events(ann) == ["CONNECTION"]
        assert await setup.lobby.list_channels() == []
    assert len(logged_errors(caplog)) == 1


async def test_a_decision_after_the_answer_comes_too_late(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[JoinContext] = []

    async def join(ctx: JoinContext) -> None:
        kept.append(ctx)

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM)).event == "UNAUTHORIZED"
        await kept[0].accept()
        await settled()
        assert events(ann) == ["CONNECTION"]
        assert await setup.lobby.list_channels() == []


class Saying(Mapping[str, Any]):
    """A response that calls the application when it is encoded."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def __getitem__(self, key: str) -> int:
        return 1

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        self._call()
        return iter(["one"])


@pytest.mark.parametrize("history", [None, History()])
@pytest.mark.parametrize("batches", [False, True])
async def test_what_a_response_broadcasts_is_from_before_the_join(
    history: History | None, batches: bool
) -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept(response=Saying(partial(channel.broadcast_nowait, "said")))

    pond = PondSocket()
    pond.create_endpoint("/socket", admit).create_channel("/room/:id", join, history=history)
    channel = pond.channel("/socket", ROOM)
    loop = batch_by_hand(pond) if batches else None
    async with connect(pond, "/socket?user=ann") as ann:
        assert (await ann.join(ROOM)).payload.response == {"one": 1}  # type: ignore[union-attr]
        if loop is not None:
            loop.turn()
        assert "said" not in events(ann)


async def test_a_response_that_ends_the_connection_leaves_no_member() -> None:
    async def join(ctx: JoinContext) -> None:
        await ctx.accept(response=Saying(partial(ctx.session.close, CloseCode.DISCONNECTED)))

    setup = build(join)
    async with connect(setup.pond, "/socket?user=ann") as ann:
        ann.send("JOIN_CHANNEL", ROOM, "join")
        assert await ann.wait_closed() is CloseCode.DISCONNECTED
        await settled()
        await assert_nothing_left(setup)
