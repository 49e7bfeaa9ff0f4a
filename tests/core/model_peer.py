"""A peer in memory that checks the order of what it is sent, and folds presence into a state."""

from dataclasses import dataclass
from typing import cast

from pondsocket import CloseCode, ServerActions
from pondsocket.adapter import Frame, Session
from pondsocket.testing import MemoryPeer
from pondsocket_common import (
    GATEWAY,
    Acknowledged,
    Evicted,
    Fault,
    Goodbye,
    Payload,
    PresenceDiff,
    PresenceEntry,
    PresenceList,
    Refused,
    ServerMessage,
)

from tests.core.model import Line
from tests.core.model_script import Join, Leave, Say

Shown = tuple[str, str]


def mark_of(shown: Payload) -> str:
    return cast(str, shown["mark"])


@dataclass
class View:
    """What a peer knows of one channel.

    Args:
        shown: By ref, what the members show; None: no diffs were asked for.
        listed: The last list of presence, if one has come since it joined.
        latest: The number of the last reply or broadcast.
    """

    is_member: bool = False
    shown: dict[str, Shown] | None = None
    listed: list[str] | None = None
    latest: int = -1


class ModelPeer(MemoryPeer):
    """A client that receives everything at once; what must never come is a fault."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.views: dict[str, View] = {}
        self.lines: list[tuple[str, Line]] = []
        self.marks: list[str] = []
        self.faults: list[str] = []
        self.asked: dict[str, Join | Say | Leave] = {}
        self.answered: dict[str, list[str]] = {}
        self.has_begun = False
        self._has_ended = False

    def offer(self, frame: Frame) -> bool:
        taken = super().offer(frame)
        self._hear()
        return taken

    def end(
        self, code: CloseCode, reason: str, *, abort: bool, goodbye: Frame | None = None
    ) -> None:
        super().end(code, reason, abort=abort, goodbye=goodbye)
        self._hear()

    def _hear(self) -> None:
        for message in self.drain():
            try:
                self.lines.append((message.channel_name, self._read(message)))
            except AssertionError as fault:  # raised here, it would reach the handler that sent it
                self.faults.append(f"{message}: {fault!r}")

    def view(self, channel: str) -> View:
        return self.views.setdefault(channel, View())

    def is_in(self, channel: str) -> bool:
        return self.session.is_open and self.view(channel).is_member

    def _read(self, message: ServerMessage) -> Line:
        assert not self._has_ended, "nothing follows a GOODBYE"
        assert self.has_begun is (message.action is not ServerActions.CONNECT), "CONNECT is first"
        self.has_begun = True
        match message.action:
            case ServerActions.CONNECT:
                return ("CONNECTION",)
            case ServerActions.PRESENCE:
                return self._presence(message, self.view(message.channel_name))
            case ServerActions.BROADCAST:
                assert self.view(message.channel_name).is_member, "a broadcast is for members"
                return ("news", self._in_order(message))
            case ServerActions.ERROR:
                assert isinstance(message.payload, Fault)
                self._answer(message, Say)
                return (message.payload.error, message.request_id)
            case ServerActions.SYSTEM:
                return self._system(message, self.view(message.channel_name))

    def _system(self, message: ServerMessage, view: View) -> Line:
        match message.event:
            case "ACKNOWLEDGE":
                assert isinstance(message.payload, Acknowledged)
                asked = self._answer(message, Join)
                view.is_member, view.listed, view.shown = True, None, None
                state = message.payload.presence
                assert (state is not None) is (isinstance(asked, Join) and asked.diffs)
                if state is None:
                    return (message.event, message.request_id, None)
                assert not state.updates
                assert not state.leaves
                view.shown = {entry.ref: shown_by(entry) for entry in state.joins}
                return (message.event, message.request_id, sorted(view.shown.values()))
            case "UNAUTHORIZED":
                assert isinstance(message.payload, Refused)
                self._answer(message, Join)
                view.is_member = False
                return (message.event, message.request_id, message.payload.code)
            case "NOT_FOUND":
                self._answer(message, Join, Say)
                assert not view.is_member
                return (message.event, message.request_id)
            case "EXIT_ACKNOWLEDGE":
                self._answer(message, Leave)
                view.is_member = False
                return (message.event, message.request_id)
            case "EVICTED":
                assert isinstance(message.payload, Evicted)
                assert view.is_member, "only members are evicted"
                view.is_member = False
                return (message.event, message.payload.reason)
            case "GOODBYE":
                assert isinstance(message.payload, Goodbye)
                assert message.channel_name == GATEWAY
                self._has_ended = True
                return (message.event, message.payload.code)
            case "answer":
                asked = self.asked[message.request_id]
                assert asked.channel == message.channel_name
                if isinstance(asked, Say):
                    self._answer(message, Say)
                else:
                    assert "ACKNOWLEDGE" in self.answered[message.request_id]
                return (message.event, message.request_id, self._in_order(message))
            case unknown:
                raise AssertionError(f"the server does not send {unknown}")

    def _answer(
        self, message: ServerMessage, *kinds: type[Join] | type[Say] | type[Leave]
    ) -> Join | Say | Leave:
        """Check that it is the first answer to a request of this peer, of the right kind."""
        asked = self.asked[message.request_id]
        assert isinstance(asked, kinds)
        assert asked.channel == message.channel_name
        answers = self.answered.setdefault(message.request_id, [])
        # A handler that has replied may still fail, and then says so.
        repeats = message.action is ServerActions.ERROR and answers == ["answer"]
        assert not answers or repeats, f"answered before: {answers}"
        answers.append(message.event)
        return asked

    def _in_order(self, message: ServerMessage) -> str:
        assert isinstance(message.payload, dict)
        view = self.view(message.channel_name)
        number = message.payload["number"]
        assert number > view.latest, "replies and broadcasts come in the order of sending"
        view.latest = number
        mark = mark_of(message.payload)
        assert mark not in self.marks, "once"
        self.marks.append(mark)
        return mark

    def _presence(self, message: ServerMessage, view: View) -> Line:
        assert view.is_member, "presence is for members"
        payload = message.payload
        if isinstance(payload, PresenceList):
            assert view.shown is None, "who asked for diffs gets no lists"
            view.listed = sorted(map(mark_of, payload.presence))
            changed = mark_of(payload.changed)
            assert changed in view.listed or message.event == "LEAVE"
            return (message.event, view.listed, changed)
        assert isinstance(payload, PresenceDiff)
        assert view.shown is not None, "diffs are for those who asked for them"
        return (message.event, *_fold(payload, view.shown))


def _fold(diff: PresenceDiff, shown: dict[str, Shown]) -> tuple[list[Shown], ...]:
    changes = [*diff.joins, *diff.updates, *diff.leaves]
    assert changes, "a diff says something"
    assert len({entry.ref for entry in changes}) == len(changes), "a change each"
    for entry in diff.joins:
        assert entry.ref not in shown
        shown[entry.ref] = shown_by(entry)
    for entry in diff.updates:
        assert shown[entry.ref][0] == entry.user
        shown[entry.ref] = shown_by(entry)
    for entry in diff.leaves:
        assert shown.pop(entry.ref) == shown_by(entry)
    return tuple(sorted(map(shown_by, each)) for each in (diff.joins, diff.updates, diff.leaves))


def shown_by(entry: PresenceEntry) -> Shown:
    return (entry.user, mark_of(entry.presence))
