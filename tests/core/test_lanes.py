"""Lanes by themselves; `test_lanes_of_a_session` shows what they are for."""

from collections.abc import Coroutine
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from pondsocket._connection.lanes import Lanes
from pondsocket_common import ClientActions, ClientMessage


def message(name: str, text: str = "") -> ClientMessage:
    return ClientMessage(ClientActions.BROADCAST, "say", name, "1", {"text": text})


class Nowhere:
    """A connection that is in no channel."""

    memberships: Final[dict[str, Any]] = {}


NOWHERE: Final[Any] = Nowhere()


async def test_lanes_forget_what_is_done() -> None:
    async def handle(_session: Nowhere, _message: ClientMessage) -> None:
        await anyio.lowlevel.checkpoint()

    lanes = Lanes(handle, NOWHERE, 2, 10)
    assert lanes.idle
    assert lanes.has_room(2, 10)
    pending = lanes.enter("/a", message("/a"), 6)
    assert pending is not None
    assert lanes.enter("/a", message("/a"), 4) is None
    assert not lanes.has_room(1, 0)

    await lanes.finish(*pending)

    assert lanes.idle
    assert lanes.has_room(2, 10)
    assert not lanes.has_room(3, 0)
    assert not lanes.has_room(1, 11)


def test_a_message_that_is_being_handled_takes_room() -> None:
    rooms: list[tuple[bool, bool, bool]] = []

    def handle(_session: Nowhere, _message: ClientMessage) -> None:
        rooms.append((lanes.has_room(1, 4), lanes.has_room(2, 4), lanes.has_room(1, 5)))

    lanes = Lanes(handle, NOWHERE, 2, 10)
    assert lanes.begin("/a", message("/a"), 6) is None
    assert rooms == [(True, False, False)]
    assert lanes.has_room(2, 10)


def test_a_message_whose_handling_fails_takes_no_room() -> None:
    def handle(_session: Nowhere, _message: ClientMessage) -> None:
        raise ZeroDivisionError

    lanes = Lanes(handle, NOWHERE, 1, 10)
    with pytest.raises(ZeroDivisionError):
        lanes.begin("/a", message("/a"), 6)
    assert lanes.idle
    assert lanes.has_room(1, 10)


async def test_a_lane_works_through_its_queue_in_order() -> None:
    handled: list[str] = []

    async def handle(_session: Nowhere, message: ClientMessage) -> None:
        await anyio.lowlevel.checkpoint()
        handled.append(message.payload["text"])

    lanes = Lanes(handle, NOWHERE, 9, 99)
    pending = lanes.enter("/a", message("/a", "1"), 1)
    assert pending is not None
    for text in ("2", "3"):
        lanes.enter("/a", message("/a", text), 1)
    waits: list[str] = []

    assert await lanes.finish(*pending, lambda: waits.append("waits"))

    assert handled == ["1", "2", "3"]
    assert waits == ["waits"]


async def test_what_is_handled_at_once_leaves_nothing_behind() -> None:
    handled: list[str] = []

    def handle(_session: Nowhere, message: ClientMessage) -> None:
        handled.append(message.payload["text"])

    lanes = Lanes(handle, NOWHERE, 1, 9)
    for text in "12":
        assert lanes.begin("/a", message("/a", text), 9) is None

    assert handled == ["1", "2"]
    assert lanes.idle
    assert lanes.has_room(1, 9)


async def test_what_begins_goes_on_before_what_comes_behind_it() -> None:
    handled: list[str] = []

    def handle(_session: Nowhere, message: ClientMessage) -> Coroutine[Any, Any, None]:
        handled.append(f"{message.payload['text']} begins")

        async def go_on() -> None:
            await anyio.lowlevel.checkpoint()
            handled.append(f"{message.payload['text']} ends")

        return go_on()

    lanes = Lanes(handle, NOWHERE, 9, 99)
    begun = lanes.begin("/a", message("/a", "1"), 1)
    assert begun is not None
    assert lanes.begin("/a", message("/a", "2"), 1) is None
    assert handled == ["1 begins"]

    assert await lanes.finish(*begun)
    assert handled == ["1 begins", "1 ends", "2 begins", "2 ends"]
    assert lanes.idle
    assert lanes.has_room(9, 99)


async def test_what_breaks_off_at_once_frees_its_lane() -> None:
    def handle(_session: Nowhere, message: ClientMessage) -> None:
        raise KeyboardInterrupt

    lanes = Lanes(handle, NOWHERE, 9, 99)
    with pytest.raises(KeyboardInterrupt):
        lanes.begin("/a", message("/a"), 1)
    assert lanes.idle
    pending = lanes.enter("/a", message("/a"), 1)
    assert pending is not None
    with pytest.raises(KeyboardInterrupt):
        await lanes.finish(*pending)
    assert lanes.idle
