"""The application has a say in the headers of the answer: cookies, challenges, Retry-After.

A 401 has a challenge in any case (RFC 9110, section 15.5.2), and no header can hold a second one.

`python -m tests.faults.headers_of_the_answer`
"""

import asyncio
import sys

from pondsocket import ConnectionContext, PondSocket, UsageError
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver

pond = PondSocket()


@pond.endpoint("/yes")
async def yes(ctx: ConnectionContext) -> None:
    ctx.set_header("X-Node", "a")
    ctx.set_cookie("visited", "yes")
    ctx.accept()


@pond.endpoint("/no")
async def no(ctx: ConnectionContext) -> None:
    ctx.decline(401, "Sign in.")


@pond.endpoint("/later")
async def later(ctx: ConnectionContext) -> None:
    ctx.decline(503, "Later.", headers={"Retry-After": "60"})


@pond.endpoint("/split")
async def split(ctx: ConnectionContext) -> None:
    try:
        ctx.set_header("X-Node", "a\r\nSet-Cookie: session=eve")
    except UsageError:
        ctx.decline(403, "No.")


async def main() -> list[str]:
    bad: list[str] = []
    driver = ASGITestDriver(PondASGIApp(pond))
    http: dict[str, dict[str, str]] = {"websocket.http.response": {}}
    for path, status, name, value in [
        ("/yes", None, "x-node", "a"),
        ("/yes", None, "set-cookie", "visited=yes; Path=/; HttpOnly; SameSite=Lax"),
        ("/no", 401, "www-authenticate", "Bearer"),
        ("/later", 503, "retry-after", "60"),
        ("/split", 403, "set-cookie", None),
    ]:
        for session in (
            await driver.connect_websocket(path, extensions=http),
            await driver.connect_sse(path),
        ):
            is_right = session.status == status if status else session.accepted
            if not is_right or session.headers.get(name) != value:
                bad.append(f"{path}: {session.status}, {name}: {session.headers.get(name)}")
            await session.disconnect()
    return bad


if __name__ == "__main__":
    bad = asyncio.run(main())
    print("FAIL " + "; ".join(bad) if bad else "ok headers of the answer")
    sys.exit(bool(bad))
