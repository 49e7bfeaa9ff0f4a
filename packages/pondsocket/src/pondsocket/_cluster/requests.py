"""Questions of one node to another, or to all. Each node has an inbox, where answers arrive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any, Final

import anyio
from pondsocket_common import InvalidMessage, dump_json, load_json

from pondsocket._log import get_log
from pondsocket._runtime.loop import failure_of
from pondsocket._runtime.tasks import Work
from pondsocket.backplane import (
    SEPARATOR,
    BackplaneUnavailable,
    Emit,
    PublishUncertain,
    Result,
    Topic,
)

from .batches import Batches

_log: Final = get_log("pondsocket.cluster")

EVERYONE: Final[Topic] = f"{SEPARATOR}everyone"
_VERSION: Final = 1
_ANSWER_SECONDS: Final = 2.0
# For a question or an answer to leave this node. Without a link it is over sooner than a client
# stops to wait.
_SEND_SECONDS: Final = 2.0

Body = Mapping[str, Any]
Answer = Callable[[Body], Awaitable[Body]]


def address_of(node: str) -> Topic:
    """Return the topic that a node alone hears."""
    return f"{SEPARATOR}inbox{SEPARATOR}{node}"


class NodeGone(Exception):  # noqa: N818 - an answer
    """No node hears the inbox."""


class _Question:
    """A question that waits for its answers.

    Args:
        is_to_one: Whether it is for one node alone.
    """

    def __init__(self, *, is_to_one: bool) -> None:
        self.answers: list[Body] = []
        self.wanted: int | None = None  # how many; None: not known yet
        self.failure: Exception | None = None
        self.done = anyio.Event()
        self._is_to_one = is_to_one

    def sent(self, result: Result | Exception) -> None:
        """Take the result of its `Emit`."""
        if isinstance(result, Exception):
            self.failure = result
            if not isinstance(result, PublishUncertain) or not self._is_to_one:
                self.done.set()
                return
            self.wanted = 1  # if it was sent, the answer says so
        else:
            self.wanted = result if isinstance(result, int) else 0
        self.check()

    def check(self) -> None:
        """Note whether all answers are there."""
        if self.is_answered:
            self.done.set()

    @property
    def is_answered(self) -> bool:
        """Whether all answers are there."""
        return self.wanted is not None and len(self.answers) >= self.wanted


class Requests:
    """The questions of one node, and its answers to others.

    Args:
        answer: Answers a question of another node, or of this one.
        start: Runs the answer in a task of its own.
    """

    def __init__(
        self, node: str, batches: Batches, answer: Answer, start: Callable[[Work], None]
    ) -> None:
        self._node = node
        self._batches = batches
        self._answer = answer
        self._start = start
        self._numbers = count(1)
        self._questions: dict[int, _Question] = {}

    async def ask(self, node: str, question: Body, *, seconds: float) -> Body:
        """Ask one node.

        Raises:
            NodeGone: There is no such node.
            BackplaneUnavailable: It does not answer.
        """
        answers = await self._ask(address_of(node), question, seconds)
        if not answers:
            raise NodeGone
        return answers[0]

    async def ask_all(self, question: Body, *, seconds: float) -> list[Body]:
        """Ask all nodes, this one included.

        Raises:
            BackplaneUnavailable: Not all of them answer in time.
        """
        return await self._ask(EVERYONE, question, seconds)

    async def assigns(self, topic: Topic) -> dict[str, dict[str, Any]]:
        """Return the assigns of a topic's users on all nodes.

        Raises:
            BackplaneUnavailable: Not all nodes answer.
        """
        question = {"do": "assigns", "topic": topic}
        answers = await self.ask_all(question, seconds=_ANSWER_SECONDS)
        return {user: dict(assigns) for each in answers for user, assigns in each.items()}

    async def connection_count(self, endpoint: str) -> int:
        """Return how many connections an endpoint has, on all nodes.

        Raises:
            BackplaneUnavailable: Not all nodes answer.
        """
        question = {"do": "connections", "endpoint": endpoint}
        answers = await self.ask_all(question, seconds=_ANSWER_SECONDS)
        return sum(each["count"] for each in answers)

    async def _ask(self, topic: Topic, question: Body, seconds: float) -> list[Body]:
        number = next(self._numbers)
        asked = self._questions[number] = _Question(is_to_one=topic != EVERYONE)
        data = dump_json([_VERSION, "?", self._node, number, question])
        try:
            self._batches.add(Emit(topic, data), asked.sent, seconds=min(seconds, _SEND_SECONDS))
            with anyio.move_on_after(seconds):
                await asked.done.wait()
        finally:
            del self._questions[number]
        if not asked.is_answered:
            raise asked.failure or BackplaneUnavailable("Another server does not answer.")
        return asked.answers

    def take(self, data: bytes) -> None:
        """Take a question, or an answer."""
        try:
            fields = load_json(data)
        except InvalidMessage:
            return
        match fields:
            case [1, "?", str(asker), int(number), dict(body)]:
                self._start(lambda: self._reply(asker, number, body))
            case [1, "!", str(), int(number), dict(body)]:
                if (asked := self._questions.get(number)) is not None:
                    asked.answers.append(body)
                    asked.check()
            case _:
                _log.error("A request of another version was left out.")

    async def _reply(self, asker: str, number: int, question: Body) -> None:
        try:
            body = await self._answer(question)
            data = dump_json([_VERSION, "!", self._node, number, body])
        except Exception as error:  # noqa: BLE001 - boundary: another node's question
            _log.error("A question of another node failed.", exc_info=failure_of(error))
            return
        try:
            self._batches.add(Emit(address_of(asker), data), seconds=_SEND_SECONDS)
        except BackplaneUnavailable:
            _log.warning("The answer to another node's question is lost: too much waits.")
