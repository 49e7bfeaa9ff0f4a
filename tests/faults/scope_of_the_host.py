"""A connection handler reads what a host and its middleware have put into the ASGI scope.

`python -m tests.faults.scope_of_the_host`
"""

import asyncio
import sys
from typing import Any, Final

from pondsocket import ConnectionContext, PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver

FOUND: Final[dict[str, Any]] = {
    "session": {"user": "ann"},
    "user": "ann",
    "auth": ["yes"],
    "state": {"db": 1},
    "path_params": {"tenant": "acme"},
}

pond = PondSocket()
seen: list[dict[str, Any]] = []


@pond.endpoint("/socket")
async def endpoint(ctx: ConnectionContext) -> None:
    seen.append({key: ctx.scope.get(key) for key in FOUND})
    ctx.accept(user_id="ann")


inner = PondASGIApp(pond)


async def host(scope: Any, receive: Any, send: Any) -> None:
    mounted = {"root_path": "/acme", "path": f"/acme{scope['path']}"}
    await inner({**scope, **FOUND, **mounted}, receive, send)


async def main() -> list[str]:
    driver = ASGITestDriver(host)
    for session in (await driver.connect_websocket("/socket"), await driver.connect_sse("/socket")):
        await session.disconnect()
    return [f"{each}" for each in seen if each != FOUND] or ([] if len(seen) == 2 else ["refused"])


if __name__ == "__main__":
    bad = asyncio.run(main())
    print("FAIL " + "; ".join(bad) if bad else "ok the scope can be read")
    sys.exit(bool(bad))
