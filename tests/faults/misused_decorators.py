"""Decorators without their name, things registered twice, handlers behind others, foreign braces.

Each is an error where it is written, which says what to write. A handler that can never be reached
is not taken in silence.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from pondsocket import EventContext, JoinContext, LeaveContext, Lobby, PondSocket, UsageError
from pondsocket_asgi import PondASGIApp


async def join(ctx: JoinContext) -> None:
    await ctx.accept()


async def event(ctx: EventContext) -> None: ...


async def leave(ctx: LeaveContext) -> None: ...


def admit(ctx: Any) -> object:
    return ctx.accept()


class Made:
    """A pond with one endpoint and one lobby."""

    def __init__(self) -> None:
        self.pond = PondSocket()
        self.endpoint: Any = self.pond.create_endpoint("/socket", admit)
        self.lobby: Any = self.endpoint.create_channel("/chat", join)


def twice(call: Callable[[], object]) -> None:
    call()
    call()


def behind_a_star(lobby: Any) -> None:
    lobby.on_message("*", event)
    lobby.on_message("say", event)


def in_two_endpoints(pond: PondSocket) -> None:
    lobby = Lobby("/x", join)
    for path in ("/a", "/b"):
        pond.create_endpoint(path, admit).include(lobby)


MISTAKES: dict[str, Callable[[Made], object]] = {
    "@lobby.on_message alone": lambda made: made.lobby.on_message(event),
    "@lobby.on_outgoing alone": lambda made: made.lobby.on_outgoing(event),
    "@endpoint.channel alone": lambda made: made.endpoint.channel(join),
    "@pond.endpoint alone": lambda made: made.pond.endpoint(admit),  # type: ignore[arg-type]
    "on_leave twice": lambda made: twice(lambda: made.lobby.on_leave(leave)),
    "an event twice": lambda made: twice(lambda: made.lobby.on_message("say", event)),
    "a channel twice": lambda made: made.endpoint.create_channel("/chat", join),
    "an endpoint twice": lambda made: made.pond.create_endpoint("/socket", admit),
    "an event behind '*'": lambda made: behind_a_star(made.lobby),
    "a lobby in two endpoints": lambda made: in_two_endpoints(made.pond),
    "braces": lambda made: made.endpoint.create_channel("/room/{room_id}", join),
    "a parameter twice": lambda made: made.endpoint.create_channel("/:a/:a", join),
    "no slash": lambda made: made.endpoint.create_channel("room", join),
    "None as a handler": lambda made: made.lobby.on_message("say", None),
    "the app of an endpoint": lambda made: PondASGIApp(made.endpoint),
    "the pond as an app": lambda made: asyncio.run(made.pond({}, None, None)),
}


def main() -> list[str]:
    faults = []
    for name, make in MISTAKES.items():
        try:
            make(Made())
        except UsageError:
            continue
        except Exception as error:  # noqa: BLE001 - that is looked at
            faults.append(f"{name}: {error!r}")
        else:
            faults.append(f"{name}: taken without a word")
    return faults


if __name__ == "__main__":
    found = main()
    print("FAIL " + "; ".join(found) if found else "ok misused decorators are told")
    sys.exit(bool(found))
