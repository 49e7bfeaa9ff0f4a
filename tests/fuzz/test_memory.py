"""Hostile messages by the thousand, in memory, on both event loops and through both doors."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
import pytest
from pondsocket_asgi.testing import SSESession, WebSocketSession

from tests.fuzz.corpus import Corpus
from tests.fuzz.memory import Memory, quiet
from tests.fuzz.oracle import (
    Answer,
    Peer,
    assert_answered,
    assert_answered_in_any_order,
)
from tests.fuzz.tally import Tallies, Tally, share
from tests.fuzz.volleys import explained
from tests.fuzz.witness import SHARED

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_800)]

BATCH = 40
LIBRARIES = ("asyncio", "trio")


@pytest.mark.parametrize("library", LIBRARIES)
def test_websocket_messages_have_their_one_answer(library: str, tallies: Tallies) -> None:
    tally = tallies.of("in memory: WebSocket")
    with explained(tally), quiet():
        anyio.run(_shoot_websocket, tally, share(tally.name) // len(LIBRARIES), backend=library)


@pytest.mark.parametrize("library", LIBRARIES)
def test_posts_have_their_status_and_their_one_answer(library: str, tallies: Tallies) -> None:
    tally = tallies.of("in memory: SSE")
    with explained(tally), quiet():
        anyio.run(_shoot_sse, tally, share(tally.name) // len(LIBRARIES), backend=library)


Visit: TypeAlias = Callable[[Memory, Peer, Tally, Corpus], Awaitable[None]]


async def _shoot(tally: Tally, inputs: int, visit: Visit, keys: str) -> None:
    """Have one connection after the other be fuzzed, until there were so many inputs."""
    memory = Memory()
    await memory.open()
    corpus = Corpus(tally.random, ["/room/a", "/room/b", SHARED], keys)
    enough = tally.count + inputs
    said: list[int] = []
    while tally.count < enough:
        peer = Peer()
        await visit(memory, peer, tally, corpus)
        said += range(len(said) + 1, len(said) + 1 + peer.said[SHARED])
    assert await memory.heard() == said
    await memory.close()


async def _shoot_websocket(tally: Tally, inputs: int) -> None:
    await _shoot(tally, inputs, _visit_websocket, "m")


async def _shoot_sse(tally: Tally, inputs: int) -> None:
    await _shoot(tally, inputs, _visit_sse, "p")


async def _visit_websocket(memory: Memory, peer: Peer, tally: Tally, corpus: Corpus) -> None:
    session = await memory.connect("websocket")
    assert isinstance(session, WebSocketSession)
    for _ in range(tally.random.choice([1, 5, 20])):
        await _volley(memory, session, peer, tally, corpus)
    await session.disconnect(tally.random.choice([1000, 1006, 4000]))


async def _volley(
    memory: Memory, session: WebSocketSession, peer: Peer, tally: Tally, corpus: Corpus
) -> None:
    inputs: list[bytes] = []
    expected: list[Answer] = []
    for _ in range(BATCH):
        kind, data = corpus.message()
        tally.add(kind, data)
        inputs.append(data)
        expected += peer.frame(data).answers
        # Servers make text of text frames; "surrogatepass" is for what they must not let through.
        is_text = tally.random.random() < 0.5
        await session.send_text(_as_text(data) if is_text else data)
    assert_answered(inputs, expected, await memory.answers(session))


def _as_text(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data


async def _visit_sse(memory: Memory, peer: Peer, tally: Tally, corpus: Corpus) -> None:
    session = await memory.connect("sse")
    assert isinstance(session, SSESession)
    for _ in range(tally.random.choice([1, 2, 10])):
        expected: list[Answer] = []
        for _ in range(BATCH // 2):
            is_array = tally.random.random() < 0.2
            kind, body = corpus.array() if is_array else corpus.message()
            if len(body) > 60_000:
                continue  # refused for its length
            tally.add(f"POST {kind}", body)
            verdict = peer.body(body)
            await session.send_text(body)
            status, answer = session.posted[-1]
            assert status == (204 if verdict.valid else 400), (status, answer, body)
            expected += verdict.answers
        assert_answered_in_any_order(expected, await memory.answers(session))
    await session.disconnect()
