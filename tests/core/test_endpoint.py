"""Who may connect, and where messages go that are no member's."""

import logging

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    CloseCode,
    ConnectionContext,
    ErrorTypes,
    EventContext,
    Handler,
    JoinContext,
    Middleware,
    Next,
    Options,
    PondError,
    PondSocket,
    ServerActions,
    UsageError,
)
from pondsocket.adapter import Refusal
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Fault, NotFound

from tests.core.members import envelope_of, events, member, members, say, settled
from tests.core.ponds import (
    ROOM,
    SECRET,
    accept_join,
    admit,
    assert_nothing_left,
    build,
    error_records,
    request,
)


async def refusal_of(handler: Handler, **limits: float) -> Refusal:
    setup = build(connect=handler, options=Options(**limits))  # type: ignore[arg-type]
    with pytest.raises(ConnectionRefused) as failure:
        async with connect(setup.pond, "/socket"):
            pass
    await assert_nothing_left(setup)
    return failure.value.refusal


# --- admission --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, 400),
        (401, 401),
        (429, 429),
        (599, 599),
        (4400, 400),
        (4401, 401),
        (4429, 429),
        (4599, 599),
        (0, 403),
        (200, 403),
        (399, 403),
        (600, 403),
        (1008, 403),
        (4000, 403),
        (4399, 403),
        (4600, 403),
        (-1, 403),
    ],
)
async def test_decline_codes_become_http_statuses(code: int, status: int) -> None:
    async def decline(ctx: ConnectionContext) -> None:
        ctx.decline(code, "Not today")

    refusal = await refusal_of(decline)
    assert refusal == Refusal(status, "UNAUTHORIZED_CONNECTION", "Not today")
    assert refusal.body() == (
        b'{"error":"UNAUTHORIZED_CONNECTION","code":%d,"message":"Not today"}' % status
    )


async def test_silence_is_401(caplog: pytest.LogCaptureFixture) -> None:
    async def silent(ctx: ConnectionContext) -> None:
        ctx.set_assign("seen", True)

    refusal = await refusal_of(silent)
    assert (refusal.status, refusal.error) == (401, ErrorTypes.UNAUTHORIZED_CONNECTION)
    assert "neither accepted nor declined" in caplog.text


@pytest.mark.parametrize("first", ["nothing", "accept", "wait"])
async def test_a_raising_handler_is_500_and_its_text_stays_here(
    first: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(ctx: ConnectionContext) -> None:
        if first == "accept":
            ctx.accept()
        elif first == "wait":
            await anyio.lowlevel.checkpoint()
        raise LookupError(SECRET)

    refusal = await refusal_of(fail)
    assert refusal.status == 500
    assert SECRET not in refusal.message
    (record,) = error_records(caplog)
    assert record.exc_info is not None


async def test_a_handler_that_raises_after_declining_has_declined() -> None:
    async def fail(ctx: ConnectionContext) -> None:
        ctx.decline(402, "pay")
        raise LookupError(SECRET)

    assert (await refusal_of(fail)).status == 402


async def test_a_pond_error_is_the_refusal() -> None:
    async def fail(ctx: ConnectionContext) -> None:
        raise PondError("Too early", 425)

    refusal = await refusal_of(fail)
    assert (refusal.status, refusal.message) == (425, "Too early")


@pytest.mark.parametrize("accepts", [True, False])
async def test_a_handler_over_its_time_limit_is_504(accepts: bool) -> None:
    async def slow(ctx: ConnectionContext) -> None:
        if accepts:
            ctx.accept()
        await anyio.sleep_forever()

    assert (await refusal_of(slow, connect_timeout=0.02)).status == 504


async def test_no_time_limit_may_be_set() -> None:
    async def slow(ctx: ConnectionContext) -> None:
        await anyio.lowlevel.checkpoint()
        ctx.accept()

    setup = build(connect=slow, options=Options(connect_timeout=None))
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.receive()).event == "CONNECTION"


async def test_a_second_decision_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def twice(ctx: ConnectionContext) -> None:
        ctx.accept(user_id="ann", role="member")
        ctx.accept(user_id="eve", role="admin")
        ctx.decline(403, "no")

    setup = build(connect=twice)
    async with connect(setup.pond, "/socket") as ann:
        assert ann.session.user_id == "ann"
        assert ann.session.assigns == {"user_id": "ann", "role": "member"}
    assert caplog.text.count("decided twice") == 2


@pytest.mark.parametrize(("given", "user_id"), [("ann", "ann"), (7, "7"), (0, "0"), (None, None)])
async def test_the_user_id_is_a_text_or_a_number_made_one(
    given: object, user_id: str | None
) -> None:
    async def handler(ctx: ConnectionContext) -> None:
        ctx.accept(user_id=given)

    async with connect(build(connect=handler).pond, "/socket") as ann:
        if user_id is None:
            assert len(ann.session.user_id) == 32
        else:
            assert ann.session.user_id == user_id
        assert ann.session.assigns == {"user_id": given}


