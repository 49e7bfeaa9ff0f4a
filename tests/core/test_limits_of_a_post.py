"""Rates where an array of messages comes at once; and how many connections there may be."""

import json
from typing import Final

import anyio
import pytest
from pondsocket import CloseCode, ConnectionContext, EventContext, Options, UsageError
from pondsocket.adapter import Refusal
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Acknowledged, Refused

from tests.core.members import client_message, post_body, settled
from tests.core.ponds import ROOM, admit, build, request, timed


async def test_each_message_of_an_array_counts_and_all_or_none_are_taken() -> None:
    setup, _ = timed(Options(event_rate=1.0, event_burst=5, control_rate=1.0, control_burst=2))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)  # one of the two
        ann.drain()
        assert ann.session.post(post_body(*(client_message(n) for n in range(4)))) is None
        await settled()
        assert len(ann.drain()) == 4
        refusal = ann.session.post(
            post_body(client_message(5), client_message(6), client_message(7))
        )
        assert isinstance(refusal, Refusal)
        assert (refusal.status, refusal.retry_after) == (429, 2)
        await settled()
        told = ann.drain()
        assert [each.request_id for each in told] == ["r5", "r6", "r7"]
        assert {each.event for each in told} == {"RATE_LIMITED"}
        assert ann.session.post(post_body(client_message(8))) is None  # nothing of it was counted


async def test_what_an_array_could_not_use_is_given_back() -> None:
    setup, _ = timed(Options(event_rate=1.0, event_burst=1, control_rate=0.001, control_burst=2))
    async with connect(setup.pond, "/socket") as ann:
        await ann.receive_event("CONNECTION")
        mixed = post_body(client_message(1, "JOIN_CHANNEL"), client_message(2), client_message(3))
        refusal = ann.session.post(mixed)
        assert isinstance(refusal, Refusal)
        told = {each.request_id: each.event for each in ann.drain()}
        assert told == {"r1": "UNAUTHORIZED", "r2": "RATE_LIMITED", "r3": "RATE_LIMITED"}
        # The bucket of joins is as full as it was.
        assert isinstance((await ann.join("/room/1")).payload, Acknowledged)
        assert isinstance((await ann.join("/room/2")).payload, Acknowledged)
        assert isinstance((await ann.join("/room/3")).payload, Refused)


async def test_refused_posts_are_refusals_too() -> None:
    setup, _ = timed(Options(event_rate=0.001, event_burst=1, max_refusals=3))
    async with connect(setup.pond, "/socket") as ann:
        await ann.join(ROOM)
        assert ann.session.post(post_body(client_message(1))) is None
        for n in range(3):
            assert ann.closed is None
            assert isinstance(ann.session.post(post_body(client_message(n))), Refusal)
        assert await ann.wait_closed() == CloseCode.RATE_LIMITED
        gone = ann.session.post(post_body(client_message(9)))
        assert isinstance(gone, Refusal)
        assert gone.status == 404


LONG: Final = json.dumps(client_message(1, payload={"text": "x" * 1_000})).encode()
SINGLE: Final = json.dumps(client_message(1)).encode()


@pytest.mark.parametrize("rate", [None, 0.5, 50.0])
@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (b"nonsense", 400),
        (b"\xff", 400),
        (b"7", 400),
        (b"[]", 400),
        (b"[" + b",".join([SINGLE] * 65) + b"]", 400),
        (b"[" + SINGLE + b",{}]", 400),
        (json.dumps([client_message(1), client_message(2, event="e" * 21)]).encode(), 400),
        (json.dumps(client_message(1, payload={"n": 2**64})).encode(), 400),
        (LONG, 413),
        (b"[" + LONG + b"]", 413),
        (b"[" + SINGLE + b"," + LONG + b"]", 413),
        (b"x" * 1_001, 413),
        (Refusal(413, "INVALID_MESSAGE", "refused by the adapter"), 413),
        (Refusal(415, "INVALID_MESSAGE", "refused by the adapter"), 415),
        (Refusal(408, "INVALID_MESSAGE", "refused by the adapter"), 408),
    ],
    ids=lambda case: ascii(case)[:30],
)
async def test_every_refusal_for_size_or_form_counts_however_slowly_it_comes(
    wrong: bytes | Refusal, status: int, rate: float | None
) -> None:
    options = Options(
        event_rate=rate, max_refusals=4, max_message_bytes=1_000, max_name_chars=20
    )  # fmt: skip
    setup, clock = timed(options)
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.receive_event("CONNECTION")
        for _ in range(4):
            await settled()
            assert ann.closed is None
            clock.advance(2.4)
            refusal = ann.session.post(wrong)
            assert refusal is not None
            assert refusal.status == status
        assert await ann.wait_closed() == CloseCode.RATE_LIMITED


async def test_refusals_that_are_ten_seconds_apart_do_not_add_up() -> None:
    setup, clock = timed(Options(max_refusals=2))
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.receive_event("CONNECTION")
        for _ in range(20):
            refusal = ann.session.post(b"nonsense")
            assert refusal is not None
            clock.advance(10.0)
        await settled()
        assert ann.closed is None


