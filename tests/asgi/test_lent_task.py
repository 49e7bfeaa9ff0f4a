"""Texts that the fast lane has handled where they come in, under the task that waits for them."""

import asyncio
import contextvars
import gc
import random
import weakref
from collections.abc import Iterator
from typing import Any, Final

import pytest
from pondsocket import ConnectionContext, EventContext, Options, PondSocket
from pondsocket_asgi._fastlane.received import takes_nothing
from pondsocket_asgi.fastlane import Protocol

from tests.asgi.lent_talk import ROOMS, Talk, echo_of_size, say, talking
from tests.asgi.uvicorn_connection import CLOSE, TEXT, Lanes, masked, turns

here: Final = contextvars.ContextVar("here", default="nowhere")


@pytest.fixture
def anyio_backend() -> str:
    """uvicorn knows no other."""
    return "asyncio"


# --- when it is lent ------------------------------------------------------------------------------


async def test_a_handler_that_does_not_wait_runs_where_its_text_comes_in() -> None:
    found: list[Any] = []

    async def look(_ctx: EventContext) -> None:
        found.append(asyncio.current_task())

    async with talking(look=look) as talk:
        talk.feed(say("look"))
        await turns()
        assert await talk.read(say("look"), then=lambda: list(found)) == [*talk.tasks] * 2
        assert await talk.read(then=asyncio.current_task) is None
        assert await talk.is_lent()


async def test_nothing_is_made_for_clients_that_only_listen() -> None:
    pond = PondSocket()

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept()

    pond.create_endpoint("/socket", admit)
    talk = Talk(pond)
    await talk.open()
    received = talk.protocol._received  # type: ignore[union-attr]
    for _ in range(2):
        assert received.take_now is takes_nothing
        talk.feed(masked(TEXT, b'{"action":"PING"}'))
        await turns()
    assert received.take_now is not takes_nothing
    talk.transport.abort()
    await turns(20)


async def test_it_is_not_lent_to_a_task() -> None:
    async with talking() as talk:
        assert await talk.is_lent()
        talk.feed(say("echo", text="a"))
        assert talk.replies == ["lent?"]
        await turns()
        assert talk.replies == ["lent?", "a"]
        assert await talk.is_lent()


async def test_it_is_not_lent_while_another_text_waits() -> None:
    async with talking() as talk:
        several = say("echo", text="a") + say("echo", text="b"), say("echo", text="c")
        assert await talk.read(*several) == []
        await turns()
        assert talk.replies == ["a", "b", "c"]
        assert await talk.is_lent()


class Passing:
    """Sees what a `receive` returns, and has all its attributes."""

    def __init__(self, receive: Any, seen: list[str]) -> None:
        self._receive = receive
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receive, name)

    async def __call__(self) -> Any:
        message = await self._receive()
        self._seen.append(message.get("text", ""))
        return message


