"""Dependencies of every form, and the log in which they write what happens to them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio.lowlevel


class DependencyLog(list[str]):
    """A list of what has happened, and dependencies of every form that append to it."""

    def plain(self) -> str:
        self.append("plain")
        return "plain"

    async def waits(self) -> str:
        await anyio.lowlevel.checkpoint()
        self.append("async")
        return "async"

    @contextmanager
    def _opened(self) -> Iterator[None]:
        self.append("open")
        try:
            yield
        except BaseException as exc:
            self.append(f"saw {type(exc).__name__}")
            raise
        finally:
            self.append("closed")

    def generates(self) -> Iterator[str]:
        with self._opened():
            yield "generated"

    async def generates_async(self) -> AsyncIterator[str]:
        with self._opened():
            yield "generated"
