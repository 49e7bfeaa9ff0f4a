"""A connection handler that refuses, in the way that its path names."""

import anyio
from pondsocket import ConnectionContext


async def refuse(ctx: ConnectionContext) -> None:
    match ctx.params["how"]:
        case "silent":
            pass
        case "crash":
            raise ValueError("an inner detail")
        case "slow":
            await anyio.sleep_forever()
        case code:
            ctx.decline(int(code), "Not today, Žofie")
