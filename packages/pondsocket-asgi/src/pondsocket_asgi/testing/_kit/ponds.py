"""The ponds behind an app, and what goes wrong in them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pondsocket import ErrorContext, PondSocket, UsageError
from pondsocket.testing import failures, settle

from pondsocket_asgi._app import PondASGIApp, living_apps

# How deep apps are within each other: middleware, routers, mounts.
_DEEPEST = 30


def ponds_of(app: Any) -> list[PondSocket]:
    """Return the ponds that an app serves; all that there are, if it does not show its own."""
    found: dict[int, PondSocket] = {}
    ahead, seen = [(app, 0)], set()
    while ahead:
        each, depth = ahead.pop()
        if id(each) in seen or depth > _DEEPEST:
            continue
        seen.add(id(each))
        if isinstance(each, PondSocket | PondASGIApp):
            pond = each if isinstance(each, PondSocket) else each.pond
            found[id(pond)] = pond
            continue
        # As Starlette's applications, mounts and middleware have them.
        inner = [getattr(each, "app", None), getattr(each, "router", None)]
        routes = getattr(each, "routes", None)
        inner += routes if isinstance(routes, list) else []
        # As functions that wrap an app have it.
        inner += [cell.cell_contents for cell in getattr(each, "__closure__", None) or ()]
        ahead += [(one, depth + 1) for one in inner if one is not None]
    return list(found.values()) or [each.pond for each in living_apps]


class Ponds:
    """The ponds behind one app: which one a client is at, and what has failed in it."""

    def __init__(self, app: object, *, expect_errors: bool) -> None:
        self._watched: dict[int, PondSocket] = {}
        self._current: PondSocket | None = None
        self._app = app
        self._stack = ExitStack()
        self._failed: list[list[ErrorContext]] = []
        self._expecting = int(expect_errors)

    @property
    def pond(self) -> PondSocket:
        """The pond that the latest client is connected to, or else the only one.

        Raises:
            UsageError: There are several, and no client yet.
        """
        if self._current is None:
            found = ponds_of(self._app)
            if len(found) != 1:
                raise UsageError(
                    f"The app serves {len(found)} ponds as far as can be seen: connect a client"
                    " first, whose pond it then is."
                )
            self._current = found[0]
        return self._current

    def watch(self) -> None:
        """See from now on what fails, in each pond that may be meant."""
        for pond in ponds_of(self._app):
            if id(pond) not in self._watched:
                self._watched[id(pond)] = pond
                self._failed.append(self._stack.enter_context(failures(pond)))

    def meet(self, connection_id: str) -> None:
        """Note which pond has admitted a client."""
        for pond in self._watched.values():
            for endpoint in pond.endpoints:
                if endpoint.sessions.get(connection_id) is not None:
                    self._current = pond

    async def settle(self, wait: float) -> None:
        """Wait until all that clients have sent is handled.

        Raises:
            AssertionError: A handler still runs after `wait` seconds.
        """
        # Of every pond behind the app: a client of another one than the latest may have sent it.
        ponds = list(self._watched.values()) or [self.pond]
        try:
            for pond in ponds:
                await settle(pond, wait=wait)
        except TimeoutError as error:
            raise AssertionError(str(error)) from None

    # --- failures ---------------------------------------------------------------------------

    @property
    def has_failed(self) -> bool:
        """Whether a handler has raised what the test does not expect."""
        return not self._expecting and any(self._failed)

    def take(self) -> list[ErrorContext]:
        """Return what has failed since the last call."""
        taken = [each for failed in self._failed for each in failed]
        for failed in self._failed:
            failed.clear()
        return taken

    def raise_failure(self) -> None:
        """Raise what a handler has raised, if the test does not expect it.

        Raises:
            BaseException: The first of them, with a note of where it came from.
        """
        if self.has_failed:
            first = self.take()[0]
            where = f"{first.event!r} in {first.channel_name!r}"
            first.error.add_note(
                f"Raised by a {first.kind} handler ({where}, user {first.user_id!r}). If the test"
                " expects it: `with client.expect_errors():`."
            )
            raise first.error

    @contextmanager
    def expect_errors(self) -> Iterator[list[ErrorContext]]:
        """Let handlers raise within the block; what they raised is in the list at its end."""
        self.raise_failure()
        seen: list[ErrorContext] = []
        self._expecting += 1
        try:
            yield seen
        finally:
            self._expecting -= 1
            if not self._expecting:
                seen += self.take()

    def close(self) -> None:
        """Watch no more."""
        self._stack.close()
        self._watched.clear()
        self._failed.clear()
