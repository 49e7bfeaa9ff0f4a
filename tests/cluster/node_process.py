"""A node in a process of its own, to be killed or stopped: `python -m … URL PREFIX USER…`.

It prints "ready" once its members are in, and then "left USER" for each `on_leave`.
"""

import sys
from functools import partial

import anyio
from pondsocket import History
from pondsocket.backplane.redis import RedisBackplane

from tests.cluster.engines import OPTIONS
from tests.cluster.rooms import KEPT, cluster


async def main(url: str, prefix: str, *users: str) -> None:
    backplane = RedisBackplane(url, prefix=prefix, **OPTIONS)
    async with cluster(backplane, history=History(size=10_000)) as found:
        for user in users:
            await found.client(user, KEPT).join(found.nodes[0])
        print("ready", flush=True)
        told = 0
        while True:
            await anyio.sleep(0.05)
            for user in found.nodes[0].left[told:]:
                print("left", user, flush=True)
                told += 1


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:]))
