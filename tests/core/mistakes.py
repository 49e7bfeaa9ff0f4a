"""What developers get wrong: how it is tried, what clients and the log say, and what to write.

docs/errors.md shows it as tables: `python -m tests.core.mistakes` writes them anew.
"""

import contextlib
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import anyio
from fastapi import BackgroundTasks, Query, Request
from pondsocket import (
    ConnectionContext,
    Depends,
    Endpoint,
    Event,
    EventContext,
    History,
    Hooks,
    JoinContext,
    LeaveContext,
    Lobby,
    Next,
    Options,
    OutgoingContext,
    PondError,
    PondSocket,
    SyncEventContext,
    on_message,
)
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel

PAGE: Final = Path(__file__).parents[2] / "docs" / "errors.md"
KINDS: Final = {
    "import": "| at import | `UsageError` says | write |",
    "connect": "| in a connection handler | the client sees | the log says | write |",
    "join": "| in a join handler | the client sees | the log says | write |",
    "event": "| in an event handler | the client sees | the log says | write |",
    "later": "| in other handlers, and around them | the client sees | the log says | write |",
    "call": "| from outside of handlers | the call raises | write |",
}


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Args:
        what: What was written, in the form of the page.
        attempt: Writes it; given a `Scene`, or what a handler is given.
        says: What stands in the error, or in the log.
        write: What to write in its place.
        client: What the client is answered.
    """

    kind: str
    what: str
    attempt: Callable[..., Any]
    says: str
    write: str
    client: str = ""

    @property
    def hangs(self) -> bool:
        """Whether it takes the time of a limit."""
        return " took over " in self.says

    def row(self) -> str:
        """Return its row of the page's table."""
        marks = "``" if "`" in self.says else "`"
        blank = " " if marks == "``" else ""
        said = f"{marks}{blank}{self.says}{blank}{marks}" if self.says else "nothing"
        seen = [] if self.kind in ("import", "call") else [self.client]
        cells = [each.replace("|", r"\|") for each in (self.what, *seen, said, self.write)]
        return f"| {' | '.join(cells)} |"


class Scene(NamedTuple):
    """A pond to make the mistake with."""

    pond: PondSocket
    socket: Endpoint
    chat: Lobby


MISTAKES: Final[list[Mistake]] = []
FAILED: Final = "INTERNAL_SERVER_ERROR 500"
REFUSED: Final = "UNAUTHORIZED 500"


