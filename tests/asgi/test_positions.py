"""An event stream that goes on where another ended, through the driver."""

import contextlib
import logging
from typing import Any, Final, NamedTuple

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ConnectionContext, History, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, SSESession
from pondsocket_common import SSEDecoder

KEY: Final = "a key that all the workers share"


class PondSetup(NamedTuple):
    pond: PondSocket
    joins: list[tuple[str, dict[str, Any]]]

    def driver(self, **options: Any) -> ASGITestDriver:
        return ASGITestDriver(PondASGIApp(self.pond, **{"cursor_key": KEY, **options}))

    async def say(self, name: str, *numbers: int) -> None:
        for number in numbers:
            await self.pond.channel("/socket", name).broadcast("said", {"n": number})


def build(options: Options | None = None, **history: int) -> PondSetup:
    """Rooms with a history, halls without, and a list of the joins that were asked for."""
    pond = PondSocket(options=options)
    joins: list[tuple[str, dict[str, Any]]] = []

    @pond.endpoint("/socket")
    async def socket(ctx: ConnectionContext) -> None:
        if ctx.query.get("user") == "refused":
            ctx.decline(401, "No.")
        else:
            ctx.accept(user_id=ctx.query.get("user"))

    async def join(ctx: JoinContext) -> None:
        joins.append((ctx.message.channel_name, dict(ctx.join_params)))
        await anyio.lowlevel.checkpoint()
        if ctx.join_params.get("password") == "wrong" or ctx.user.id == "banned":
            await ctx.decline(403, "No.")
        else:
            await ctx.accept()

    socket.create_channel("/room/:id", join, history=History(**history))
    socket.create_channel("/hall/:id", join)
    return PondSetup(pond, joins)


async def connected(
    driver: ASGITestDriver, last_event_id: str = "", user: str = "ann", query: str = ""
) -> tuple[SSESession, dict[str, Any]]:
    headers = [("last-event-id", last_event_id)] if last_event_id else []
    stream = await driver.connect_sse(
        "/socket", query_string=f"user={user}{query}", headers=headers
    )
    return stream, (await stream.receive_event())["payload"]


