"""The states of a writer: every event in every state."""

from itertools import product

import pytest
from pondsocket_asgi._transport.writer_states import WriterEvent, WriterState, advance

QUEUEING, FREE, FAILED = WriterState.QUEUEING, WriterState.FREE, WriterState.FAILED
CLOSING, LOST = WriterState.CLOSING, WriterState.LOST
# For each event what follows QUEUEING, FREE, FAILED, CLOSING and LOST.
FOLLOWING = {
    WriterEvent.WAIT: (QUEUEING, QUEUEING, FAILED, CLOSING, LOST),
    WriterEvent.REST: (FREE, FREE, FAILED, CLOSING, LOST),
    WriterEvent.FAIL: (FAILED, FAILED, FAILED, FAILED, LOST),
    WriterEvent.END: (CLOSING, CLOSING, FAILED, CLOSING, LOST),
    WriterEvent.LOSE: (LOST, LOST, LOST, LOST, LOST),
}


@pytest.mark.parametrize(("state", "event"), [*product(WriterState, WriterEvent)])
def test_each_event_in_each_state(state: WriterState, event: WriterEvent) -> None:
    expected = FOLLOWING[event][[QUEUEING, FREE, FAILED, CLOSING, LOST].index(state)]
    assert advance(state, event) is expected
