"""WebSocket handshakes: subprotocols, and what a decline code becomes."""

import json
from typing import Any

import pytest

from tests.asgi.conftest import HTTP_RESPONSE, Pond


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([], None),
        (["graphql-ws"], None),
        (["pond.v2"], "pond.v2"),
        (["graphql-ws", "pond.v1", "pond.v2"], "pond.v1"),
        (["pond.v2", "pond.v1"], "pond.v2"),
        (["POND.V1", "pond.v1 "], None),
        (["", "\xff"], None),
    ],
)
async def test_the_first_offered_subprotocol_that_is_spoken_is_accepted(
    offered: list[str], chosen: str | None
) -> None:
    pond = Pond(subprotocols=["pond.v1", "pond.v2"])
    session = await pond.driver.connect_websocket("/socket", subprotocols=offered)
    assert (session.accepted, session.subprotocol) == (True, chosen)
    (ctx,) = pond.contexts
    assert ctx.request.subprotocols == tuple(offered)
    await session.disconnect()


@pytest.mark.parametrize("subprotocols", [None, [], ()])
async def test_a_scope_need_not_name_subprotocols(pond: Pond, subprotocols: Any) -> None:
    sent: list[Any] = []
    inbox = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}])

    async def receive() -> Any:
        return next(inbox)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/socket", "subprotocols": subprotocols}
    await pond.app(scope, receive, send)
    assert sent[0] == {"type": "websocket.accept", "subprotocol": None, "headers": []}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, 400),
        (599, 599),
        (399, 403),
        (600, 403),
        (4400, 400),
        (4599, 599),
        (4399, 403),
        (4600, 403),
        (0, 403),
        (1, 403),
        (True, 403),
        (False, 403),
        (-404, 403),
        (1000, 403),
        (65_536, 403),
        (10**400, 403),
        (-(10**400), 403),
    ],
)
async def test_any_decline_code_becomes_a_status(code: int, status: int) -> None:
    pond = Pond()
    pond.pond.create_endpoint("/never", lambda ctx: ctx.decline(code, "Not today"))
    session = await pond.driver.connect_websocket("/never", extensions=HTTP_RESPONSE)
    assert session.status == status
    assert json.loads(session.body) == {
        "error": "UNAUTHORIZED_CONNECTION",
        "code": status,
        "message": "Not today",
    }
    closed = await pond.driver.connect_websocket("/never")
    assert (closed.close_code, closed.close_reason) == (4000 + status, "Not today")
    for each in (session, closed):
        await each.disconnect()


@pytest.mark.parametrize("code", ["403", None, 403.5, object()])
async def test_a_decline_code_that_is_no_number_fails_on_the_server(code: Any) -> None:
    pond = Pond()
    pond.pond.create_endpoint("/never", lambda ctx: ctx.decline(code, "Not today"))
    session = await pond.driver.connect_websocket("/never", extensions=HTTP_RESPONSE)
    assert (session.accepted, session.status) == (False, 500)
    await session.disconnect()


@pytest.mark.parametrize(
    ("message", "seen"),
    [("half \ud83d", "half ?"), ("", ""), ("x" * 5_000, "x" * 5_000), (None, "None"), (5, "5")],
)
async def test_any_decline_message_can_be_sent(message: Any, seen: str) -> None:
    pond = Pond()
    pond.pond.create_endpoint("/never", lambda ctx: ctx.decline(403, message))
    session = await pond.driver.connect_websocket("/never", extensions=HTTP_RESPONSE)
    assert (session.status, json.loads(session.body)["message"]) == (403, seen)
    closed = await pond.driver.connect_websocket("/never")
    assert closed.close_reason == seen[:123]
    for each in (session, closed):
        await each.disconnect()


@pytest.mark.parametrize("reason", ["\N{SNOWMAN}" * 50, "a" + "\N{GRINNING FACE}" * 50])
async def test_a_reason_is_cut_at_a_whole_character(reason: str) -> None:
    pond = Pond()
    pond.pond.create_endpoint("/never", lambda ctx: ctx.decline(403, reason))
    closed = await pond.driver.connect_websocket("/never")
    assert reason.startswith(closed.close_reason)
    assert 120 <= len(closed.close_reason.encode()) <= 123
    await closed.disconnect()
