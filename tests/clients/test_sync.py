"""The blocking form of the client in Python."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pondsocket import PondSocket
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.client import ChannelState, Message, PondClientError, SyncClient

from tests.clients.python_app import Said, Say, new_pond


@pytest.fixture
def pond() -> PondSocket:
    return new_pond()


@pytest.fixture(params=["websocket", "sse"])
def ann(request: pytest.FixtureRequest, pond: PondSocket) -> SyncClient:
    return SyncClient("/socket", app=PondASGIApp(pond), transports=[request.param])


def test_calls_return_and_loops_yield(ann: SyncClient) -> None:
    with ann:
        assert ann.call("add_numbers", {"a": 1, "b": 2}) == {"sum": 3}
        room = ann.join("/chat/1", {"nick": "Ann"}, presence=True)
        assert room.response == {"welcome": "Ann"}
        assert room.call("say", Say(text="hi"), returns=Said) == Said(id=2)
        assert room.send("typing")
        assert [entry.presence for entry in room.presence.values()] == [{"nick": "Ann"}]
        events = []
        for event in room:
            if isinstance(event, Message):
                events.append(event.event)
                if event.event == "typing":
                    break
        assert events == ["said", "typing"]
        assert room.state is ChannelState.LEFT
        assert (ann.id, room.name) == ("ann", "/chat/1")
    assert [thread.name for thread in threading.enumerate() if "pondsocket" in thread.name] == []


def test_events_of_the_endpoint_are_heard(ann: SyncClient) -> None:
    with ann:
        ann.send("notify_all")
        for event in ann:
            assert isinstance(event, Message)
            assert event.event == "notice"
            break


def test_errors_are_raised_in_the_callers_thread(ann: SyncClient) -> None:
    def fail(client: SyncClient) -> None:
        with client:
            room = client.join("/chat/1")
            with pytest.raises(PondClientError, match="Somewhere else"):
                room.call("conflict")
            with pytest.raises(TimeoutError):
                room.receive(timeout=0.01)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(ann)


def test_a_client_that_is_not_entered_says_so(ann: SyncClient) -> None:
    with pytest.raises(RuntimeError, match="with SyncClient"):
        ann.call("add_numbers")


def test_rooms_are_left_with_their_blocks(ann: SyncClient) -> None:
    states: list[Any] = []
    with ann:
        with ann.join("/chat/1") as room:
            states.append(room.state)
        states.append(room.state)
        ann.close()
        with pytest.raises(PondClientError, match="CLOSED"):
            ann.join("/chat/2")
        ann.connect()
        ann.wait_open()
    assert states == [ChannelState.JOINED, ChannelState.LEFT]


def test_a_loop_that_fails_to_read_does_not_leave(ann: SyncClient) -> None:
    with ann:
        room = ann.join("/chat/1")
        room.send("typing")
        first = iter(room)
        assert isinstance(next(first), Message)
        with ThreadPoolExecutor() as threads:
            # Another reader waits: this loop may not read, which is no reason to leave.
            waiting = threads.submit(room.receive, timeout=5)
            while not room._room.buffer._has_reader:
                time.sleep(0.001)
            with pytest.raises(RuntimeError, match="Another task is reading"):
                next(iter(room))
            states = [room.state]
            assert room.send("typing")
            assert isinstance(waiting.result(), Message)
        first.close()  # type: ignore[attr-defined]
        states.append(room.state)
        assert states == [ChannelState.JOINED, ChannelState.LEFT]


def test_a_loop_may_outlive_its_client(ann: SyncClient) -> None:
    with ann:
        room = ann.join("/chat/1")
        room.send("typing")
        reading = iter(room)
        assert isinstance(next(reading), Message)
    reading.close()  # type: ignore[attr-defined]
