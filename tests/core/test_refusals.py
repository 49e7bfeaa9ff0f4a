"""Refusals for rate and form: told each time, and too many of them close the connection."""

import json
from typing import Final

import pytest
from pondsocket import CloseCode, Options, PondSocket
from pondsocket.testing import FakeClock, connect
from pondsocket_common import Fault, Goodbye, Refused

from tests.core.members import answer_to_event, client_message, settled
from tests.core.ponds import ROOM, accept_join, admit, relay, timed

DEEP: Final = json.loads("[" * 63 + "]" * 63)


async def test_a_hundred_refusals_in_ten_seconds_close_the_connection() -> None:
    setup, clock = timed(Options(event_rate=1.0, event_burst=1))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        assert await answer_to_event(ann) == "say"
        for _ in range(99):
            assert isinstance(await answer_to_event(ann), Fault)
        clock.advance(0.9)
        assert ann.closed is None
        ann.send("BROADCAST", ROOM, "say")
        assert await ann.wait_closed() == CloseCode.RATE_LIMITED
        last, goodbye = ann.drain()
        assert (last.event, goodbye.event) == ("RATE_LIMITED", "GOODBYE")
        assert isinstance(goodbye.payload, Goodbye)
        assert (goodbye.payload.code, goodbye.payload.reconnect) == (4429, True)


async def test_a_hundred_refusals_in_eleven_seconds_do_not() -> None:
    setup, clock = timed(Options(event_rate=0.001, event_burst=1))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        assert await answer_to_event(ann) == "say"
        for _ in range(150):
            assert isinstance(await answer_to_event(ann), Fault)
            clock.advance(0.11)
        assert ann.closed is None


async def test_refusals_may_be_without_end() -> None:
    setup, _ = timed(Options(event_rate=0.001, event_burst=1, max_refusals=None))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        for _ in range(300):
            ann.send("BROADCAST", ROOM, "say")
        await settled()
        assert ann.closed is None


@pytest.mark.parametrize("rate", [None, 0.5, 50.0])
@pytest.mark.parametrize(
    "wrong",
    [
        "nonsense",
        "7",
        "[]",
        '{"action": "BROADCAST"}',
        json.dumps(client_message(1, event="")),
        json.dumps(client_message(1, event="e" * 256)),
        json.dumps(client_message(1, event="e" * 21)),
        json.dumps(client_message(1, event="PONG")),
        json.dumps(client_message(1, channelName="no slash")),
        json.dumps(client_message(1, "JOIN_CHANNEL", since=0)),
        json.dumps(client_message(1, payload={"n": 2**64})),
        json.dumps(client_message(1, payload={"n": DEEP})),
        b"\xff",
    ],
    ids=lambda wrong: ascii(wrong)[:30],
)
async def test_every_refusal_for_form_counts_however_slowly_it_comes(
    wrong: str | bytes, rate: float | None
) -> None:
    options = Options(event_rate=rate, event_burst=1, max_refusals=5, max_name_chars=20)
    setup, clock = timed(options)
    async with connect(setup.pond, "/socket") as ann:
        await ann.receive_event("CONNECTION")
        for _ in range(4):
            clock.advance(2.0)
            ann.send_raw(wrong)
            assert (await ann.receive()).event in ("INVALID_MESSAGE", "UNAUTHORIZED")
        await settled()
        assert ann.closed is None
        ann.send_raw(wrong)
        assert await ann.wait_closed() == CloseCode.RATE_LIMITED
        _, goodbye = ann.drain()
        assert isinstance(goodbye.payload, Goodbye)
        assert goodbye.payload.code == 4429


async def test_refusals_for_form_and_for_rate_are_counted_together() -> None:
    setup, _ = timed(Options(event_rate=0.001, event_burst=2, max_refusals=3))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        assert await answer_to_event(ann) == "say"
        ann.send_raw("nonsense")
        assert (await ann.receive()).event == "INVALID_MESSAGE"
        assert await answer_to_event(ann) == "say"
        assert isinstance(await answer_to_event(ann), Fault)
        ann.send_raw("nonsense")
        assert await ann.wait_closed() == CloseCode.RATE_LIMITED


async def test_an_event_that_comes_too_fast_is_answered_so_whatever_it_holds() -> None:
    setup, clock = timed(Options(event_rate=1.0, event_burst=1))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        ann.drain()
        for payload in ({"n": DEEP}, {"n": 2**64}, {"n": [2**64]}):
            assert await answer_to_event(ann) == "say"
            ann.send_raw(json.dumps(client_message(1, payload=payload)))
            answer = await ann.answer("r1")
            assert isinstance(answer.payload, Fault)
            assert answer.payload.code == 429
            # What is no event has a rate of its own, and is still looked at.
            ann.send_raw(json.dumps(client_message(2, "JOIN_CHANNEL", payload=payload)))
            refused = (await ann.answer("r2")).payload
            assert isinstance(refused, Refused)
            assert refused.code == 400
            clock.advance(1.0)
            ann.send_raw(json.dumps(client_message(3, payload=payload)))
            fault = (await ann.answer("r3")).payload
            assert isinstance(fault, Fault)
            assert (fault.error, fault.code) == ("INVALID_MESSAGE", 400)
            clock.advance(1.0)
            await ann.join(ROOM)  # the join that was refused has ended the membership
            ann.drain()


@pytest.mark.parametrize("is_posted", [False, True])
async def test_an_event_is_judged_at_one_time_though_the_clock_goes_on(is_posted: bool) -> None:
    class Ticking(FakeClock):
        def __call__(self) -> float:
            self.advance(0.1)
            return super().__call__()

    clock = Ticking(1_000.0)
    pond = PondSocket(options=Options(event_rate=1.0, event_burst=1), clock=clock)
    lobby = pond.create_endpoint("/socket", admit).create_channel("/room/:id", accept_join)
    lobby.on_message("say", relay)
    async with connect(pond, "/socket", transport="sse" if is_posted else "websocket") as ann:
        await ann.join(ROOM)
        ann.drain()
        assert await answer_to_event(ann) == "say"
        # Looked at for the first time it is too early, and would not be a tick later.
        clock.advance(0.85)
        large = json.dumps(client_message(1, payload={"n": [2**64]}))
        if is_posted:
            ann.session.post(large.encode())
        else:
            ann.send_raw(large)
        assert (await ann.answer("r1")).event == "RATE_LIMITED"


async def test_what_is_no_event_takes_nothing_from_the_events() -> None:
    setup, _ = timed(Options(event_rate=0.001, event_burst=2))
    async with connect(setup.pond, "/socket") as ann:
        for _ in range(5):
            await ann.join(ROOM)
            ann.send_raw('{"action": "ping", "requestId": "p"}')
            await ann.answer("p")
        ann.drain()
        assert await answer_to_event(ann) == "say"
        await ann.join(ROOM)
        ann.drain()
        assert await answer_to_event(ann) == "say"
        assert isinstance(await answer_to_event(ann), Fault)