@pytest.mark.parametrize("passes_attributes", [False, True])
async def test_it_is_not_lent_past_what_wraps_receive(passes_attributes: bool) -> None:
    seen: list[str] = []

    def wrap(app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            passing = Passing(receive, seen)

            async def look() -> Any:
                return await passing()

            await app(scope, passing if passes_attributes else look, send)

        return wrapped

    async with talking(wrap=wrap) as talk:
        assert not await talk.is_lent()
        assert "lent?" in seen[-1]


async def test_it_is_not_lent_past_a_subclass(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    class Looking(Protocol):
        async def receive(self) -> Any:
            message: Any = await super().receive()
            seen.append(message.get("text", ""))
            return message

    monkeypatch.setattr(Lanes, "kind", Looking)
    async with talking() as talk:
        assert not await talk.is_lent()
        assert "lent?" in seen[-1]


async def test_it_is_not_lent_while_several_tasks_receive() -> None:
    async with talking() as talk:
        other = asyncio.ensure_future(talk.receive())
        await turns()
        assert await talk.read(say("echo", text="a")) == []
        await turns()
        assert other.done()
        assert not await talk.is_lent()


@pytest.mark.parametrize("name", ["_enter_task", "_leave_task"])
async def test_it_is_not_lent_where_asyncio_lacks_what_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(asyncio.tasks, name)
    async with talking() as talk:
        assert not await talk.is_lent()


@pytest.mark.parametrize("letter", ["x", "\u00fc"])
@pytest.mark.parametrize("most", [None, 300])
async def test_a_text_may_be_as_long_as_without(most: int | None, letter: str) -> None:
    options = Options(event_rate=None, control_rate=None, max_message_bytes=most)
    async with talking(options=options) as talk:
        assert len(await talk.read(echo_of_size(letter, 300))) == 1
        await talk.read(echo_of_size(letter, 302))
        await turns()
        assert len(talk.replies) == 1 + (most is None)
        assert talk.has_goodbye is (most is not None)


async def test_a_text_that_is_no_utf8_closes() -> None:
    async with talking() as talk:
        assert await talk.is_lent()
        await talk.read(masked(TEXT, b"\xff\xfe"))
        await turns()
        assert talk.close_code == 1007


# --- contexts -------------------------------------------------------------------------------------


async def test_handlers_see_the_context_of_the_connection_and_set_none_but_their_own() -> None:
    seen: list[str] = []

    def wrap(app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            here.set("middleware")
            await app(scope, receive, send)

        return wrapped

    async def look(_ctx: EventContext) -> None:
        seen.append(here.get())
        here.set("handler")
        await asyncio.sleep(0) if len(seen) % 3 == 0 else None
        seen.append(here.get())

    async with talking(wrap=wrap, look=look) as talk:
        for _ in range(12):
            await talk.read(say("look"))
            await turns()
        assert seen == ["middleware", "handler"] * 12
        assert await talk.read(then=here.get) == "nowhere"


# --- any mixture ----------------------------------------------------------------------------------


async def _replies_of(seed: int) -> dict[str, list[str]]:
    dice = random.Random(seed)
    found: dict[str, list[str]] = {room: [] for room in ROOMS}
    waits = [dice.choice((0, 0, 0, 0, 1, 2, 5)) for _ in range(200)]

    async def mixed(ctx: EventContext) -> None:
        number = ctx.get_payload()["number"]
        task = asyncio.current_task()
        for _ in range(waits[number]):
            await asyncio.sleep(0)
        assert asyncio.current_task() is task
        found[ctx.channel.name].append(str(number))
        await ctx.reply("reply", {"text": str(number)})

    async with talking(mixed=mixed) as talk:
        number = 0
        while number < 200:
            data = []
            for _ in range(dice.choice((1, 1, 1, 2, 3))):
                if number < 200:
                    data.append(say("mixed", dice.choice(ROOMS), number=number))
                    number += 1
            if dice.random() < 0.2:
                data = [b"".join(data)]
            if dice.random() < 0.1:
                talk.feed(*data)
            else:
                await talk.read(*data)
            await turns(dice.choice((0, 0, 1, 2, 10)))
        await turns(1000)
        assert sorted(map(int, talk.replies)) == list(range(200))
    return found


@pytest.mark.parametrize("seed", range(20))
async def test_any_mixture_is_handled_once_and_in_the_order_of_each_channel(seed: int) -> None:
    for numbers in (await _replies_of(seed)).values():
        assert numbers == sorted(numbers, key=int)


# --- the object itself ----------------------------------------------------------------------------


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Have references alone decide what lives."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.usefixtures("no_gc")
async def test_a_connection_is_freed_without_the_garbage_collector(is_lost: bool) -> None:
    async with talking() as talk:
        assert await talk.is_lent()
        take_now: Any = talk.protocol._received.take_now  # type: ignore[union-attr]
        alive = [weakref.ref(talk.protocol), weakref.ref(take_now.__self__._lent.enter)]
        del take_now
        if is_lost:
            talk.transport.lose(ConnectionResetError())
        else:
            await talk.read(masked(CLOSE, b"\x03\xe8"))
        await turns(20)
        transport = talk.transport
        talk.receive = None
        del talk.protocol
        await turns()
        assert [each() for each in alive] == [None, None]
        talk.transport = transport
