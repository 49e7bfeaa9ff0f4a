"""Dependencies of every form, and the log in which they write what happens to them."""

from collections.abc import AsyncIterator, Iterator

import anyio.lowlevel


class DependencyLog(list[str]):
    """What has happened, and dependencies of every form that write it down."""

    def plain(self) -> str:
        self.append("plain")
        return "plain"

    async def waits(self) -> str:
        await anyio.lowlevel.checkpoint()
        self.append("async")
        return "async"

    def generates(self) -> Iterator[str]:
        self.append("open")
        try:
            yield "generated"
        except BaseException as exc:
            self.append(f"saw {type(exc).__name__}")
            raise
        finally:
            self.append("closed")

    async def generates_async(self) -> AsyncIterator[str]:
        self.append("open")
        try:
            yield "generated"
        except BaseException as exc:
            self.append(f"saw {type(exc).__name__}")
            raise
        finally:
            self.append("closed")