async def join(
    stream: SSESession, name: str, payload: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    message = {
        "action": "JOIN_CHANNEL",
        "event": "join",
        "channelName": name,
        "requestId": "r1",
        "payload": payload or {},
        **more,
    }
    await stream.send_json(message)
    return await stream.receive_event()


async def numbers(stream: SSESession, count: int) -> list[int]:
    return [(await stream.receive_event())["payload"]["n"] for _ in range(count)]


async def left_at(stream: SSESession) -> str:
    """Close a stream of which every event is read; what the browser would bring back."""
    await stream.disconnect()
    return stream.last_event_id


async def cursor_of(driver: ASGITestDriver) -> str:
    """Return the cursor of a stream that has joined `/room/1` and is closed."""
    stream, _ = await connected(driver)
    await join(stream, "/room/1")
    return await left_at(stream)


async def test_a_stream_that_comes_back_is_joined_again_and_gets_what_it_missed() -> None:
    setup = build()
    driver = setup.driver()
    stream, payload = await connected(driver)
    assert payload["supports"] == ["history"]
    assert "resumed" not in payload
    await join(stream, "/room/1", {"name": "Ann"})
    await setup.say("/room/1", 1, 2)
    assert await numbers(stream, 2) == [1, 2]
    cursor = await left_at(stream)
    await setup.say("/room/1", 3, 4)

    stream, payload = await connected(driver, cursor)
    assert (payload["resumed"], payload["notResumed"]) == (["/room/1"], [])
    answer = await stream.receive_event()
    assert (answer["event"], answer["channelName"]) == ("ACKNOWLEDGE", "/room/1")
    assert (answer["payload"]["recovered"], answer["payload"]["offset"]) == (True, 2)
    assert answer["requestId"] != "r1"
    await setup.say("/room/1", 5)
    assert await numbers(stream, 3) == [3, 4, 5]
    assert setup.joins == [("/room/1", {"name": "Ann"})] * 2
    await stream.disconnect()


async def test_the_cursor_may_come_in_the_query() -> None:
    setup = build()
    cursor = await cursor_of(setup.driver())
    stream, payload = await connected(setup.driver(), query=f"&lastEventId={cursor}")
    assert payload["resumed"] == ["/room/1"]
    await stream.disconnect()


async def test_the_id_stands_at_the_end_of_the_last_block_that_was_written_at_once() -> None:
    setup = build()
    stream, _ = await connected(setup.driver())
    await join(stream, "/room/1")
    await setup.say("/room/1", 1, 2)
    chunk = await stream.receive_frame_bytes()
    blocks = [block.split(b"\n") for block in chunk.split(b"\n\n")[:-1]]
    assert [[line.partition(b":")[0] for line in block] for block in blocks] == [
        [b"event", b"data"],
        [b"event", b"data", b"id"],
    ]
    cursor = blocks[-1][-1].removeprefix(b"id: ").decode()
    before = stream.last_event_id
    assert before != cursor
    decoder = SSEDecoder()
    assert [event.id for event in decoder.feed(chunk)] == ["", cursor]
    await stream.disconnect()


async def test_a_stream_without_a_history_carries_no_ids() -> None:
    setup = build()
    stream, _ = await connected(setup.driver())
    await join(stream, "/hall/1")
    await setup.say("/hall/1", 1)
    assert await numbers(stream, 1) == [1]
    assert await left_at(stream) == ""


async def test_presence_diffs_are_asked_for_again() -> None:
    setup = build()
    driver = setup.driver()
    stream, _ = await connected(driver)
    answer = await join(stream, "/room/1", presence="diff")
    assert "presence" in answer["payload"]
    cursor = await left_at(stream)
    stream, _ = await connected(driver, cursor)
    assert "presence" in (await stream.receive_event())["payload"]
    await stream.disconnect()


@pytest.mark.parametrize("other", ["bogus", "A" * 60, "A" * 5_000])
async def test_what_is_no_cursor_is_a_fresh_start_and_said(other: str) -> None:
    stream, payload = await connected(build().driver(), other)
    assert (payload["resumed"], payload["notResumed"]) == ([], [])
    await stream.disconnect()


async def test_a_cursor_of_another_key_is_a_fresh_start_and_said_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pondsocket.asgi.transport")
    setup = build()
    cursor = await cursor_of(setup.driver(cursor_key=()))
    stream, payload = await connected(setup.driver(), cursor)
    assert (payload["resumed"], payload["notResumed"]) == ([], [])
    assert "signed with a key that is not known here" in caplog.text
    assert cursor not in caplog.text
    await stream.disconnect()


async def test_a_new_key_still_reads_cursors_of_the_old_one() -> None:
    setup = build()
    cursor = await cursor_of(setup.driver())
    stream, payload = await connected(
        setup.driver(cursor_key=["the new key of them all", KEY]), cursor
    )
    assert payload["resumed"] == ["/room/1"]
    await stream.disconnect()


async def test_the_cursor_grants_nothing() -> None:
    setup = build()
    driver = setup.driver()
    stream, _ = await connected(driver)
    await join(stream, "/room/1")
    await join(stream, "/room/2")
    cursor = await left_at(stream)
    await setup.say("/room/1", 1)

    refused = await driver.connect_sse(
        "/socket", query_string="user=refused", headers=[("last-event-id", cursor)]
    )
    assert refused.status == 401
    stream, payload = await connected(driver, cursor, user="banned")
    assert payload["resumed"] == ["/room/1", "/room/2"]  # asked for, and both refused
    answers = [await stream.receive_event() for _ in range(2)]
    assert [answer["event"] for answer in answers] == ["UNAUTHORIZED"] * 2
    assert await left_at(stream) == ""


async def test_a_channel_that_was_left_or_refused_is_not_joined_again() -> None:
    setup = build()
    driver = setup.driver()
    stream, _ = await connected(driver)
    for name in ("/room/1", "/room/2", "/room/3"):
        await join(stream, name)
    await stream.send_client_message(action="LEAVE_CHANNEL", channel_name="/room/1", event="leave")
    assert (await stream.receive_event())["event"] == "EXIT_ACKNOWLEDGE"
    await setup.pond.channel("/socket", "/room/2").evict_user("ann")
    assert (await stream.receive_event())["event"] == "EVICTED"
    assert (await join(stream, "/room/4", {"password": "wrong"}))["event"] == "UNAUTHORIZED"
    cursor = await left_at(stream)
    stream, payload = await connected(driver, cursor)
    assert (payload["resumed"], payload["notResumed"]) == (["/room/3"], [])
    await stream.disconnect()


async def test_what_cannot_be_joined_any_more_is_listed() -> None:
    setup = build()
    stream, _ = await connected(setup.driver())
    for name in ("/room/1", "/room/2", "/room/3"):
        await join(stream, name)
    cursor = await left_at(stream)
    smaller = build(Options(max_channels=2))
    stream, payload = await connected(smaller.driver(), cursor)
    assert (payload["resumed"], payload["notResumed"]) == (["/room/1", "/room/2"], ["/room/3"])
    answers = [(await stream.receive_event())["payload"]["recovered"] for _ in range(2)]
    assert answers == [False, False]  # another process, with histories of its own
    await stream.disconnect()


async def test_a_stream_that_is_cut_while_it_comes_back_loses_nothing() -> None:
    setup = build()
    driver = setup.driver()
    stream, _ = await connected(driver)
    for name in ("/room/1", "/room/2"):
        await join(stream, name)
    first = await left_at(stream)
    await setup.say("/room/1", 1)
    await setup.say("/room/2", 2)
    cut, _ = await connected(driver, first)
    got: list[dict[str, Any]] = []
    with contextlib.suppress(TimeoutError):
        while True:
            got.append(await cut.receive_event(wait=0))
    await cut.disconnect()
    stream, payload = await connected(driver, cut.last_event_id or first)
    assert sorted(payload["resumed"]) == ["/room/1", "/room/2"]
    with contextlib.suppress(TimeoutError):
        while True:
            got.append(await stream.receive_event(wait=0.1))
    assert sorted(each["payload"]["n"] for each in got if each["event"] == "said") == [1, 2]
    await stream.disconnect()


async def test_a_channel_joined_again_with_other_parameters_is_resumed_with_those() -> None:
    setup = build()
    driver = setup.driver()
    stream, _ = await connected(driver)
    await join(stream, "/room/1", {"name": "Ann"})
    await join(stream, "/room/1", {"name": "Änne"})
    cursor = await left_at(stream)
    stream, _ = await connected(driver, cursor)
    await stream.receive_event()
    assert setup.joins[-1] == ("/room/1", {"name": "Änne"})
    await stream.disconnect()


async def test_a_long_history_reaches_a_stream_with_a_short_outbox() -> None:
    setup = build(Options(outbox_frames=8), size=300)
    driver = setup.driver()
    stream, _ = await connected(driver)
    await join(stream, "/room/1")
    cursor = await left_at(stream)
    await setup.say("/room/1", *range(300))
    stream, _ = await connected(driver, cursor)
    assert (await stream.receive_event())["payload"]["recovered"] is True
    assert await numbers(stream, 300) == [*range(300)]
    await setup.say("/room/1", 300)
    assert await numbers(stream, 1) == [300]
    await stream.disconnect()


@pytest.mark.parametrize("keys", [(KEY, KEY), (KEY, "a key of another app's own")])
async def test_streams_of_a_room_get_cursors_for_their_own_path_and_key(
    keys: tuple[str, str],
) -> None:
    pond = PondSocket()

    @pond.endpoint("/of/:tenant/socket", shared_channels=True)
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept()

    @socket.channel("/room/:id", history=History())
    async def room(ctx: JoinContext) -> None:
        await ctx.accept()

    drivers = [ASGITestDriver(PondASGIApp(pond, cursor_key=key)) for key in keys]
    paths = ["/of/ann/socket", "/of/bob/socket" if keys[0] == keys[1] else "/of/ann/socket"]
    places = [*zip(drivers, paths, strict=True)]
    streams = [await driver.connect_sse(path) for driver, path in places]
    for stream in streams:
        await stream.receive_event()
        await join(stream, "/room/1")
    channel = await room.get_channel("/room/1")
    assert channel is not None
    for number in range(2):  # the second is written once for all who stand at the same place
        await channel.broadcast("said", {"n": number})
        assert [await numbers(stream, 1) for stream in streams] == [[number], [number]]
    for stream, (driver, path) in zip(streams, places, strict=True):
        headers = [("last-event-id", await left_at(stream))]
        again = await driver.connect_sse(path, headers=headers)
        assert (await again.receive_event())["payload"]["resumed"] == ["/room/1"]
        assert (await again.receive_event())["payload"]["offset"] == 2
        await again.disconnect()


@pytest.mark.parametrize("cursor_of", ["/of/ann/socket", "/of/bob/socket"])
async def test_a_cursor_of_one_tenant_resumes_nothing_at_another(
    cursor_of: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pond = PondSocket()

    @pond.endpoint("/of/:tenant/socket")
    async def socket(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann")  # also where a user belongs to both

    @socket.channel("/room/:id", history=History())
    async def room(ctx: JoinContext) -> None:
        await ctx.accept()

    driver = ASGITestDriver(PondASGIApp(pond, cursor_key=KEY))
    stream = await driver.connect_sse(cursor_of)
    await stream.receive_event()
    await join(stream, "/room/1")
    cursor = await left_at(stream)
    for first, path in ((10, "/of/ann/socket"), (20, "/of/bob/socket")):
        for number in range(first, first + 2):
            await pond.channel(path, "/room/1").broadcast("said", {"n": number})
    again = await driver.connect_sse("/of/ann/socket", headers=[("last-event-id", cursor)])
    connected = (await again.receive_event())["payload"]
    if cursor_of == "/of/ann/socket":
        assert connected["resumed"] == ["/room/1"]
        assert (await again.receive_event())["payload"]["recovered"] is True
        assert await numbers(again, 2) == [10, 11]
    else:
        assert connected["resumed"] == []
        assert "it is another path's" in caplog.text
    await again.disconnect()


async def test_the_mounts_of_one_pond_share_its_channels_and_cursors() -> None:
    setup = build()
    app = PondASGIApp(setup.pond, cursor_key=KEY)
    first, second = (ASGITestDriver(app, root_path=mount) for mount in ("/acme", "/rival"))
    stream = await first.connect_sse("/socket", query_string="user=ann")
    await stream.receive_event()
    await join(stream, "/room/1")
    cursor = await left_at(stream)
    await setup.say("/room/1", 1)
    again = await second.connect_sse(
        "/socket", query_string="user=ann", headers=[("last-event-id", cursor)]
    )
    assert (await again.receive_event())["payload"]["resumed"] == ["/room/1"]
    assert (await again.receive_event())["payload"]["recovered"] is True
    assert await numbers(again, 1) == [1]
    await again.disconnect()
