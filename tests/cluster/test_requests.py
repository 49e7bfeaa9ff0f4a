"""Questions of one node to another, or to all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from pondsocket._cluster.requests import EVERYONE, NodeGone, Requests, address_of
from pondsocket.backplane import BackplaneUnavailable, Emit, PublishUncertain, Result

from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops


class Wire:
    """Carries what nodes emit, to the nodes of a topic."""

    def __init__(self) -> None:
        self.nodes: dict[str, Requests] = {}
        self.failure: Exception | None = None
        self.loses: set[str] = set()
        self.is_uncertain = False

    def add(
        self, op: Emit, on_result: Callable[[Result | Exception], None] = print, *, seconds: float
    ) -> None:
        if self.failure is not None:
            on_result(self.failure)
            return
        heard = [
            node
            for name, node in self.nodes.items()
            if op.topic in (EVERYONE, address_of(name)) and name not in self.loses
        ]
        for node in heard:
            node.take(op.data)
        if self.is_uncertain:
            on_result(PublishUncertain())
            return
        on_result(len(heard) + len(self.loses) * (op.topic == EVERYONE))


def start(wire: Wire, tasks: TaskGroup, name: str, answer: Any) -> Requests:
    node = Requests(name, wire, answer, lambda work: tasks.start_soon(work))  # type: ignore[arg-type]
    wire.nodes[name] = node
    return node


async def greet(question: Mapping[str, Any]) -> Mapping[str, Any]:
    await anyio.sleep(0.1)
    return {"hello": question["who"]}


async def fail(_: Mapping[str, Any]) -> Mapping[str, Any]:
    raise ValueError("no")


async def test_a_node_answers_another_one() -> None:
    wire = Wire()
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        start(wire, tasks, "two", greet)
        assert await one.ask("two", {"who": "ann"}, seconds=1) == {"hello": "ann"}
        answers = await one.ask_all({"who": "bob"}, seconds=1)
        assert answers == [{"hello": "bob"}] * 2


async def test_a_node_that_is_gone_is_known_at_once() -> None:
    wire = Wire()
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        begun = anyio.current_time()
        with pytest.raises(NodeGone):
            await one.ask("two", {"who": "ann"}, seconds=5)
        assert anyio.current_time() == begun


async def test_a_node_that_does_not_answer_in_time_is_an_error() -> None:
    wire = Wire()
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        start(wire, tasks, "two", fail)
        for ask in (one.ask("two", {}, seconds=2), one.ask_all({"who": "ann"}, seconds=2)):
            begun = anyio.current_time()
            with pytest.raises(BackplaneUnavailable, match="does not answer"):
                await ask
            assert anyio.current_time() - begun == 2


async def test_one_silent_node_is_enough_for_a_question_to_all_to_fail() -> None:
    wire = Wire()
    wire.loses.add("two")
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        start(wire, tasks, "two", greet)
        with pytest.raises(BackplaneUnavailable):
            await one.ask_all({"who": "ann"}, seconds=2)


@pytest.mark.parametrize("failure", [BackplaneUnavailable(), PublishUncertain()])
async def test_a_question_that_is_not_sent_fails_as_a_broadcast_does(failure: Exception) -> None:
    wire = Wire()
    wire.failure = failure
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        with pytest.raises(type(failure)):
            await one.ask("two", {}, seconds=5)


async def test_a_question_that_may_have_been_sent_is_answered_if_it_was() -> None:
    """A client that was told of a failure would send its message a second time."""
    wire = Wire()
    wire.is_uncertain = True
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        start(wire, tasks, "two", greet)
        assert await one.ask("two", {"who": "ann"}, seconds=5) == {"hello": "ann"}
        with pytest.raises(PublishUncertain):  # how many there are is not known
            await one.ask_all({"who": "ann"}, seconds=5)


async def test_an_answer_that_comes_too_late_is_dropped() -> None:
    wire = Wire()
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        start(wire, tasks, "two", greet)
        with pytest.raises(BackplaneUnavailable):
            await one.ask("two", {"who": "ann"}, seconds=0.05)
        await anyio.sleep(1)
        assert await one.ask("two", {"who": "bob"}, seconds=1) == {"hello": "bob"}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b'[2,"?","one",1,{}]', b'[1,"!","one",1]', b'[1,"!",1,[],2]'],
)
async def test_what_another_version_sends_is_left_out(data: bytes) -> None:
    wire = Wire()
    async with anyio.create_task_group() as tasks:
        one = start(wire, tasks, "one", greet)
        one.take(data)
        assert await one.ask("one", {"who": "ann"}, seconds=1) == {"hello": "ann"}
