"""A connection of the fast lane to a pond, whose client speaks, in the callbacks of the loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from pondsocket import ConnectionContext, EventContext, JoinContext, Options, PondSocket
from pondsocket_asgi import PondASGIApp

from tests.asgi.uvicorn_connection import CLOSE, TEXT, UvicornConnection, bodies, masked, turns

ROOMS: Final = ("/room/1", "/room/2", "/room/3")
Handler: TypeAlias = Callable[[EventContext], Awaitable[None]]
Wrap: TypeAlias = Callable[[Any], Any]


def _text(action: str, event: str, room: str, payload: Any) -> bytes:
    message = {"action": action, "event": event, "channelName": room, "payload": payload}
    text = json.dumps(message | {"requestId": event}, ensure_ascii=False)
    return masked(TEXT, text.encode())


def say(event: str, room: str = ROOMS[0], **payload: Any) -> bytes:
    """Return an event of a client, as a frame."""
    return _text("BROADCAST", event, room, payload)


def echo_of_size(letter: str, size: int) -> bytes:
    """Return an event of so many bytes."""
    header = 8
    left = size + header - len(say("echo", text="x" * 100)) + 100
    return say("echo", text=letter * (left // len(letter.encode())) + "x" * (left % 2))


class Talk(UvicornConnection):
    """A connection to a pond, a member of each room; two events have been handled.

    Args:
        wrap: Wraps the pond's app, as a middleware does.
    """

    def __init__(self, pond: PondSocket, wrap: Wrap = lambda app: app) -> None:
        self._served = wrap(PondASGIApp(pond))
        super().__init__()

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        self.receive = receive
        await self._served(scope, receive, send)

    async def begin(self) -> None:
        await self.open()
        for room in ROOMS:
            self.feed(_text("JOIN_CHANNEL", "join", room, {}))
        self.feed(say("nothing"), say("nothing"))
        await turns()
        assert [each["event"] for each in self.heard][-3:] == ["ACKNOWLEDGE"] * 3

    @property
    def heard(self) -> list[Any]:
        """What the client was sent."""
        return [json.loads(body) for kind, body in bodies(self.written) if kind == TEXT]

    @property
    def replies(self) -> list[str]:
        """The texts of the replies."""
        return [each["payload"]["text"] for each in self.heard if each["event"] == "reply"]

    @property
    def has_goodbye(self) -> bool:
        """Whether the server has ended it."""
        return "GOODBYE" in [each["action"] for each in self.heard] or self.close_code is not None

    @property
    def close_code(self) -> int | None:
        """The code of the close frame."""
        codes = [int.from_bytes(body[:2]) for kind, body in bodies(self.written) if kind == CLOSE]
        return codes[0] if codes else None

    async def read(self, *data: bytes, then: Callable[[], Any] | None = None) -> Any:
        """Have the loop read. Return what `then` returns in the same callback, or the replies."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def callback() -> None:
            self.feed(*data)
            done.set_result(self.replies if then is None else then())

        asyncio.get_running_loop().call_soon(callback)
        return await done

    async def is_lent(self) -> bool:
        """Return whether an event is handled where it comes in."""
        before = self.replies
        at_once = await self.read(say("echo", text="lent?"))
        await turns()
        assert self.replies == [*before, "lent?"]
        return bool(at_once != before)

    async def is_lent_again(self) -> bool:
        """Return whether it is lent when another task has read two events."""
        self.feed(say("nothing"), say("nothing"))
        await turns()
        return await self.is_lent()


@asynccontextmanager
async def talking(
    *,
    wrap: Wrap = lambda app: app,
    options: Options | None = None,
    **handlers: Handler,
) -> AsyncIterator[Talk]:
    """Open a connection to a pond whose events have these handlers."""
    pond = PondSocket(options=options or Options(event_rate=None, control_rate=None))

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept()

    async def enter(ctx: JoinContext) -> None:
        await ctx.accept()

    async def nothing(_ctx: EventContext) -> None:
        pass

    async def echo(ctx: EventContext) -> None:
        await ctx.reply("reply", ctx.get_payload())

    lobby = pond.create_endpoint("/socket", admit).create_channel("/room/:id", enter)
    for name, handler in {"nothing": nothing, "echo": echo, **handlers}.items():
        lobby.on_message(name, handler)
    talk = Talk(pond, wrap)
    await talk.begin()
    try:
        yield talk
    finally:
        talk.transport.abort()
        await turns(20)
        assert not talk.tasks
        assert asyncio.current_task() is not None