@pytest.mark.parametrize("given", ["", True, 1.5, ["ann"], "a\ud800", "a\nb", "x" * 256])
async def test_what_cannot_be_a_user_id_is_refused(given: object) -> None:
    async def handler(ctx: ConnectionContext) -> None:
        ctx.accept(user_id=given)

    assert (await refusal_of(handler)).status == 500


async def test_a_connection_context_shows_the_request() -> None:
    seen: list[object] = []

    async def look(ctx: ConnectionContext) -> None:
        seen.extend([ctx.path, ctx.params, ctx.address, ctx.port, ctx.cookies, ctx.user_id])
        seen.extend([ctx.headers["X-Thing"], ctx.query["a"], ctx.query.getall("a")])
        ctx.set_assign("one", 1)
        ctx.set_assigns(two=2)
        seen.extend([ctx.get_assign("one"), ctx.get_assign("two"), ctx.get_assign("three")])
        ctx.accept()
        seen.append(dict(ctx.assigns))

    pond = PondSocket()
    pond.create_endpoint("/t/:tenant/socket", look)
    async with connect(
        pond,
        "/t/acme/socket?a=1&a=2",
        headers=[("x-thing", "yes"), ("cookie", "sid=7")],
        address="1.2.3.4",
        port=5,
    ) as ann:
        assert ann.session.path == "/t/acme/socket"
        user_id = ann.session.user_id

    assert seen == [
        *("/t/acme/socket", {"tenant": "acme"}, "1.2.3.4", 5, {"sid": "7"}, user_id),
        *("yes", "1", ["1", "2"]),
        *(1, 2, None),
        {"one": 1, "two": 2},
    ]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda ctx: ctx.reply("ACKNOWLEDGE", {}),
        lambda ctx: ctx.reply("hello", "text"),
        lambda ctx: ctx.reply("hello", {"bad": object()}),
        lambda ctx: ctx.decline("Invalid token"),
    ],
)
async def test_a_call_that_cannot_work_fails_in_the_handler(
    attempt: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(ctx: ConnectionContext) -> None:
        attempt(ctx)  # type: ignore[operator]
        ctx.accept()

    assert (await refusal_of(handler)).status == 500
    assert "Error" in caplog.text


async def test_middleware_around_the_connection_handler() -> None:
    order: list[str] = []

    def step(name: str) -> object:
        async def middleware(ctx: ConnectionContext, next: Next) -> None:  # noqa: A002
            order.append(name)
            if "stop" not in ctx.query or ctx.query["stop"] != name:
                await next()
            else:
                ctx.decline(418, f"stopped by {name}")

        return middleware

    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit, step("1"), step("2"))  # type: ignore[arg-type]
    endpoint.use(step("3"), step("4"))  # type: ignore[arg-type]
    async with connect(pond, "/socket"):
        assert order == ["1", "2", "3", "4"]
    with pytest.raises(ConnectionRefused, match="stopped by 3"):
        async with connect(pond, "/socket?stop=3"):
            pass
    assert order[4:] == ["1", "2", "3"]


async def test_middleware_alone_decides_where_there_is_no_handler() -> None:
    async def with_token(ctx: ConnectionContext, next: Next) -> None:  # noqa: A002
        await (next() if ctx.query.get("token") == "secret" else ctx.decline(401, "wrong token"))

    async def members_only(ctx: JoinContext, next: Next) -> None:  # noqa: A002
        await (next() if "ticket" in ctx.join_params else ctx.decline(403, "no ticket"))

    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", middlewares=[with_token])
    endpoint.create_channel("/room/:id", accept_join, middlewares=[members_only])
    with pytest.raises(ConnectionRefused, match="wrong token") as refused:
        async with connect(pond, "/socket?token=guess"):
            pass
    assert refused.value.code == 401
    async with connect(pond, "/socket?token=secret") as ann:
        assert (await ann.join("/room/1")).event == "UNAUTHORIZED"
        assert (await ann.join("/room/1", {"ticket": "a"})).event == "ACKNOWLEDGE"


async def test_middleware_that_is_listed_goes_around_that_which_follows_the_handler() -> None:
    order: list[str] = []

    def step(name: str) -> Middleware[object]:
        async def middleware(ctx: object, next: Next) -> object:  # noqa: A002
            order.append(name)
            return await next()

        return middleware

    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit, step("2"), middlewares=[step("1")])
    endpoint.create_channel("/room/:id", accept_join, step("4"), middlewares=[step("3")])
    async with connect(pond, "/socket") as ann:
        await ann.join("/room/1")
    assert order == ["1", "2", "3", "4"]


async def test_middleware_that_fails_to_register_is_not_kept() -> None:
    setup = build()
    for _ in range(2):
        with pytest.raises(Exception, match="write `async def"):
            setup.endpoint.use(lambda ctx, next: None)  # type: ignore[arg-type]  # noqa: A006
    setup.endpoint.use(pass_on)
    async with connect(setup.pond, "/socket") as ann:
        assert (await ann.receive()).event == "CONNECTION"


