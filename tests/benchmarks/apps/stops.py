"""Another app of this folder, with a clock on its loop that finds out how long it stands still.

`BENCHMARK_APP` names the app. Requests of HTTP paths that begin with `/stops/` are answered here:

* `read` returns what the clock and the collector have shown since the last request;
* `collect` makes a full collection, and returns what that has shown;
* `drain` begins the drain of the app's pond; 404 if it has none.
"""

import asyncio
import gc
import json
import os
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Final, TypeAlias

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

_PATH: Final = "/stops/"
# asyncio's and uvloop's timers have a resolution of one millisecond.
_TICK: Final = 0.001


class LoopClock:
    """A timer that is due every millisecond, and notes how much too late it is called.

    Attributes:
        stop: The longest delay since the last `read`, in seconds.
        busy: The longest CPU time of the loop's thread between two calls, in seconds.
        collection: The longest collection of any generation, in seconds.
        collecting: The longest CPU time of one.
    """

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._began = self._began_used = 0.0
        self._read()
        gc.callbacks.append(self._on_collection)
        self._plan()

    def read(self) -> dict[str, float]:
        """Return the longest of each, in milliseconds, and begin anew."""
        self._note()
        names = ("stop", "busy", "collection", "collecting")
        found = {name: getattr(self, name) * 1_000 for name in names}
        self._read()
        return found

    def _read(self) -> None:
        self.stop = self.busy = self.collection = self.collecting = 0.0
        self._due, self._used = time.monotonic() + _TICK, time.thread_time()

    def _plan(self) -> None:
        self._due, self._used = time.monotonic() + _TICK, time.thread_time()
        self._loop.call_later(_TICK, self._on_tick)

    def _on_tick(self) -> None:
        self._note()
        self._plan()

    def _note(self) -> None:
        self.stop = max(self.stop, time.monotonic() - self._due)
        self.busy = max(self.busy, time.thread_time() - self._used)

    def _on_collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began, self._began_used = time.perf_counter(), time.thread_time()
        else:
            self.collection = max(self.collection, time.perf_counter() - self._began)
            self.collecting = max(self.collecting, time.thread_time() - self._began_used)


class Watched:
    """The app, and the answers to `/stops/`.

    Args:
        pond: The app's pond, if it has one that drains.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], pond: Any) -> None:
        self._app = app
        self._pond = pond
        self._clock: LoopClock | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the app, or answer."""
        if scope["type"] != "http" or not scope["path"].startswith(_PATH):
            await self._app(scope, receive, send)
            return
        status, body = 200, await self._done(scope["path"].removeprefix(_PATH))
        if body is None:
            status, body = 404, {}
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    async def _done(self, word: str) -> dict[str, float] | None:
        clock = self._clock = self._clock or LoopClock()
        if word == "collect":
            clock.read()
            gc.collect()
        elif word == "drain":
            if not hasattr(self._pond, "begin_drain"):
                return None
            clock.read()
            self._pond.begin_drain()
            return {}
        return clock.read()


def load(name: str) -> Watched:
    """Return the app of this name, such as `tests.benchmarks.apps.pond:app`, watched."""
    path, _, attribute = name.partition(":")
    module = import_module(path)
    return Watched(getattr(module, attribute), getattr(module, "pond", None))


def __getattr__(name: str) -> Watched:
    """Load the app when a server asks for it."""
    if name == "app":
        return load(os.environ["BENCHMARK_APP"])
    raise AttributeError(name)
