"""Presence: users join one tracked channel one after the other, until all know of all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from tests.benchmarks._client import (
    BenchmarkFailed,
    Client,
    Crowd,
    Phrase,
    client_frame,
    fresh_token,
)
from tests.benchmarks._contenders import Contender
from tests.benchmarks._dialects import Dialect
from tests.benchmarks._figures import Sample
from tests.benchmarks._meter import MILLISECONDS, metered
from tests.benchmarks._scenarios.scenario import STEP_SECONDS, Play, Scenario, stage_of

# The presence of a user; a text has it once for each user that it names.
_SHOWN: Final = b'"online"'


def presence_of(users: int, contenders: tuple[str, ...]) -> Scenario:
    """Make the scenario in which `users` users join; connecting is not measured."""

    @asynccontextmanager
    async def enter(contender: Contender) -> AsyncIterator[Play]:
        rooms = 0

        async def play() -> Sample:
            nonlocal rooms
            rooms += 1
            channel = f"/room/{rooms}"
            # Each connection is a new user, which ends with it.
            crowd = Crowd()
            try:
                async with asyncio.timeout(STEP_SECONDS):
                    await crowd.connect(stage.process.port, contender.dialect, users)
                    return await metered(
                        stage.process.pid,
                        lambda: join_in_turn(crowd, contender.dialect, channel),
                        MILLISECONDS,
                    )
            finally:
                crowd.close()
                await asyncio.sleep(0.3)

        async with stage_of(contender, 0) as stage:
            await play()
            yield play

    return Scenario(
        key="presence",
        title=f"Presence: {users} users join one channel in turn",
        unit="ms per user",
        contenders=contenders,
        enter=enter,
        seconds=users / 60,
        ready_seconds=2 + users / 60,
        conditions=(
            "Until the last user has joined and every user knows of every other; joining is"
            " counted, connecting is not."
        ),
    )


async def join_in_turn(crowd: Crowd, dialect: Dialect, channel: str) -> int:
    """Join all clients, one after the other; end when every client knows of every user.

    Raises:
        BenchmarkFailed: A client does not know of all users.
    """
    told: dict[Client, list[bytes]] = {client: [] for client in crowd.clients}
    joining: asyncio.Future[None]
    token = b""
    waiting = set(crowd.clients)

    def on_text(client: Client, text: bytes) -> None:
        if _SHOWN in text:
            told[client].append(text)
        if not joining.done() and client is newcomer and dialect.is_joined(text):
            joining.set_result(None)
        if token and token in text:
            waiting.discard(client)
            if not waiting:
                crowd.finish()

    newcomer = crowd.clients[0]
    joining = asyncio.get_running_loop().create_future()
    crowd.listen(on_text)
    for newcomer in crowd.clients:
        joining = asyncio.get_running_loop().create_future()
        newcomer.send(client_frame(dialect.join(fresh_token(), channel)))
        await joining
    # Presence that is due is sent before any other message of the channel.
    token, frame = Phrase(lambda word: dialect.say(word, 100, channel)).fresh()
    newcomer.send(frame)
    await crowd.finished()
    for texts in told.values():
        _check(texts, len(crowd.clients), is_whole=dialect.presence is None)
    return len(crowd.clients)


def _check(texts: list[bytes], users: int, *, is_whole: bool) -> None:
    """Check that a member knows of all users: by the last list, or by all the differences."""
    counts = [text.count(_SHOWN) for text in texts]
    # A list's message names the changed user once more.
    known = (counts or [0])[-1] - 1 if is_whole else sum(counts)
    if known != users:
        raise BenchmarkFailed(f"a member was told of {known} users, not of {users}")
