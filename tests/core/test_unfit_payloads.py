"""Payloads in which much does not fit: the answer is bounded, and so is what it costs."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pondsocket import Depends, EventContext, JoinContext, Options
from pondsocket._delivery import replies
from pondsocket._errors import InvalidPayload
from pondsocket.testing import FakeClock, MemoryPeer, connect
from pondsocket_common import (
    ClientActions,
    ClientMessage,
    Detail,
    Fault,
    Refused,
    ServerMessage,
    encode_server,
)
from pydantic import AfterValidator, BaseModel, create_model

from tests.core.members import member
from tests.core.ponds import ROOM, build

LARGEST_ANSWER = 8_192


class Say(BaseModel):
    mentions: list[str]


class Tree(BaseModel):
    name: str
    children: dict[str, Tree] = {}


class Row(BaseModel):
    id: int
    tags: dict[str, int]


class Table(BaseModel):
    rows: list[Row | list[int] | bool]


def fails_at_length(_: object) -> object:
    raise ValueError('"\x01\\' * 20_000)


class Judged(BaseModel):
    text: Annotated[str, AfterValidator(fails_at_length)]


_fields: dict[str, Any] = {f"field_{n}": (int, ...) for n in range(60)}
Wide: Any = create_model("Wide", **_fields)


def deep(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": 1}
    for _ in range(levels):
        tree = {"name": "x", "children": {"k" * 500: tree}}
    return tree


CASES: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    # model, payload, errorCount, details
    "one": (Say, {"mentions": [1]}, 1, 1),
    "ten": (Say, {"mentions": [1] * 10}, 10, 10),
    "eleven": (Say, {"mentions": [1] * 11}, 11, 10),
    "all that are listed": (Say, {"mentions": [1] * 256}, 256, 10),
    "more than are listed": (Say, {"mentions": [1] * 257}, 257, 1),
    "64 KiB": (Say, {"mentions": [1] * 32_000}, 32_000, 1),
    "a union": (Table, {"rows": [{"id": "x", "tags": {"a": "b"}}] * 1_000}, 4_000, 1),
    "names by the client": (
        Table,
        {"rows": [{"id": 1, "tags": {("\x01" + "k" * 5_000 + str(n)): "x" for n in range(9)}}]},
        11,
        10,
    ),
    "deep": (Tree, deep(20), 1, 1),
    "missing": (Wide, {}, 60, 10),
    "long words of a validator": (Judged, {"text": ""}, 1, 1),
}


def told(answer: ServerMessage) -> tuple[int, int | None, int]:
    payload = answer.payload
    assert isinstance(payload, Fault | Refused)
    assert payload.details is not None
    assert len(encode_server(answer)) <= LARGEST_ANSWER
    return payload.code, payload.error_count, len(payload.details)


@pytest.mark.parametrize("case", CASES)
async def test_an_event_that_does_not_fit_has_a_bounded_answer(case: str) -> None:
    model, payload, count, listed = CASES[case]
    setup = build()

    async def ask(ctx: EventContext, payload: Any) -> None:
        raise AssertionError

    ask.__annotations__["payload"] = model
    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask", payload))
        assert told(answer) == (422, count, listed)
        assert ann.closed is None


@pytest.mark.parametrize("case", CASES)
async def test_a_join_that_does_not_fit_has_a_bounded_answer(case: str) -> None:
    model, payload, count, listed = CASES[case]

    async def join(ctx: JoinContext, payload: Any) -> None:
        raise AssertionError

    join.__annotations__["payload"] = model
    async with connect(build(join).pond, "/socket") as ann:
        assert told(await ann.join(ROOM, payload)) == (422, count, listed)
        assert ann.closed is None


async def test_single_fields_that_do_not_fit_are_counted_together() -> None:
    setup = build()

    async def ask(a: list[str], b: list[str], c: int) -> None:
        raise AssertionError

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        payload = {"a": [1] * 300, "b": [1] * 20, "c": "x"}
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask", payload))
        assert told(answer) == (422, 321, 10)
        details = answer.payload.details  # type: ignore[union-attr]
        assert details is not None
        assert details[0] == Detail(("a",), "300 values do not fit", "too_many")
        assert details[1].loc == ("b", 0)


async def test_a_field_that_several_functions_ask_for_counts_once() -> None:
    setup = build()

    def again(a: dict[str, int]) -> None:
        raise AssertionError

    async def ask(a: dict[str, int], _: None = Depends(again)) -> None:
        raise AssertionError

    setup.lobby.on_message("ask", ask)
    # Names so long that they look the same once they are cut.
    names = {"k" * 500 + str(n): "x" for n in range(9)}
    async with member(setup, "ann") as ann:
        answer = await ann.answer(ann.send("BROADCAST", ROOM, "ask", {"a": names}))
        assert isinstance(answer.payload, Fault)
        assert answer.payload.error_count == 9


async def test_the_longest_names_around_it_keep_the_answer_below_the_bound() -> None:
    setup = build()
    name, request_id = "/room/" + "𝄞" * 249, "𝄞" * 255

    async def ask(payload: Wide) -> None:
        raise AssertionError

    setup.lobby.on_message("ask", ask)
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(name)
        ann.send_raw(
            json.dumps(
                {
                    "action": "BROADCAST",
                    "event": "ask",
                    "channelName": name,
                    "requestId": request_id,
                    "payload": {},
                }
            )
        )
        assert told(await ann.answer(request_id)) == (422, 60, 10)


@pytest.mark.parametrize("odd", ["\x01", "\\", "𝄞", "é", "x"])
def test_no_details_can_exceed_the_bound(odd: str) -> None:
    wild = Detail(tuple(odd * 400 for _ in range(64)), odd * 9_000, odd * 900)
    error = InvalidPayload([wild] * 64)
    # The longest name of a channel and of a request, and all that is around them.
    names = ("/" + "𝄞" * 254, "𝄞" * 255)
    request = ClientMessage(ClientActions.BROADCAST, "ask", *names, {})
    assert len(encode_server(replies.unfit(request, error))) < LARGEST_ANSWER
    assert error.count == 64
    assert 1 <= len(error.details) <= 10
    assert all(str(part).startswith(("…", odd)) for part in error.details[0].loc)


# --- what it costs ------------------------------------------------------------------------------


async def ask_for(peer: MemoryPeer, faults: int) -> str:
    request = peer.send("BROADCAST", ROOM, "ask", {"mentions": [1] * faults})
    answer = await peer.answer(request)
    return answer.event


async def test_a_message_of_many_faults_counts_as_many_messages() -> None:
    clock = FakeClock()
    setup = build(options=Options(event_rate=10, event_burst=10), clock=clock)

    async def ask(payload: Say) -> None: ...

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        assert await ask_for(ann, 255) == "INVALID_MESSAGE"
        assert await ask_for(ann, 20 * 256) == "INVALID_MESSAGE"
        assert await ask_for(ann, 1) == "RATE_LIMITED"
        clock.advance(1.2)
        assert await ask_for(ann, 1) == "RATE_LIMITED"
        clock.advance(0.2)
        assert await ask_for(ann, 1) == "INVALID_MESSAGE"
        assert ann.closed is None


async def test_a_join_of_many_faults_counts_as_many_joins() -> None:
    clock = FakeClock()
    setup = build(options=Options(control_rate=10, control_burst=10), clock=clock)

    async def join(ctx: JoinContext, mentions: list[str] = []) -> None:  # noqa: B006
        await ctx.accept()

    setup.endpoint.create_channel("/typed/:id", join)
    async with connect(setup.pond, "/socket") as ann:
        codes = []
        for _ in range(2):
            refused = (await ann.join("/typed/1", {"mentions": [1] * 20 * 256})).payload
            assert isinstance(refused, Refused)
            codes.append(refused.code)
        assert codes == [422, 429]
        clock.advance(2.0)
        assert (await ann.join("/typed/1")).event == "ACKNOWLEDGE"


async def test_without_rates_nothing_is_counted() -> None:
    setup = build(options=Options(event_rate=None, control_rate=None))

    async def ask(payload: Say) -> None: ...

    setup.lobby.on_message("ask", ask)
    async with member(setup, "ann") as ann:
        for _ in range(3):
            assert await ask_for(ann, 20 * 256) == "INVALID_MESSAGE"
