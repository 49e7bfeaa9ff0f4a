"""What hypothesis generates, in memory; a failure is shown as small as it can be made."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pondsocket_asgi.testing import SSESession

from tests.fuzz.app import NO_RATES, Target
from tests.fuzz.in_memory import InMemoryTarget, quiet
from tests.fuzz.input_counts import SEED, InputCount, InputCounts, share
from tests.fuzz.oracle import (
    Answer,
    Peer,
    assert_answered,
    assert_answered_in_any_order,
    well_formed,
)
from tests.fuzz.structures import RequestScope, handshakes, messages, requests

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_800)]

LIBRARIES = st.sampled_from(["asyncio", "trio"])
EXAMPLES = 25


def repeat(
    input_count: InputCount, test: Callable[..., None], **strategies: st.SearchStrategy[Any]
) -> None:
    """Run a test on ever other examples until its share of inputs is sent."""
    number = 0
    while input_count.count < share(input_count.name):
        chosen = settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        seed(f"{SEED} {input_count.name} {number}")(chosen(given(**strategies)(test)))()
        number += 1


# --- messages ---------------------------------------------------------------------------------


def test_any_messages_have_their_one_answer_over_either_transport(
    input_counts: InputCounts,
) -> None:
    input_count = input_counts.of("hypothesis: messages")

    def run(library: str, transport: str, inputs: list[bytes]) -> None:
        for data in inputs:
            input_count.add(transport, data)
        with quiet():
            anyio.run(_converse, transport, inputs, backend=library)

    transports = st.sampled_from(["websocket", "sse"])
    inputs = st.lists(messages, min_size=10, max_size=40)
    repeat(input_count, run, library=LIBRARIES, transport=transports, inputs=inputs)


async def _converse(transport: str, inputs: list[bytes]) -> None:
    memory = InMemoryTarget()
    await memory.open()
    session = await memory.connect(transport)
    peer = Peer()
    expected: list[Answer] = []
    for data in inputs:
        is_post = isinstance(session, SSESession)
        verdict = peer.body(data) if is_post else peer.frame(data)
        expected += verdict.answers
        await session.send_text(data)
        if isinstance(session, SSESession):
            assert session.posted[-1][0] == (204 if verdict.valid else 400), (data, session.posted)
    came = await memory.answers(session)
    if transport == "sse":
        assert_answered_in_any_order(expected, came)
    else:
        assert_answered(inputs, expected, came)
    assert await memory.heard() == list(range(1, 1 + peer.said["/room/shared"]))
    await session.disconnect()
    await memory.close()


# --- scopes -----------------------------------------------------------------------------------


def test_any_scope_has_a_proper_answer(input_counts: InputCounts) -> None:
    input_count = input_counts.of("hypothesis: scopes")

    def run(library: str, scopes: list[RequestScope]) -> None:
        for handshake in scopes:
            input_count.add(handshake.scope["type"], handshake)
        with quiet():
            anyio.run(_handshake, scopes, backend=library)

    scopes = st.lists(requests | handshakes, min_size=5, max_size=20)
    repeat(input_count, run, library=LIBRARIES, scopes=scopes)


async def _handshake(scopes: list[RequestScope]) -> None:
    target = Target(NO_RATES)
    for handshake in scopes:
        sent: list[dict[str, Any]] = []
        with anyio.fail_after(5):
            await target.app(handshake.scope, _receiver(handshake), _sender(sent))
        status = _status(handshake, sent)
        expected = _expected(handshake)
        assert expected in (None, status), f"{status} instead of {expected}: {sent}"
    assert await target.endpoint.connection_count() == 0
    assert await target.lobby.list_channels() == []


def _receiver(handshake: RequestScope) -> Callable[[], Any]:
    kind = handshake.scope["type"]
    opening = [{"type": "websocket.connect"}] if kind == "websocket" else []
    ending = {"type": f"{kind}.disconnect", "code": 1006}
    waiting = iter([*opening, *handshake.received])

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        return next(waiting, ending)

    return receive


def _sender(sent: list[dict[str, Any]]) -> Callable[[Any], Any]:
    async def send(message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    return send


def _status(handshake: RequestScope, sent: list[dict[str, Any]]) -> int | None:
    """Return the status of an answer that keeps to the ASGI specification; None if time was up."""
    if not sent:
        return None
    first, *rest = sent
    match first["type"]:
        case "websocket.accept":
            for message in rest:
                assert message["type"] in ("websocket.send", "websocket.close"), sent
                if message["type"] == "websocket.send":
                    well_formed(message["text"])
            return 101
        case "websocket.close":
            assert not rest, sent
            return int(first["code"]) - 4_000
        case "http.response.start" | "websocket.http.response.start":
            kind = first["type"].removesuffix("start")
            assert all(message["type"] == f"{kind}body" for message in rest), sent
            assert all(type(part) is bytes for pair in first["headers"] for part in pair), sent
            status: int = first["status"]
            if status >= 400:
                body = b"".join(message["body"] for message in rest)
                refusal = json.loads(body)
                assert set(refusal) == {"error", "code", "message"}, sent
                assert refusal["code"] == status, sent
            return status
        case other:
            raise AssertionError(f"{other} from the app: {sent}")


def _expected(handshake: RequestScope) -> int | None:
    """Return the status, as far as it can be said from the scope alone."""
    scope = handshake.scope
    headers = scope["headers"]
    if any(name.lower() == b"origin" for name, _ in headers):
        return 403
    if scope["type"] == "http" and scope["method"] not in ("GET", "POST", "DELETE"):
        return 204 if scope["method"] == "OPTIONS" else 405
    try:
        unquote_to_bytes(scope["query_string"]).decode()
    except UnicodeDecodeError:
        return 400
    return None
