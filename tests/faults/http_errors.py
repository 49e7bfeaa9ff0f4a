"""A connection handler may raise the HTTPException of the framework it lives in.

Its status and its headers reach the client, and the log has no line of it.

`python -m tests.faults.http_errors`
"""

import asyncio
import logging
import sys

from pondsocket import ConnectionContext, PondSocket
from pondsocket.testing import ConnectionRefused, connect

try:
    import fastapi
    import litestar.exceptions
    import starlette.exceptions
except ImportError as missing:
    print(f"skip {missing.name} is not installed")
    sys.exit(0)

logged: list[str] = []


class Kept(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logged.append(record.getMessage())


async def refused_by(error: Exception) -> str | None:
    """Return what is wrong; None: nothing."""
    pond = PondSocket()

    @pond.endpoint("/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        raise error

    try:
        async with connect(pond, "/socket"):
            return "let in"
    except ConnectionRefused as refused:
        found = (refused.code, refused.headers.get("www-authenticate"))
    return None if found == (401, "Basic") else f"{type(error).__module__}: {found}"


async def main() -> list[str]:
    basic = {"WWW-Authenticate": "Basic"}
    errors = [
        fastapi.HTTPException(401, "Sign in.", basic),
        starlette.exceptions.HTTPException(401, "Sign in.", basic),
        litestar.exceptions.NotAuthorizedException("Sign in.", headers=basic),
    ]
    return [wrong for error in errors if (wrong := await refused_by(error))] + logged


if __name__ == "__main__":
    logger = logging.getLogger("pondsocket")
    logger.addHandler(Kept())
    logger.propagate = False
    bad = asyncio.run(main())
    print("FAIL " + "; ".join(bad) if bad else "ok an HTTPException is a refusal")
    sys.exit(bool(bad))
