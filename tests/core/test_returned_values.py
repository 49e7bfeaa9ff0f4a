"""What becomes of what a handler returns."""

# ruff: noqa: A002

from datetime import date

import pytest
from pondsocket import EventContext, JoinContext, PondError
from pondsocket.testing import connect
from pondsocket_common import Acknowledged, Refused

from tests.core.members import member
from tests.core.ponds import ROOM, build, error_records
from tests.core.typed_handlers import Point, Say, Words, ask, fault


@pytest.mark.parametrize(
    ("returned", "payload"),
    [
        ({"a": 1}, {"a": 1}),
        (
            Say(text="hi", sentOn=date(2026, 11, 20)),
            {"text": "hi", "loud": False, "sentOn": "2026-11-20"},
        ),
        (Words(["a"]), {"result": ["a"]}),
        (Point(1), {"result": {"x": 1}}),
        (0, {"result": 0}),
        (False, {"result": False}),
        ("", {"result": ""}),
        ([1, None], {"result": [1, None]}),
        ([Say(text="hi")], {"result": [{"text": "hi", "loud": False, "sentOn": None}]}),
    ],
)
async def test_a_returned_value_is_the_reply_under_the_requests_event_name(
    returned: object, payload: object
) -> None:
    async def handler(ctx: EventContext) -> object:
        return returned

    answer = await ask(handler)
    assert (answer.action, answer.event, answer.payload) == ("SYSTEM", "ask", payload)


async def test_returning_nothing_replies_nothing() -> None:
    setup = build()

    async def silent(ctx: EventContext) -> None: ...

    setup.lobby.on_message("silent", silent)
    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "silent")
        ann.send("BROADCAST", ROOM, "say")
        assert (await ann.receive()).event == "say"


async def test_a_returned_pond_error_is_an_error() -> None:
    async def handler(ctx: EventContext) -> PondError:
        return PondError("The room is full.", 409)

    answer = await fault(handler)
    assert (answer.error, answer.code, answer.message) == (
        "CHANNEL_ERROR",
        409,
        "The room is full.",
    )


async def test_one_reply_per_request(caplog: pytest.LogCaptureFixture) -> None:
    setup = build()

    async def handler(ctx: EventContext) -> str:
        await ctx.reply("first", {})
        await ctx.reply("second", {})
        return "third"

    setup.lobby.on_message("ask", handler)
    async with member(setup, "ann") as ann:
        ann.send("BROADCAST", ROOM, "ask")
        ann.send("BROADCAST", ROOM, "say")
        assert [(await ann.receive()).event for _ in range(2)] == ["first", "say"]
    messages = [record.getMessage() for record in error_records(caplog)]
    assert len(messages) == 2
    assert all("replied twice" in message for message in messages)


async def test_what_json_cannot_say_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(ctx: EventContext) -> object:
        return object()

    assert (await fault(handler)).code == 500
    assert "EncodingError" in caplog.text


async def test_a_join_handlers_return_accepts_with_a_response() -> None:
    setup = build()

    async def join(ctx: JoinContext, id: int) -> Say | PondError | None:
        if id == 3:
            await ctx.accept(response={"mine": True})
            return None
        return PondError("No.", 418) if id == 2 else Say(text="hi")

    setup.endpoint.create_channel("/typed/:id", join)
    async with connect(setup.pond, "/socket") as ann:
        answers = [(await ann.join(f"/typed/{n}")).payload for n in (1, 2, 3)]
    assert answers == [
        Acknowledged(response={"text": "hi", "loud": False, "sentOn": None}),
        Refused(418, "No."),
        Acknowledged(response={"mine": True}),
    ]


async def test_a_join_handlers_return_after_its_decision_goes_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def join(ctx: JoinContext) -> str:
        await ctx.decline(403, "No.")
        return "too late"

    setup = build(join)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.join(ROOM)).payload == Refused(403, "No.")
    assert "returned a value after it had decided" in caplog.text
