"""The end of a connection, for each state in which it may come."""

import asyncio
from itertools import product
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import pytest
from pondsocket import EventContext
from pondsocket._connection.ending import Ending
from pondsocket._environment import Environment
from pondsocket._runtime.loop import Loop
from pondsocket._runtime.tasks import Work
from pondsocket._state.lifecycle import LIVES, SERVED, Life, LifeEvent
from pondsocket.adapter import Frame
from pondsocket.testing import MemoryPeer
from pondsocket_common import POND, CloseCode, ServerMessage

from tests.core.members import member
from tests.core.ponds import ROOM, build

# How a connection gets into each state.
WAYS: Final = {
    Life.ADMITTED: (),
    Life.OPEN: (LifeEvent.OPEN,),
    Life.RESTARTING: (LifeEvent.OPEN, LifeEvent.RESTART),
    Life.CLOSING: (LifeEvent.OPEN, LifeEvent.CLOSE),
    Life.OVER: (LifeEvent.OPEN, LifeEvent.END),
}


class Client:
    """A connection, which notes what it is sent."""

    def __init__(self) -> None:
        self.codec = POND
        self.environment = Environment()
        self.messages: list[ServerMessage] = []
        self.works: list[Work] = []

    def send_frame(self, frame: Frame) -> None:
        self.messages.append(frame.message)

    def spawn(self, work: Work) -> None:
        self.works.append(work)


class Endpoint:
    """Notes which sessions have ended, each with one leave handler."""

    def __init__(self) -> None:
        self.ended_sessions: list[Client] = []
        self.handlers_run = 0

    def ended(self, session: Client) -> list[Work]:
        self.ended_sessions.append(session)
        return [self._leave]

    async def _leave(self) -> None:
        self.handlers_run += 1


class EndedOutlet:
    """Notes how it was ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[CloseCode, str, bool]] = []
        self.goodbye: Frame | None = None

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        self.ends.append((code, reason, abort))
        self.goodbye = goodbye


class Setup:
    """A connection in some state."""

    def __init__(self, life: Life) -> None:
        self.client = Client()
        self.session: Any = self.client
        self.endpoint = Endpoint()
        self.outlet = EndedOutlet()
        self.ending: Ending[Any] = Ending(cast("Any", self.endpoint), 0.0)
        self.ending.outlet = cast("Any", self.outlet)
        for event in WAYS[life]:
            assert self.ending.advance(event)
        assert self.ending.life is life


@pytest.mark.parametrize(("life", "event"), [*product(Life, LifeEvent)])
async def test_what_is_not_in_the_table_changes_nothing(life: Life, event: LifeEvent) -> None:
    ending = Setup(life).ending
    following = LIVES.get((life, event))

    assert ending.advance(event) is (following is not None)
    assert ending.life is (following or life)


@pytest.mark.parametrize("life", Life)
async def test_a_restart_is_announced_once_to_clients_that_are_served(life: Life) -> None:
    setup = Setup(life)
    announced = [setup.ending.announce_restart(setup.session, 2.5) for _ in range(2)]
    is_announced = life is Life.OPEN
    assert announced == [is_announced, False]
    assert [message.event for message in setup.client.messages] == ["GOODBYE"] * is_announced
    assert setup.ending.life is (Life.RESTARTING if is_announced else life)


CODES: Final = (CloseCode.NORMAL, CloseCode.RESTART, CloseCode.SLOW_CONSUMER)


@pytest.mark.parametrize(("life", "code"), [*product(Life, CODES)])
async def test_a_close_ends_memberships_once_and_tells_the_client_once(
    life: Life, code: CloseCode
) -> None:
    setup = Setup(life)
    ending = setup.ending
    counts = life in (*SERVED, Life.ADMITTED)
    is_told = code is CloseCode.SLOW_CONSUMER or (
        # A client that was told of the restart is not told again.
        code is CloseCode.RESTART and life is not Life.RESTARTING
    )

    assert ending.close(setup.session, code, "because") is counts
    assert not ending.close(setup.session, CloseCode.INTERNAL, "again")

    assert setup.endpoint.ended_sessions == [setup.client] * counts
    assert (ending.code, ending.reason) == ((code, "because") if counts else (CloseCode.NORMAL, ""))
    assert ending.end(setup.session, None) is (life is not Life.OVER)
    assert not ending.end(setup.session, None)
    assert setup.endpoint.ended_sessions == [setup.client] * counts
    if counts:
        abort = code is CloseCode.SLOW_CONSUMER
        assert setup.outlet.ends == [(code, "because", abort)]
        assert (setup.outlet.goodbye is not None) is is_told


@pytest.mark.parametrize("life", [Life.ADMITTED, *SERVED])
async def test_a_client_that_is_gone_is_told_nothing_and_nothing_is_written_to_it(
    life: Life,
) -> None:
    setup = Setup(life)

    assert setup.ending.end(setup.session, None)

    assert setup.endpoint.ended_sessions == [setup.client]
    assert setup.outlet.ends == [(CloseCode.NORMAL, "", True)]
    assert setup.outlet.goodbye is None


async def test_what_the_end_cancels_is_cancelled_and_leave_handlers_run_once() -> None:
    setup = Setup(Life.OPEN)
    ending = setup.ending
    scope = anyio.CancelScope()
    ending.scopes[scope] = None
    async with anyio.create_task_group() as tasks:
        ending.close(setup.session, CloseCode.RESTART, "")
        assert not scope.cancel_called
        ending.end(setup.session, tasks)
    assert scope.cancel_called
    await ending.run_leave_work()
    assert setup.endpoint.handlers_run == 1


async def test_what_waits_for_the_end_goes_on_when_nothing_is_left() -> None:
    setup = Setup(Life.OPEN)
    ending, loop = setup.ending, Loop()
    loop.enter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ending.wait, loop)
        await anyio.wait_all_tasks_blocked()
        ending.end(setup.session, None)
        ending.finish()
    await ending.wait(loop)
    assert ending.outlet is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_handler_that_cancels_its_own_task_ends_its_connection_with_1011(
    waits: bool, anyio_backend: str
) -> None:
    setup = build()

    async def ask(ctx: EventContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            await anyio.lowlevel.checkpoint()

    async def talk() -> MemoryPeer:
        async with member(setup, "ann") as ann:
            ann.send("BROADCAST", ROOM, "ask")
            await ann.wait_closed()
        return ann

    setup.lobby.on_message("ask", ask)
    async with member(setup, "bob") as bob:
        ann = await asyncio.ensure_future(talk())
        assert ann.closed is CloseCode.INTERNAL
        assert ann.unread[-1].event == "GOODBYE"
        bob.send("BROADCAST", ROOM, "say")
        await bob.receive_event("say")
