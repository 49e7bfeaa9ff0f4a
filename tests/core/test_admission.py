"""Who may speak on an event stream, and which subprotocol is spoken."""

from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import (
    CloseCode,
    ConnectionContext,
    ConnectRequest,
    Endpoint,
    Options,
    PondSocket,
    UsageError,
)
from pondsocket.adapter import Refusal, Session
from pondsocket.testing import ConnectionRefused, connect
from pondsocket_common import Headers, QueryParams

from tests.core.members import settled
from tests.core.ponds import admit, find_session

STREAM = ConnectRequest("/socket", Headers([]), QueryParams([]), "127.0.0.1", "sse")


def asked_by(user: str | None, **changes: Any) -> ConnectRequest:
    query = QueryParams([] if user is None else [("user", user)])
    return replace(STREAM, query=query, **changes)


def by_query(request: ConnectRequest) -> str | None:
    return request.query.get("user")


async def by_query_later(request: ConnectRequest) -> str | None:
    await anyio.lowlevel.checkpoint()
    return request.query.get("user")


class ByQuery:
    """An object that can be called, as a class of an application may be."""

    async def __call__(self, request: ConnectRequest) -> str | None:
        return request.query.get("user")


@pytest.mark.parametrize("identity", [by_query, by_query_later, ByQuery()])
async def test_only_the_client_that_opened_a_stream_finds_it(identity: Any) -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=identity)
    async with connect(pond, "/socket?user=ann", transport="sse") as ann:
        connection_id = ann.session.connection_id
        assert ann.session.identity == "ann"
        assert await find_session(pond, connection_id, asked_by("ann")) is ann.session
        for other in (asked_by("bob"), asked_by(None)):
            assert await find_session(pond, connection_id, other) is None


async def test_none_is_an_identity_too() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=by_query)
    async with connect(pond, "/socket", transport="sse") as ann:
        connection_id = ann.session.connection_id
        assert await find_session(pond, connection_id, asked_by(None)) is ann.session
        assert await find_session(pond, connection_id, asked_by("bob")) is None


async def test_without_the_option_the_secret_alone_is_asked_for() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit)
    async with connect(pond, "/socket?user=ann", transport="sse") as ann:
        assert ann.session.identity is None
        found = await find_session(pond, ann.session.connection_id, asked_by("bob"))
        assert found is ann.session


async def test_a_stream_is_found_at_its_own_path_alone() -> None:
    pond = PondSocket()
    pond.create_endpoint("/t/:tenant", admit)
    pond.create_endpoint("/socket", admit)
    async with connect(pond, "/t/a", transport="sse") as ann:
        connection_id = ann.session.connection_id
        assert await find_session(pond, connection_id, asked_by(None, path="/t/a")) is ann.session
        for path in ("/t/b", "/socket", "/nowhere", "/t/a/"):
            assert await find_session(pond, connection_id, asked_by(None, path=path)) is None


async def test_no_identity_is_asked_for_a_stream_that_is_not_there() -> None:
    asked: list[str] = []

    def identity(request: ConnectRequest) -> str:
        asked.append(request.path)
        return ""

    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=identity)
    assert await find_session(pond, "no such id", asked_by("ann")) is None
    async with connect(pond, "/socket") as ann:
        assert await find_session(pond, ann.session.connection_id, asked_by("ann")) is None
    assert asked == []


async def test_the_public_id_finds_nothing() -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=by_query)
    async with connect(pond, "/socket?user=ann", transport="sse"):
        assert await find_session(pond, "ann", asked_by("ann")) is None


async def test_a_stream_that_ends_while_the_identity_is_looked_up_is_not_found() -> None:
    opened, looking = anyio.Event(), anyio.Event()
    wait = False

    async def identity(request: ConnectRequest) -> str:
        if wait:
            looking.set()
            await opened.wait()
        return "ann"

    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=identity)
    async with (
        connect(pond, "/socket?user=ann", transport="sse") as ann,
        anyio.create_task_group() as tasks,
    ):
        wait = True
        found: list[Session | Refusal | None] = []

        async def find() -> None:
            found.append(await find_session(pond, ann.session.connection_id, asked_by("ann")))

        tasks.start_soon(find)
        await looking.wait()
        ann.session.close(CloseCode.DISCONNECTED)
        await settled()
        opened.set()
        await settled()
        assert found == [None]


