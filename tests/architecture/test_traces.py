"""How many source files a reader of an event, a broadcast or a join has to open, at most."""

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Final

import pytest

from tests.architecture import traces
from tests.servers import ROOT

CEILINGS: Final = {
    "event": 9,
    "broadcast": 12,
    "broadcast, with a history": 13,
    "join": 17,
    "join, with a history": 21,
}


@pytest.mark.parametrize("journey", traces.JOURNEYS)
def test_a_journey_goes_through_no_more_files(journey: str) -> None:
    files = traces.files_of(journey)
    assert len(files) <= CEILINGS[journey], traces.described(journey, files)


def test_a_journey_begins_at_the_transport_and_is_the_same_each_time() -> None:
    files = traces.files_of("join")
    first = "pondsocket/_connection/reading.py", "pondsocket_asgi/_transport/websocket.py"
    assert tuple(files)[:2] == first  # the one awaits the server's message, the other reads it
    assert list(files) == list(traces.files_of("join"))


def function_of(file: str) -> Callable[..., None]:
    """A function that calls another, if it is given one, and is in this file of a package."""

    def function(inner: Callable[[], object] | None = None) -> None:
        if inner is not None:
            inner()

    path = f"{ROOT}/packages/any/src/{file}"
    return FunctionType(function.__code__.replace(co_filename=path), {}, None, (None,))


def test_a_trace_counts_each_file_once_while_it_is_on() -> None:
    first, second, third = map(function_of, ["low/a.py", "low/b.py", "low/c.py"])
    trace = traces.Trace()
    before = sys.getprofile()
    first()
    trace.start()
    second(first)
    first()
    trace.stop()
    third()
    assert list(trace.files) == ["low/b.py", "low/a.py"]
    trace.start()
    third()
    trace.end()
    assert list(trace.files) == ["low/b.py", "low/a.py", "low/c.py"]
    assert sys.getprofile() is before


def test_a_trace_that_has_ended_counts_no_more() -> None:
    trace = traces.Trace()
    trace.end()
    trace.start()
    function_of("low/a.py")()
    assert trace.files == {}


def test_a_trace_counts_what_goes_on_when_a_call_returns() -> None:
    trace = traces.Trace()
    outer, inner = function_of("low/outer.py"), function_of("low/inner.py")

    def start() -> None:
        trace.start()
        inner()

    outer(start)
    trace.end()
    assert list(trace.files) == ["low/inner.py", "low/outer.py"]
