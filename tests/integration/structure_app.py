"""A pond of a router and a class, with a lifespan that prints; alone, and mounted without one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pondsocket import (
    ErrorContext,
    EventContext,
    JoinContext,
    LeaveContext,
    Next,
    PondSocket,
    Router,
    channel,
    on_join,
    on_leave,
    on_message,
)
from pondsocket_asgi import PondASGIApp
from starlette.applications import Starlette
from starlette.routing import Mount


def note(text: str) -> None:
    """Print a line that a test finds in the server's log."""
    print(f"<{text}>", flush=True)


@asynccontextmanager
async def opened_and_closed(pond: PondSocket) -> AsyncIterator[dict[str, str]]:
    note("opened")
    try:
        yield {"db": "database"}
    finally:
        note("closed")


router = Router(prefix="/shop/:shop_id")


@router.channel("/orders")
async def orders(ctx: JoinContext, shop_id: int) -> dict[str, int]:
    return {"shop": shop_id}


@orders.on_message("order")
async def order(ctx: EventContext, shop_id: int) -> str:
    return f"{shop_id} from {pond.state['db']}"


@router.on_message("fail")
async def fail(ctx: EventContext) -> None:
    raise LookupError("wanted")


@channel("/board/:name")
class Board:
    """A class that is a lobby."""

    @on_join
    async def join(self, ctx: JoinContext) -> None:
        await ctx.accept()

    @on_message("write")
    def write(self, name: str, text: str) -> dict[str, str]:
        return {"on": name, "text": text}

    @on_leave
    async def leave(self, ctx: LeaveContext) -> None:
        note(f"left with {pond.state['db']}")


async def noted(ctx: EventContext, next: Next) -> object:  # noqa: A002
    note(f"event {ctx.event_name}")
    return await next()


pond = PondSocket(lifespan=opened_and_closed)
endpoint = pond.create_endpoint("/socket")
endpoint.include(router)
endpoint.include(Board())
endpoint.use(noted)


@pond.on_error
def report(ctx: ErrorContext) -> None:
    note(f"{ctx.kind} {ctx.event}: {ctx.error}")


app = PondASGIApp(pond)
mounted = Starlette(routes=[Mount("/ws", app=app)])