def mistake(
    kind: str, what: str, says: str, write: str, client: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(attempt: Callable[..., Any]) -> Callable[..., Any]:
        MISTAKES.append(Mistake(kind, what, attempt, says, write, client))
        return attempt

    return register


def at_import(what: str, says: str, write: str, attempt: Callable[[Scene], object]) -> None:
    mistake("import", what, says, write)(attempt)


async def nothing(ctx: Any) -> None: ...


class Body(BaseModel):
    """A payload."""

    a: int


# --- at import: paths and decorators -----------------------------------------------------------

at_import(
    '`create_endpoint("socket")`',
    "a path starts with '/'",
    '`"/socket"`',
    lambda s: s.pond.create_endpoint("socket"),
)
at_import(
    '`@socket.channel("room/:id")`',
    "the names of channels start with '/'",
    '`"/room/:id"`',
    lambda s: s.socket.create_channel("room/:id", nothing),
)
at_import(
    '`"/room/{room_id}"`',
    "write ':room_id' for the parameter '{room_id}'",
    '`"/room/:room_id"`',
    lambda s: s.socket.create_channel("/room/{room_id}", nothing),
)
at_import(
    '`"/room/:id/:id"`',
    "the parameter ':id' stands there twice",
    "two names",
    lambda s: s.socket.create_channel("/room/:id/:id", nothing),
)
at_import(
    "`@pond.endpoint` without parentheses",
    'Write `@pond.endpoint("/path")`',
    '`@pond.endpoint("/socket")`',
    lambda s: s.pond.endpoint(nothing),  # type: ignore[arg-type]
)
at_import(
    "`@socket.channel` without parentheses",
    'Write `@endpoint.channel("/name")`',
    '`@socket.channel("/chat/:room_id")`',
    lambda s: s.socket.channel(nothing),  # type: ignore[arg-type]
)
at_import(
    "`@chat.on_message` without parentheses",
    'Write `@….on_message("event")`',
    '`@chat.on_message("say")`',
    lambda s: s.chat.on_message(nothing),  # type: ignore[call-overload]
)
at_import(
    "an endpoint twice",
    "this is registered already, and the first one is used",
    "one of them",
    lambda s: s.pond.create_endpoint("/socket"),
)


def twice(scene: Scene) -> None:
    scene.chat.on_message("say", nothing)
    scene.chat.on_message("say", nothing)


at_import(
    "an event twice",
    "this is registered already, and the first one is used",
    "one of them, or [middleware](middleware.md)",
    twice,
)


def behind_all(scene: Scene) -> None:
    scene.chat.on_message("*", nothing)
    scene.chat.on_message("say", nothing)


at_import(
    '`on_message("say")` below `on_message("*")`',
    "it is never reached, as '*', registered before, matches all of its names",
    "the special one first",
    behind_all,
)
at_import(
    "a channel below one that matches the same names",
    "it is never reached, as '/chat/:room_id', registered before",
    "the special one first",
    lambda s: s.socket.create_channel("/chat/:id", nothing),
)
at_import(
    '`on_message("UNAUTHORIZED")`',
    "that is a name of the protocol's own; choose another",
    "another name; [these](protocol/README.md) are taken",
    lambda s: s.chat.on_message("UNAUTHORIZED", nothing),
)


def two_leaves(scene: Scene) -> None:
    scene.chat.on_leave(nothing)
    scene.chat.on_leave(nothing)


at_import(
    "`@chat.on_leave` twice", "has a leave handler already", "one function for both", two_leaves
)


# --- at import: signatures ---------------------------------------------------------------------


def signature(what: str, says: str, write: str) -> Callable[[Callable[..., Any]], None]:
    def register(handler: Callable[..., Any]) -> None:
        at_import(what, says, write, lambda s: s.chat.on_message("say", handler))

    return register


@signature(
    "`def say(ctx: EventContext)`",
    "what EventContext does must be awaited: write `async def`, or `ctx: SyncEventContext`",
    "`async def`, or `SyncEventContext`",
)
def plain(ctx: EventContext) -> None: ...


@signature(
    "`async def say(ctx: SyncEventContext)`",
    "which SyncEventContext would block: write `ctx: EventContext`",
    "`EventContext`",
)
async def blocking(ctx: SyncEventContext) -> None: ...


@signature(
    "`async def say(ctx: JoinContext)` for an event",
    "but what this event handler is given is EventContext",
    "`EventContext`",
)
async def other_context(ctx: JoinContext) -> None: ...


@signature(
    "`async def say(ctx: EventContext, text)`",
    "where does 'text' come from?",
    "a type: `text: str`",
)
async def untyped(ctx: EventContext, text) -> None: ...  # type: ignore[no-untyped-def]


@signature(
    "`async def say(body: Body, other: Body)`",
    "a model stands for the whole payload: call the parameter `payload`",
    "one model, as `payload`",
)
async def two_models(body: Body, other: Body) -> None: ...


@signature(
    "`text: str = None`",
    "does not fit its own type; write `text: str | None = None`",
    "`text: str | None = None`",
)
async def none_default(ctx: EventContext, text: str = None) -> None: ...  # type: ignore[assignment] # noqa: RUF013


@signature(
    "`async def say(ctx): yield …`",
    "it has a `yield`; a handler returns its reply",
    "`return`, or `await ctx.push(…)` for several",
)
async def generator(ctx: EventContext) -> Any:
    yield 1


@signature(
    "middleware where a handler belongs",
    "this is middleware; pass it after the handler, or as `middlewares=[…]`",
    "`middlewares=[audited]`",
)
async def a_middleware(ctx: EventContext, next: Next) -> None: ...  # noqa: A002


async def audited(ctx: EventContext) -> None: ...


at_import(
    "`async def audited(ctx)` as middleware",
    "middleware is called with (ctx, next), but audited takes (ctx",
    "`async def audited(ctx, next)`",
    lambda s: s.chat.on_message("say", nothing, audited),  # type: ignore[call-overload]
)


def called(scene: Scene) -> None:
    coroutine = nothing(None)
    with contextlib.closing(coroutine):
        scene.chat.on_message("say", coroutine)  # type: ignore[call-overload]


at_import('`on_message("say", say(ctx))`', "a function (ctx) is needed", "`say` itself", called)


@signature(
    "`-> Body` of a class that is no model",
    "write a model, a dataclass or a TypedDict with the fields to be sent, or `-> Any`",
    "a model",
)
async def odd_response(ctx: EventContext) -> Event[Any]:
    raise NotImplementedError


@signature(
    "an annotation that is misspelt, or imported under `TYPE_CHECKING`",
    "which is not there at run time; define or import it at the top of the module, outside of"
    " `if TYPE_CHECKING`",
    "an import for run time, or the right name",
)
async def unknown(ctx: EventContext, x: "Nowhere") -> None: ...  # type: ignore[name-defined] # noqa: F821


@signature(
    "FastAPI's `Request` in an event handler",
    "is filled by starlette alone",
    "`ctx.headers`, `ctx.cookies`, `ctx.query` in the connection handler",
)
async def with_request(ctx: EventContext, request: Request) -> None: ...


@signature(
    "FastAPI's `BackgroundTasks`",
    "is filled by fastapi alone; start them in a task group of your own",
    "a [task group](outside.md) of your own",
)
async def with_tasks(ctx: EventContext, tasks: BackgroundTasks) -> None: ...


async def with_query(ctx: ConnectionContext, token: str = Query()) -> None: ...


at_import(
    "FastAPI's `Query()`",
    "the connection handler reads the query: write `token: str` there",
    "`token: str`",
    lambda s: s.pond.create_endpoint("/query", with_query),
)
at_import(
    "`Depends(get_db())`",
    "Depends(…) takes a function or a class",
    "`Depends(get_db)`",
    lambda s: Depends(7),  # type: ignore[call-overload]
)


class Board:
    """A class of handlers."""

    @on_message("say")
    async def say(self) -> None: ...


at_import(
    "`include(Board)`",
    "Board is a class; include an instance of it",
    "`include(Board())`",
    lambda s: s.socket.include(Board),
)
at_import(
    "`include(my_module)`",
    "`include` takes a `Router`, or an object whose class has methods",
    "`include(my_module.router)`",
    lambda s: s.socket.include(sys),
)


# --- at import: options and the application ----------------------------------------------------

at_import(
    "`Options(event_rate=-1)`",
    "Options.event_rate is a number, above 0, or None for no limit",
    "`None` for no limit",
    lambda s: Options(event_rate=-1),
)
at_import(
    '`PondSocket(options={"event_rate": 1})`',
    "options: write `Options(event_rate=…)`",
    "`options=Options(event_rate=1)`",
    lambda s: PondSocket(options={"event_rate": 1}),  # type: ignore[arg-type]
)
at_import(
    '`allowed_origins="https://a.example"`',
    "Options.allowed_origins is a tuple of origins",
    '`("https://a.example",)`',
    lambda s: Options(allowed_origins="https://a.example"),  # type: ignore[arg-type]
)
at_import(
    '`allowed_origins=("a.example",)`',
    "has no scheme: write 'https://a.example'",
    '`("https://a.example",)`',
    lambda s: Options(allowed_origins=("a.example",)),
)


class MyHooks(Hooks):
    """Hooks that would have to be awaited."""

    async def connected(self, *_: object) -> None: ...  # type: ignore[override]


at_import(
    "`PondSocket(hooks=MyHooks)`",
    "MyHooks is a class: write `MyHooks()`",
    "`hooks=MyHooks()`",
    lambda s: PondSocket(hooks=MyHooks),  # type: ignore[arg-type]
)


at_import(
    "`async def connected(…)` in `Hooks`",
    "MyHooks.connected: write `def`; a hook or a metric is not awaited",
    "`def`",
    lambda s: PondSocket(hooks=MyHooks()),
)


@asynccontextmanager
async def opened(_: object) -> Any:
    yield


async def not_managed(_: object) -> Any:
    yield


at_import(
    "`PondSocket(lifespan=opened())`",
    "give the function itself, `lifespan=opened_and_closed`, not what it returns",
    "`lifespan=opened`",
    lambda s: PondSocket(lifespan=opened(None)),
)
at_import(
    "`lifespan=` without `@asynccontextmanager`",
    "it must make an async context manager: write `@asynccontextmanager`",
    "`@asynccontextmanager`",
    lambda s: PondSocket(lifespan=not_managed),
)
at_import(
    "`uvicorn app:pond`, `mount(…, pond)`",
    "write `app = PondASGIApp(pond)`, from the package pondsocket_asgi",
    "`app = PondASGIApp(pond)`, `uvicorn app:app`",
    lambda s: s.pond(),
)
at_import(
    "`uvicorn app:socket`, `mount(…, socket)` of an endpoint",
    "An endpoint is not an application by itself: write `app = PondASGIApp(pond)`",
    "`app = PondASGIApp(pond)`, `uvicorn app:app`",
    lambda s: s.socket(),
)
at_import(
    "`PondASGIApp(socket)`",
    "PondASGIApp serves a PondSocket with all its endpoints",
    "`PondASGIApp(pond)`",
    lambda s: PondASGIApp(s.socket),  # type: ignore[arg-type]
)
at_import(
    '`codecs=["phoenix"]`',
    "this is no codec, which has a name and methods: 'phoenix'",
    "the [codec](wire-formats.md) itself",
    lambda s: s.pond.create_endpoint("/codec", codecs=["phoenix"]),  # type: ignore[list-item]
)
at_import(
    "`History(size=0)`",
    "History.size is a whole number, above 0",
    "no `history=`",
    lambda s: History(size=0),
)
at_import(
    '`PondError("no", "401")`',
    "An error's code is a number, by convention an HTTP status, 400 to 599",
    '`PondError("no", 401)`',
    lambda s: PondError("no", "401"),  # type: ignore[arg-type]
)


# --- in connection handlers --------------------------------------------------------------------


@mistake(
    "connect",
    "no decision: a forgotten `ctx.accept()`",
    "A connection handler neither accepted nor declined",
    "`ctx.accept()` or `ctx.decline()` on every way",
    "401",
)
async def undecided(ctx: ConnectionContext) -> None: ...


@mistake("connect", "it raises", "A connection handler failed", "see the traceback", "500")
async def raises(ctx: ConnectionContext) -> None:
    raise KeyError("token")


@mistake(
    "connect",
    "`accept()`, and then `decline()`",
    "A handler decided twice: decline after it was accepted",
    "`return` behind the first",
    "it is connected",
)
async def decided_twice(ctx: ConnectionContext) -> None:
    ctx.accept()
    ctx.decline()


@mistake(
    "connect",
    "it waits for what never comes",
    f"A connection handler took over {Options().connect_timeout} s",
    "a time limit around what it waits for; the log's is `Options.connect_timeout`",
    "504",
)
async def hangs(ctx: ConnectionContext) -> None:
    await anyio.sleep_forever()


@mistake(
    "connect",
    "`accept(user_id=1.5)`, or an empty id",
    "A user's id is a str of 1 to 255 characters, none a control one, or an int",
    "`user_id=str(…)`, and none for strangers",
    "500",
)
async def odd_id(ctx: ConnectionContext) -> None:
    ctx.accept(user_id=1.5)


@mistake(
    "connect",
    '`decline("401")`',
    "decline(code, message): the code is a number",
    '`decline(401, "…")`',
    "500",
)
async def words_alone(ctx: ConnectionContext) -> None:
    ctx.decline("401")  # type: ignore[arg-type]


@mistake(
    "connect",
    "a client without the parameter `token: str`",
    "",
    "`?token=…` in the client, or a default",
    "422",
)
async def wants_token(ctx: ConnectionContext, token: str) -> None:
    ctx.accept()


@mistake(
    "connect",
    'a line break in `set_header("X-A", …)`',
    "The header 'X-A' cannot be sent",
    "text without control characters",
    "500",
)
async def odd_header(ctx: ConnectionContext) -> None:
    ctx.set_header("X-A", "a\nb")
    ctx.accept()


# --- in join handlers --------------------------------------------------------------------------


@mistake(
    "join",
    "`ctx.accept()` without `await`",
    "Without `await`, `ctx.accept()` and `ctx.decline()` do nothing.",
    "`await ctx.accept()`",
    "UNAUTHORIZED 401",
)
async def not_awaited(ctx: JoinContext) -> None:
    ctx.accept().close()


@mistake(
    "join",
    "`roomid: int`, where the pattern is `/chat/:room_id`",
    "",
    "`room_id: int`: another name is one that the client sends with the join",
    "UNAUTHORIZED 422",
)
async def another_name(ctx: JoinContext, roomid: int) -> None:
    await ctx.accept()


@mistake(
    "join",
    "no decision",
    "A join handler neither accepted nor declined",
    "`await ctx.accept()`, or return a value",
    "UNAUTHORIZED 401",
)
async def no_decision(ctx: JoinContext) -> None: ...


@mistake(
    "join",
    "`accept()`, and then `decline()`",
    "A handler decided twice: decline after it was accepted",
    "`return` behind the first",
    "ACKNOWLEDGE",
)
async def joined_twice(ctx: JoinContext) -> None:
    await ctx.accept()
    await ctx.decline()


@mistake("join", "it raises", "A join handler failed", "see the traceback", REFUSED)
async def join_raises(ctx: JoinContext) -> None:
    raise ValueError


@mistake(
    "join",
    "it raises after `accept()`",
    "A join handler failed",
    "what may fail first, then `accept()`",
    "ACKNOWLEDGE",
)
async def raises_late(ctx: JoinContext) -> None:
    await ctx.accept()
    raise ValueError


@mistake(
    "join",
    "`track()` or `push()` before `accept()`",
    "The join is not accepted (yet): write `await ctx.accept()` first.",
    "`await ctx.accept()` first",
    REFUSED,
)
async def tracked_early(ctx: JoinContext) -> None:
    await ctx.track({})


@mistake(
    "join",
    '`decline("members only")`',
    "An error's code is a number",
    '`decline(403, "members only")`',
    REFUSED,
)
async def declined_with_words(ctx: JoinContext) -> None:
    await ctx.decline("members only")  # type: ignore[arg-type]


@mistake(
    "join",
    '`accept(name="ann")`',
    "accept() got an unexpected keyword argument 'name'",
    '`accept({"name": "ann"})`: assigns are a dict here',
    REFUSED,
)
async def assigned(ctx: JoinContext) -> None:
    await ctx.accept(name="ann")  # type: ignore[call-arg]


@mistake(
    "join",
    "a response that JSON has no form for",
    "Type is not JSON serializable: object (at a)",
    "[what a payload may hold](#what-a-payload-may-hold)",
    REFUSED,
)
async def odd_answer(ctx: JoinContext) -> None:
    await ctx.accept(response={"a": object()})


@mistake(
    "join",
    "a value is returned after `accept()`",
    "A join handler returned a value after it had decided; it is not sent",
    "`accept(response=…)`, or only the value",
    "ACKNOWLEDGE",
)
async def returned_late(ctx: JoinContext) -> Any:
    await ctx.accept()
    return {}


@mistake(
    "join",
    "it waits for what never comes",
    f"A join handler took over {Options().join_timeout} s",
    "likewise; the log's is `Options.join_timeout`",
    "UNAUTHORIZED 408",
)
async def join_hangs(ctx: JoinContext) -> None:
    await anyio.sleep_forever()


# --- in event handlers -------------------------------------------------------------------------


@mistake("event", "it raises", "An event handler failed", "see the traceback", FAILED)
async def event_raises(ctx: EventContext) -> None:
    raise ValueError


@mistake(
    "event",
    "`ctx.broadcast(…)` without `await`",
    "was never awaited",
    "`await ctx.broadcast(…)`; what says so is Python, on stderr",
    "what it asked for does not happen",
)
async def unawaited(ctx: EventContext) -> None:
    ctx.broadcast("news", {})  # type: ignore[unused-coroutine]


@mistake(
    "event",
    "two replies, or a reply and a returned value",
    "A handler replied twice to the event 'go'; the first reply stands.",
    "one of them; more by `ctx.push(…)`",
    "the first",
)
async def replies_twice(ctx: EventContext) -> Any:
    await ctx.reply("go", {})
    return {}


@mistake(
    "event",
    '`broadcast("CONNECTION", …)`',
    "CONNECTION is a name of the protocol's own; choose another.",
    "another name",
    FAILED,
)
async def reserved(ctx: EventContext) -> None:
    await ctx.broadcast("CONNECTION", {})


@mistake(
    "event",
    '`ctx.reply({"ok": True})`',
    "not dict: the name comes first, and then the payload",
    '`ctx.reply("go", {"ok": True})`, or `return {"ok": True}`',
    FAILED,
)
async def no_name(ctx: EventContext) -> None:
    await ctx.reply({"ok": True})  # type: ignore[call-overload]


@mistake(
    "event",
    "a list or a text as the payload",
    "A payload is an object, so a dict or a pydantic model, not list",
    '`{"rows": […]}`',
    FAILED,
)
async def a_list(ctx: EventContext) -> None:
    await ctx.broadcast("news", [1])


def unfit(what: str, payload: object, says: str, write: str) -> None:
    async def attempt(ctx: EventContext) -> None:
        await ctx.broadcast("news", payload)

    mistake("event", what, says, write, FAILED)(attempt)


unfit("a set", {"rows": [{"tags": {1}}]}, "JSON serializable: set (at rows[0].tags)", "`sorted(…)`")
unfit("bytes", {"image": b""}, "JSON serializable: bytes (at image)", "base64, or a link")
unfit(
    "a `Decimal`",
    {"price": Decimal("1.5")},
    "JSON serializable: decimal.Decimal (at price)",
    "`str(…)`, or a model that says how",
)
unfit("NaN", {"mean": float("nan")}, "mean is NaN or infinite", "`None`")
unfit(
    "a key that is no text", {"by": {7: 1}}, "Dict key must be str, not int: 7 (at by)", "`str(…)`"
)
unfit("an integer beyond 64 bits", {"n": 2**70}, "Integer exceeds 64-bit range (at n)", "`str(…)`")


@mistake(
    "event",
    '`track(…, "bob")`, `evict("", "bob")` of one who is not there',
    "User bob is not a member of /chat/1.",
    "`if ctx.channel.has_user(…)`",
    FAILED,
)
async def not_there(ctx: EventContext) -> None:
    await ctx.track({}, "bob")


@mistake(
    "event",
    "a presence of 10 KB",
    "",
    "what others need at a glance; the rest by an event",
    "CHANNEL_ERROR 413",
)
async def long_presence(ctx: EventContext) -> None:
    await ctx.track({"a": "x" * 10_000})


@mistake(
    "event",
    "a returned value that is no `-> Body`",
    "what it has returned does not fit `-> Body`: a: Field required.",
    "what the annotation says",
    FAILED,
)
async def unlike_its_type(ctx: EventContext) -> Body:
    return {"b": 1}  # type: ignore[return-value]


@mistake(
    "event",
    "a returned value under `-> None`",
    "has returned a value, which is not sent, because of `-> None`",
    "`-> Any`, or what it returns",
    "no reply",
)
async def returns_in_secret(ctx: EventContext) -> None:
    return {"b": 1}  # type: ignore[return-value]


@mistake(
    "event",
    "`sys.exit()`, also by a library",
    "SystemExit",
    "an exception; the process goes on",
    FAILED,
)
async def exits(ctx: EventContext) -> None:
    sys.exit(1)


@mistake(
    "event",
    "`asyncio.run(ctx.broadcast(…))` in a thread",
    "`broadcast` is for the event loop in which the pond serves",
    "`ctx.channel.broadcast_nowait(…)`",
    FAILED,
)
async def other_loop(ctx: EventContext) -> None:
    await anyio.to_thread.run_sync(lambda: anyio.run(ctx.broadcast, "news", {}))


@mistake(
    "event",
    "one of a task group's tasks raises",
    "ExceptionGroup",
    "see the inner traceback; a `PondError` among them is the answer",
    FAILED,
)
async def in_a_group(ctx: EventContext) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(event_raises, ctx)


def swallowing() -> Iterator[str]:
    with contextlib.suppress(ValueError):
        yield "open"


@mistake(
    "event",
    "a dependency with `yield` swallows the handler's exception",
    "a dependency has swallowed an exception",
    "`raise` in its `except`",
    FAILED,
)
async def swallowed(ctx: EventContext, within: Annotated[str, Depends(swallowing)]) -> None:
    raise ValueError(within)


@mistake(
    "event",
    "a client sends an event that nothing is registered for",
    "",
    '`@chat.on_message("go")`',
    "HANDLER_NOT_FOUND 404",
)
async def _unregistered(ctx: EventContext) -> None: ...


@mistake(
    "event",
    "a client sends a payload that does not fit",
    "",
    "the answer's `details` say which field",
    "INVALID_MESSAGE 422",
)
async def wants_text(ctx: EventContext, text: str) -> None: ...


# --- later -------------------------------------------------------------------------------------

Later = Literal["leave", "outgoing", "error", "hook"]


@mistake(
    "later",
    "an outgoing handler raises",
    "An outgoing handler failed; the member does not get this event",
    "see the traceback",
    "nothing: a filter that failed must not leak",
)
def outgoing(scene: Scene) -> None:
    @scene.chat.on_outgoing("said")
    def withhold(ctx: OutgoingContext) -> None:
        raise ValueError


@mistake(
    "later",
    "`lambda ctx: censor(ctx)` of an `async def` as an outgoing handler",
    "It must be awaited",
    "`censor` itself",
    "nothing",
)
def unawaited_filter(scene: Scene) -> None:
    async def censor(ctx: OutgoingContext) -> None: ...

    scene.chat.on_outgoing("said", lambda ctx: censor(ctx))


@mistake(
    "later",
    "a leave handler raises",
    "A leave handler failed",
    "see the traceback",
    "nothing: it has gone",
)
def leaving(scene: Scene) -> None:
    @scene.chat.on_leave
    async def gone(ctx: LeaveContext) -> None:
        raise ValueError


@mistake(
    "later",
    "an `on_error` function raises",
    "An error handler failed",
    "see the traceback",
    FAILED,
)
def telling(scene: Scene) -> None:
    scene.chat.on_message("fails", event_raises)

    @scene.pond.on_error
    async def tell(ctx: Any) -> None:
        raise ValueError


# --- from outside ------------------------------------------------------------------------------


def from_outside(
    what: str, says: str, write: str
) -> Callable[[Callable[[Scene], Awaitable[object]]], None]:
    def register(attempt: Callable[[Scene], Awaitable[object]]) -> None:
        mistake("call", what, says, write)(attempt)

    return register


@from_outside(
    '`pond.channel("/sockets", …)`',
    "There is no endpoint '/sockets'; registered: /socket",
    '`"/socket"`',
)
async def no_endpoint(scene: Scene) -> None:
    scene.pond.channel("/sockets", "/chat/1")


@from_outside(
    '`pond.channel("/socket", "/chats/1")`',
    "No channel pattern of '/socket' matches '/chats/1'",
    '`"/chat/1"`',
)
async def no_pattern(scene: Scene) -> None:
    scene.pond.channel("/socket", "/chats/1")


@from_outside(
    '`pond.channel("/t/:tenant", …)`',
    "is a pattern, and each of its paths has channels of its own",
    '`"/t/acme"`, or `shared_channels=True`',
)
async def a_pattern(scene: Scene) -> None:
    scene.pond.create_endpoint("/t/:tenant")
    scene.pond.channel("/t/:tenant", "/chat/1")


@from_outside(
    '`pond.push(1.5, "news", {})`',
    "A user's id is a str of 1 to 255 characters",
    "the id that `accept(user_id=…)` was given",
)
async def push_to_odd(scene: Scene) -> None:
    await scene.pond.push(1.5, "news", {})  # type: ignore[call-overload]


def tables() -> dict[str, str]:
    """Return each table of the page, by its first line."""
    return {
        head: "\n".join(
            [
                head,
                "|" + "---|" * (head.count("|") - 1),
                *(each.row() for each in MISTAKES if each.kind == kind),
            ]
        )
        for kind, head in KINDS.items()
    }


def updated(page: str) -> str:
    """Return the page with its tables written anew."""
    for head, table in tables().items():
        found = re.compile(re.escape(head) + r"\n(\|[^\n]*\n)*")
        assert found.search(page), head
        page = found.sub(lambda _, table=table: table + "\n", page)  # type: ignore[misc]
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
