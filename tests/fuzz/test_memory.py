"""Hostile messages by the thousand, in memory, on both event loops and over both transports."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio
import pytest
from pondsocket_asgi.testing import SSESession, WebSocketSession

from tests.fuzz.corpus import Corpus
from tests.fuzz.good_clients import SHARED
from tests.fuzz.in_memory import InMemoryTarget, quiet
from tests.fuzz.input_counts import InputCount, InputCounts, share
from tests.fuzz.oracle import (
    Answer,
    Peer,
    assert_answered,
    assert_answered_in_any_order,
)
from tests.fuzz.websocket_fuzzer import explained

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1_800)]

BATCH = 40
LIBRARIES = ("asyncio", "trio")


@pytest.mark.parametrize("library", LIBRARIES)
def test_websocket_messages_have_their_one_answer(library: str, input_counts: InputCounts) -> None:
    input_count = input_counts.of("in memory: WebSocket")
    with explained(input_count), quiet():
        anyio.run(
            _fuzz_websocket, input_count, share(input_count.name) // len(LIBRARIES), backend=library
        )


@pytest.mark.parametrize("library", LIBRARIES)
def test_posts_have_their_status_and_their_one_answer(
    library: str, input_counts: InputCounts
) -> None:
    input_count = input_counts.of("in memory: SSE")
    with explained(input_count), quiet():
        anyio.run(
            _fuzz_sse, input_count, share(input_count.name) // len(LIBRARIES), backend=library
        )


Visit: TypeAlias = Callable[[InMemoryTarget, Peer, InputCount, Corpus], Awaitable[None]]


async def _fuzz(input_count: InputCount, inputs: int, visit: Visit, keys: str) -> None:
    """Have one connection after the other be fuzzed, until there were so many inputs."""
    memory = InMemoryTarget()
    await memory.open()
    corpus = Corpus(input_count.random, ["/room/a", "/room/b", SHARED], keys)
    enough = input_count.count + inputs
    said: list[int] = []
    while input_count.count < enough:
        peer = Peer()
        await visit(memory, peer, input_count, corpus)
        said += range(len(said) + 1, len(said) + 1 + peer.said[SHARED])
    assert await memory.heard() == said
    await memory.close()


async def _fuzz_websocket(input_count: InputCount, inputs: int) -> None:
    await _fuzz(input_count, inputs, _visit_websocket, "m")


async def _fuzz_sse(input_count: InputCount, inputs: int) -> None:
    await _fuzz(input_count, inputs, _visit_sse, "p")


async def _visit_websocket(
    memory: InMemoryTarget, peer: Peer, input_count: InputCount, corpus: Corpus
) -> None:
    session = await memory.connect("websocket")
    assert isinstance(session, WebSocketSession)
    for _ in range(input_count.random.choice([1, 5, 20])):
        await _send_batch(memory, session, peer, input_count, corpus)
    await session.disconnect(input_count.random.choice([1000, 1006, 4000]))


async def _send_batch(
    memory: InMemoryTarget,
    session: WebSocketSession,
    peer: Peer,
    input_count: InputCount,
    corpus: Corpus,
) -> None:
    inputs: list[bytes] = []
    expected: list[Answer] = []
    for _ in range(BATCH):
        kind, data = corpus.message()
        input_count.add(kind, data)
        inputs.append(data)
        expected += peer.frame(data).answers
        # Servers make text of text frames; "surrogatepass" is for what they must not let through.
        is_text = input_count.random.random() < 0.5
        await session.send_text(_as_text(data) if is_text else data)
    assert_answered(inputs, expected, await memory.answers(session))


def _as_text(data: bytes) -> str | bytes:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data


async def _visit_sse(
    memory: InMemoryTarget, peer: Peer, input_count: InputCount, corpus: Corpus
) -> None:
    session = await memory.connect("sse")
    assert isinstance(session, SSESession)
    for _ in range(input_count.random.choice([1, 2, 10])):
        expected: list[Answer] = []
        for _ in range(BATCH // 2):
            is_array = input_count.random.random() < 0.2
            kind, body = corpus.array() if is_array else corpus.message()
            if len(body) > 60_000:
                continue  # refused for its length
            input_count.add(f"POST {kind}", body)
            verdict = peer.body(body)
            await session.send_text(body)
            status, answer = session.posted[-1]
            assert status == (204 if verdict.valid else 400), (status, answer, body)
            expected += verdict.answers
        assert_answered_in_any_order(expected, await memory.answers(session))
    await session.disconnect()