@pytest.mark.parametrize("start", [b"", b" \n\t\r"])
async def test_a_body_that_is_no_array_is_measured_before_it_is_decoded(start: bytes) -> None:
    setup, _ = timed(Options(max_message_bytes=1_000))
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.receive_event("CONNECTION")
        for wrong, status in ((b"{", 413), (b"x", 413), (b"", 413), (b"[", 400)):
            refusal = ann.session.post(start + wrong.ljust(1_001))
            assert refusal is not None
            assert refusal.status == status


async def test_a_post_that_comes_too_fast_is_answered_so_whatever_it_holds() -> None:
    setup, clock = timed(Options(event_rate=1.0, event_burst=2))
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.join(ROOM)
        ann.drain()
        large = client_message(3, payload={"n": [2**64]})
        single, array = json.dumps(large).encode(), post_body(client_message(4), large)
        assert ann.session.post(post_body(client_message(1), client_message(2))) is None
        await settled()
        ann.drain()
        for data, refused in ((single, ["r3"]), (array, ["r4", "r3"])):
            refusal = ann.session.post(data)
            assert refusal is not None
            assert refusal.status == 429
            told = ann.drain()
            assert [(each.event, each.request_id) for each in told] == [
                ("RATE_LIMITED", name) for name in refused
            ]
        clock.advance(2.0)
        for data in (single, array):
            refusal = ann.session.post(data)
            assert refusal is not None
            assert refusal.status == 400
            (answer,) = ann.drain()
            assert (answer.event, answer.request_id) == ("INVALID_MESSAGE", "r3")


async def test_what_waits_is_counted_by_what_it_takes_in_an_array_as_well() -> None:
    async def endless(ctx: EventContext) -> None:
        await anyio.sleep_forever()

    options = Options(max_pending_bytes=1_900, handler_grace=0)
    setup = build(options=options)
    setup.lobby.on_message("endless", endless)
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.join(ROOM)
        heavy = client_message(1, event="endless", payload={"text": "x" * 1_600})
        light = [client_message(n, event="endless") for n in (2, 3)]
        assert ann.session.post(post_body(light[0], heavy)) is None
        await settled()
        refusal = ann.session.post(post_body(*light))
        assert refusal is not None
        assert refusal.status == 429
        assert ann.session.post(post_body(client_message(4, event="say"))) is None


async def test_lists_in_lists_of_an_array_count_as_the_memory_that_they_take() -> None:
    async def endless(ctx: EventContext) -> None:
        await anyio.sleep_forever()

    setup = build(options=Options(max_pending_bytes=100_000, handler_grace=0))
    setup.lobby.on_message("endless", endless)
    async with connect(setup.pond, "/socket", transport="sse") as ann:
        await ann.join(ROOM)
        nests: dict[str, object] = {
            "nests": [[[[[[[[]]]]]]]] * 1_500
        }  # 24 KB of text, some 1 MB of lists
        heavy = [client_message(n, event="endless", payload=nests) for n in (1, 2)]
        assert ann.session.post(post_body(*heavy)) is None
        await settled()
        refusal = ann.session.post(post_body(heavy[0]))
        assert refusal is not None
        assert refusal.status == 429


# --- connections ------------------------------------------------------------------------------


async def test_a_full_endpoint_refuses_with_no_capacity(caplog: pytest.LogCaptureFixture) -> None:
    setup = build(options=Options(max_connections=1))
    async with connect(setup.pond, "/socket") as ann:
        await ann.receive_event("CONNECTION")
        with pytest.raises(ConnectionRefused) as failure:
            async with connect(setup.pond, "/socket"):
                pass
        refusal = failure.value.refusal
        assert (refusal.status, refusal.error, refusal.retry_after) == (503, "NO_CAPACITY", 5)
        other = setup.pond.create_endpoint("/other", admit)
        async with connect(setup.pond, "/other"):
            await settled()
            assert await other.connection_count() == 1
    await settled()
    async with connect(setup.pond, "/socket") as bob:
        await bob.receive_event("CONNECTION")
    assert "is full" in caplog.text


async def test_those_that_are_decided_about_at_once_do_not_exceed_the_limit() -> None:
    latch = anyio.Event()

    async def slowly(ctx: ConnectionContext) -> None:
        await latch.wait()
        ctx.accept()

    setup = build(connect=slowly, options=Options(max_connections=2))
    ends: list[CloseCode] = []

    async def visit() -> None:
        async with connect(setup.pond, "/socket") as peer:
            with anyio.move_on_after(0.2):
                ends.append(await peer.wait_closed())

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(visit)
        await settled()
        latch.set()
        with anyio.fail_after(5):
            while len(ends) < 3:
                await anyio.lowlevel.checkpoint()
        assert await setup.endpoint.connection_count() == 2
        tasks.cancel_scope.cancel()
    assert ends == [CloseCode.NO_CAPACITY] * 3


async def test_connections_may_be_without_limit() -> None:
    setup = build(options=Options(max_connections=None))
    outcome = await setup.pond.connect(request())
    assert not isinstance(outcome, Refusal)


@pytest.mark.parametrize("limit", ["event_rate", "control_rate"])
def test_a_rate_at_which_nothing_ever_passes_is_refused(limit: str) -> None:
    with pytest.raises(UsageError, match=limit):
        Options(**{limit: 0.0})  # type: ignore[arg-type]