async def refusal_of_stream(pond: PondSocket) -> Refusal:
    with pytest.raises(ConnectionRefused) as caught:
        async with connect(pond, "/socket", transport="sse"):
            pass
    return caught.value.refusal


async def test_an_identity_that_fails_is_answered_500_and_its_text_stays_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def identity(request: ConnectRequest) -> str:
        raise ValueError("the application's secret")

    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=identity)
    refusal = await refusal_of_stream(pond)
    assert refusal.status == 500
    assert "secret" not in refusal.message
    assert "the application's secret" in caplog.text
    async with connect(pond, "/socket"):  # no stream, so no identity is asked
        pass


async def test_an_identity_that_fails_later_is_an_answer_too() -> None:
    calls = 0

    async def identity(request: ConnectRequest) -> str:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise ValueError("not again")
        return "ann"

    pond = PondSocket()
    pond.create_endpoint("/socket", admit, identity=identity)
    async with connect(pond, "/socket", transport="sse") as ann:
        found = await find_session(pond, ann.session.connection_id, asked_by("ann"))
        assert isinstance(found, Refusal)
        assert found.status == 500
        assert ann.session.is_open


async def test_an_identity_that_takes_too_long_is_answered_504() -> None:
    async def identity(request: ConnectRequest) -> None:
        await anyio.sleep_forever()

    pond = PondSocket(options=Options(connect_timeout=0.01))
    pond.create_endpoint("/socket", admit, identity=identity)
    refusal = await refusal_of_stream(pond)
    assert refusal.status == 504


async def test_a_client_that_is_declined_is_not_asked_for_its_identity() -> None:
    def identity(request: ConnectRequest) -> str:
        raise AssertionError("asked")

    def decline(ctx: ConnectionContext) -> None:
        ctx.decline(403, "No.")

    pond = PondSocket()
    pond.create_endpoint("/socket", decline, identity=identity)
    refusal = await refusal_of_stream(pond)
    assert refusal.status == 403


# --- subprotocols -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoken", "offered", "chosen"),
    [
        ((), (), None),
        ((), ("a", "b"), None),
        (("a", "b"), (), None),
        (("a", "b"), ("b", "a"), "b"),
        (("a",), ("c", "a"), "a"),
        (["a"], ("A",), None),
        ({"a"}, ("a", "a"), "a"),
    ],
)
async def test_the_first_that_is_offered_and_spoken_is_chosen(
    spoken: Any, offered: tuple[str, ...], chosen: str | None
) -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit, subprotocols=spoken)
    session = await pond.connect(replace(STREAM, transport="websocket", subprotocols=offered))
    assert isinstance(session, Session)
    assert session.subprotocol == chosen


@pytest.mark.parametrize("spoken", ["chat", b"chat", None, 5, [5], ["chat", ""], {"chat": 1}])
def test_what_can_be_no_subprotocols_is_refused_at_once(spoken: Any) -> None:
    with pytest.raises(UsageError, match=r"'/socket': subprotocols is a tuple of names"):
        PondSocket().create_endpoint("/socket", admit, subprotocols=spoken)


@pytest.mark.parametrize("decorated", [True, False])
def test_an_endpoint_has_what_it_was_given(decorated: bool) -> None:
    pond = PondSocket(options=Options(allowed_origins=("https://a.example",)))
    keywords: dict[str, Any] = {
        "allowed_origins": ["https://b.example"],
        "identity": by_query,
        "subprotocols": ["v1"],
    }
    made: Endpoint = (
        pond.endpoint("/socket", **keywords)(admit)
        if decorated
        else pond.create_endpoint("/socket", admit, **keywords)
    )
    assert made.allowed_origins == ("https://b.example",)
    assert made.formats.subprotocols == ("v1",)
    assert pond.create_endpoint("/other", admit).allowed_origins == ("https://a.example",)
    assert pond.create_endpoint("/none", admit, allowed_origins=()).allowed_origins == ()
