"""The short programs of `examples/events/`, asked over both transports."""

import importlib
import sys
from typing import Any, TypeAlias

import pytest
from pondsocket_asgi.testing import CallFailed, ConnectionRefused, PondClient

Connect: TypeAlias = Any


@pytest.fixture
def pond_app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("lobby", request.param):  # each test has its own
        monkeypatch.delitem(sys.modules, f"examples.events.{name}", raising=False)
    return importlib.import_module(f"examples.events.{request.param}").app


@pytest.fixture(params=["connect", "connect_sse"])
def connect(request: pytest.FixtureRequest, pond_client: PondClient) -> Connect:
    return getattr(pond_client, request.param)


def program(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pond_app", [name], indirect=True)


@program("handshake")
async def test_a_stranger_is_refused_by_http(connect: Connect) -> None:
    for query in ("", "?token=guess"):
        with pytest.raises(ConnectionRefused, match="401 Wrong token"):
            await connect(f"/socket{query}").__aenter__()


@program("handshake")
async def test_a_message_is_checked_and_answered_by_its_models(connect: Connect) -> None:
    async with connect("/socket?token=secret") as ann:
        assert await ann.call("shout", {"text": "hi", "other": 1}) == {"text": "HI"}
        await ann.assert_error("shout", {"text": 7}, code=422, loc=("text",))
        await ann.assert_error("whisper", {"text": "hi"}, code=404)


@program("lifecycle")
async def test_a_connection_is_sent_to_by_its_id_and_others_hear_of_its_end(
    connect: Connect,
) -> None:
    async with connect("/socket") as bob:
        async with connect("/socket") as ann:
            await ann.send("divide", {"a": 7, "b": 2})
            await ann.assert_push("quotient", {"id": ann.user_id, "value": 3.5})
            await bob.assert_no_push()
        await bob.assert_push("disconnected", {"id": ann.user_id})


@program("lifecycle")
async def test_an_error_closes_the_connection_that_has_caused_it(
    connect: Connect, pond_client: PondClient
) -> None:
    async with connect("/socket") as ann, connect("/socket") as bob:
        with pond_client.expect_errors(), pytest.raises(CallFailed, match="500") as failed:
            await ann.call("divide", {"a": 1, "b": 0})
        assert "ZeroDivisionError" not in str(failed.value)
        await ann.assert_closed(4403, reason="divide failed")
        await bob.assert_push("disconnected", {"id": ann.user_id})


@program("responses")
async def test_a_signature_is_the_message_and_an_annotation_the_response(connect: Connect) -> None:
    async with connect("/socket") as ann:
        found = [{"title": f"task {number}", "is_done": False} for number in range(3)]
        for task in found:
            assert await ann.call("add", {"title": task["title"]}) == task
        assert await ann.call("find", {"word": "task"}) == {"result": found}
        assert await ann.call("find", {"word": "task", "limit": 1}) == {"result": found[:1]}
        failed = await ann.assert_error("find", {"limit": "all"}, code=422)
        assert [each.loc for each in failed.details] == [("word",), ("limit",)]


@program("actions")
async def test_an_action_has_a_result_and_is_published_to_those_who_joined(
    connect: Connect,
) -> None:
    async with connect("/socket") as ann, connect("/socket") as bob:
        assert await ann.call("add", {"note": "one"}) == {"result": 1}
        notes = await bob.join("/notes")
        assert notes.response == {"notes": ["one"]}
        assert await ann.call("add", {"note": "two"}) == {"result": 2}
        await notes.assert_broadcast("added", {"note": "two"})
        assert [each.event for each in ann.unread] == []
