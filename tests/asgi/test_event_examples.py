"""The short programs of `examples/events/`, asked over both transports."""

import runpy
import sys
from typing import Any

import pytest
from pondsocket_asgi.testing import PondClient

pytestmark = pytest.mark.parametrize("pond_transport", ["websocket", "sse"])


@pytest.fixture
def pond_app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Each test has its own program, and its own of what the program imports.
    monkeypatch.delitem(sys.modules, "examples.events.lobby", raising=False)
    return runpy.run_module(f"examples.events.{request.param}")["app"]


def program(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pond_app", [name], indirect=True)


@program("handshake")
async def test_a_stranger_is_refused_by_http(pond_client: PondClient) -> None:
    for url in ("/socket", "/socket?token=guess"):
        await pond_client.connect(url).assert_refused(code=401, message="Wrong token")


@program("handshake")
async def test_a_message_is_checked_and_answered_by_its_models(pond_client: PondClient) -> None:
    async with pond_client.connect("/socket?token=secret") as ann:
        assert await ann.call("shout", {"text": "hi", "other": 1}) == {"text": "HI"}
        await ann.assert_error("shout", {"text": 7}, code=422, loc=("text",))
        await ann.assert_error("whisper", {"text": "hi"}, code=404)


@program("lifecycle")
async def test_a_connection_is_sent_to_by_its_id_and_others_hear_of_its_end(
    pond_client: PondClient,
) -> None:
    async with pond_client.connect("/socket") as bob:
        async with pond_client.connect("/socket") as ann:
            await ann.send("divide", {"a": 7, "b": 2})
            await ann.assert_push("quotient", {"id": ann.user_id, "value": 3.5})
            await bob.assert_no_push()
        await bob.assert_push("disconnected", {"id": ann.user_id})


@program("lifecycle")
async def test_an_error_closes_the_connection_that_has_caused_it(pond_client: PondClient) -> None:
    async with pond_client.connect("/socket") as ann, pond_client.connect("/socket") as bob:
        failed = await ann.assert_error("divide", {"a": 1, "b": 0}, code=500)
        assert "ZeroDivisionError" not in str(failed)
        await ann.assert_closed(4403, reason="divide failed")
        await bob.assert_push("disconnected", {"id": ann.user_id})


@program("responses")
async def test_a_signature_is_the_message_and_an_annotation_the_response(
    pond_client: PondClient,
) -> None:
    async with pond_client.connect("/socket") as ann:
        found = [{"title": f"task {number}", "is_done": False} for number in range(3)]
        for task in found:
            assert await ann.call("add", {"title": task["title"]}) == task
        assert await ann.call("find", {"word": "task"}) == {"result": found}
        assert await ann.call("find", {"word": "task", "limit": 1}) == {"result": found[:1]}
        failed = await ann.assert_error("find", {"limit": "all"}, code=422)
        assert [each.loc for each in failed.details] == [("word",), ("limit",)]


@program("actions")
async def test_an_action_has_a_result_and_is_published_to_those_who_joined(
    pond_client: PondClient,
) -> None:
    async with pond_client.connect("/socket") as ann, pond_client.connect("/socket") as bob:
        assert await ann.call("add", {"note": "one"}) == {"result": 1}
        notes = await bob.join("/notes")
        assert notes.response == {"notes": ["one"]}
        assert await ann.call("add", {"note": "two"}) == {"result": 2}
        await notes.assert_broadcast("added", {"note": "two"})
        assert [each.event for each in ann.unread] == []