async def pass_on(ctx: ConnectionContext, next: Next) -> None:  # noqa: A002
    await next()


# --- several endpoints ------------------------------------------------------------------------


async def test_channels_belong_to_the_endpoint_and_its_paths_may_share_them() -> None:
    pond = PondSocket()
    tenants = pond.create_endpoint("/t/:tenant", admit, shared_channels=True)
    other = pond.create_endpoint("/other", admit)
    lobbies = [endpoint.create_channel("/room/:id", accept_join) for endpoint in (tenants, other)]
    async with (
        connect(pond, "/t/a") as one,
        connect(pond, "/t/b") as two,
        connect(pond, "/other") as three,
    ):
        for peer in (one, two, three):
            await peer.join(ROOM)
            peer.drain()
        channel = await lobbies[0].get_channel(ROOM)
        assert channel is not None
        await channel.broadcast("news", {})
        await settled()
        assert events(one) == events(two) == ["news"]
        assert not three.unread


async def test_the_first_registered_channel_pattern_wins() -> None:
    setup = build()
    setup.endpoint.create_channel("/:top/vip", accept_join)
    star = setup.endpoint.create_channel("*", accept_join)
    async with connect(setup.pond, "/socket") as ann:
        await ann.join("/room/vip")
        await ann.join("/files/a/b")

        assert [c.name for c in await setup.lobby.list_channels()] == ["/room/vip"]
        assert [c.name for c in await star.list_channels()] == ["/files/a/b"]


# --- connections ------------------------------------------------------------------------------


async def test_connections_are_counted_and_closed_by_user() -> None:
    setup = build()
    async with members(setup, "ann", "bob", "bob") as (ann, tab, tab2):
        assert await setup.endpoint.connection_count() == 3
        await setup.endpoint.close_connection("bob")
        assert await setup.endpoint.connection_count() == 1
        await setup.endpoint.close_connection("zoe")
        for peer in (tab, tab2):
            assert await peer.wait_closed() is CloseCode.DISCONNECTED
            assert events(peer) == ["GOODBYE"]
        assert ann.closed is None


# --- events that are no member's --------------------------------------------------------------


async def test_an_event_by_a_non_member_is_403() -> None:
    setup = build()
    async with connect(setup.pond, "/socket") as ann, member(setup, "bob") as bob:
        await ann.receive()
        request_id = say(ann, "let me in")
        answer = await ann.receive()
        await settled()
        assert not bob.unread

    assert envelope_of(answer) == (ServerActions.ERROR, "UNAUTHORIZED_BROADCAST", ROOM, request_id)
    assert isinstance(answer.payload, Fault)
    assert (answer.payload.error, answer.payload.code) == (ErrorTypes.UNAUTHORIZED_BROADCAST, 403)


async def test_an_event_to_a_channel_without_a_lobby_is_not_found() -> None:
    async with connect(build().pond, "/socket") as ann:
        await ann.receive()
        request_id = say(ann, "", "/nowhere")
        answer = await ann.receive()

    assert (answer.action, answer.event, answer.request_id) == (
        ServerActions.SYSTEM,
        "NOT_FOUND",
        request_id,
    )
    assert isinstance(answer.payload, NotFound)
    assert answer.payload.channel == "/nowhere"


async def test_an_event_of_the_endpoint_has_no_handler_yet() -> None:
    async with connect(build().pond, "/socket") as ann:
        await ann.receive()
        request_id = say(ann, "", "GATEWAY", event="add")
        answer = await ann.receive()

    assert (answer.event, answer.channel_name, answer.request_id) == (
        "HANDLER_NOT_FOUND",
        "GATEWAY",
        request_id,
    )


async def test_a_channel_of_the_same_name_under_another_event_keeps_its_members() -> None:
    async def nothing(ctx: EventContext) -> None: ...

    setup = build()
    setup.lobby.on_message("nothing", nothing)
    async with member(setup, "ann") as ann:
        say(ann, "", event="nothing")
        await settled()
        assert not ann.unread  # no reply is made up


async def test_connect_gives_a_refusal_and_never_raises() -> None:
    async def broken(ctx: ConnectionContext) -> None:
        ctx.headers["absent"]

    outcome = await build(connect=broken).pond.connect(request())
    assert isinstance(outcome, Refusal)
    assert outcome.status == 500


async def test_an_endpoint_without_a_handler_admits_every_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket")
    assert endpoint.path == "/socket"
    assert "Endpoint '/socket' has no handler: it admits every client." in caplog.text
    async with connect(pond, "/socket") as ann, connect(pond, "/socket") as bob:
        assert ann.session.user_id != bob.session.user_id
    with pytest.raises(UsageError, match="a function"):
        pond.create_endpoint("/none", None)  # type: ignore[arg-type]
