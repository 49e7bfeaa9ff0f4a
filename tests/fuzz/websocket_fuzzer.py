"""Shots at the WebSocket door of a real server, each with a look at what comes back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fuzz import frames
from tests.fuzz.corpus import Corpus
from tests.fuzz.manners import Manners
from tests.fuzz.oracle import Answer, Peer, assert_answered, is_answer, well_formed
from tests.fuzz.tally import Tally
from tests.fuzz.wire import CLOSE, DEFLATE, Ended, WebSocketLine, frame
from tests.fuzz.witness import SHARED, message

# As many as a browser might send at once; the answers fit into the socket's buffers.
BATCH = 32
# For servers that wait for all of a frame before they look at it.
IMPATIENCE = 0.2


@contextmanager
def explained(tally: Tally) -> Iterator[None]:
    """Say, with a failure, how to see it again."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as failure:
        failure.add_note(tally.reproduce())
        raise


class WebSocketShooter:
    """One hostile client after the other."""

    def __init__(self, port: int, tally: Tally, manners: Manners) -> None:
        self._port = port
        self._tally = tally
        self._random = tally.random
        self._manners = manners
        self._rooms = [f"/room/{name}" for name in ("a", "b", "ž", "%", "\U0001f438")]
        self._corpus = Corpus(self._random, [*self._rooms, SHARED], "w")
        self._syncs = 0
        self.said = 0

    def shoot(self, inputs: int) -> None:
        """Send so many inputs."""
        enough = self._tally.count + inputs
        with explained(self._tally):
            while self._tally.count < enough:
                self._session(self._random.choice([1, 2, 8, 32, 128]))

    def _session(self, messages: int) -> None:
        offer = DEFLATE if self._random.random() < 0.2 else {}
        with WebSocketLine(self._port, offer) as line:
            hello = well_formed(line.text())
            assert (hello["action"], hello["event"]) == ("CONNECT", "CONNECTION"), hello
            peer = Peer()
            self._enter(line, peer)
            while messages > 0:
                self._volley(line, peer, min(messages, BATCH))
                messages -= BATCH
            endings: list[Callable[[WebSocketLine], None]] = [
                self._fatal, self._fatal, self._fatal, self._polite, self._reset, self._cut,
            ]  # fmt: skip
            self._random.choice(endings)(line)
            self.said += peer.said[SHARED]

    def _enter(self, line: WebSocketLine, peer: Peer) -> None:
        """Join as a good client does, so that some of what follows is an event of a member."""
        rooms = self._random.sample([*self._rooms, SHARED], self._random.choice([0, 1, 3]))
        joins = [message("JOIN_CHANNEL", room, "join", f"enter {room}", {}) for room in rooms]
        line.send(b"".join(map(frame, joins)))
        expected = [answer for join in joins for answer in peer.frame(join).answers]
        assert_answered(joins, expected, self._answers(line))

    def _volley(self, line: WebSocketLine, peer: Peer, messages: int) -> None:
        expected: list[Answer] = []
        inputs: list[bytes] = []
        text = b""
        for _ in range(messages):
            kind, data = self._corpus.message()
            how, shape = frames.legal(self._random, data, is_deflated=line.is_deflated)
            self._tally.add(f"{kind}, {how}", data)
            expected += peer.frame(data).answers
            inputs.append(data)
            text += shape
        line.send(text)
        assert_answered(inputs, expected, self._answers(line))

    def _answers(self, line: WebSocketLine) -> list[dict[str, Any]]:
        """What came before the answer to a ping that is sent last."""
        self._syncs += 1
        sync = f"sync{self._syncs}"
        line.send(frame(b'{"action":"ping","requestId":"%s"}' % sync.encode()))
        answers: list[dict[str, Any]] = []
        try:
            while True:
                came = well_formed(line.text())
                if came["requestId"] == sync:
                    return answers
                if is_answer(came):
                    answers.append(came)
        except Ended:
            raise AssertionError(
                f"closed with {line.closed} after {answers[-3:]}, though nothing was fatal"
            ) from None

    # --- ends ---------------------------------------------------------------------------------

    def _fatal(self, line: WebSocketLine) -> None:
        shot = frames.fatal(self._random, is_deflated=line.is_deflated)
        self._tally.add(shot.kind, shot.data)
        try:
            line.send(shot.data)
        except Ended:
            pass  # it may have had enough before the last byte
        if not self._manners.is_exact:
            line.wait_at_most(IMPATIENCE)
        self._read_to_end(line)
        if self._manners.is_exact:
            assert line.closed in shot.codes, f"closed with {line.closed}: not {set(shot.codes)}"

    def _polite(self, line: WebSocketLine) -> None:
        code = self._random.choice([1000, 1001, 1003, 1007, 1011, 3000, 4000, 4999])
        reason = self._random.choice([b"", b"bye", "ž".encode() * 61])
        self._tally.add("close", (code, reason))
        line.send(frame(code.to_bytes(2) + reason, CLOSE))
        self._read_to_end(line)

    def _reset(self, line: WebSocketLine) -> None:
        opcode, size = self._random.choice([(1, 11), (2, 60_000), (CLOSE, 125), (CLOSE, 2**20)])
        self._tally.add("half a frame and a reset", (opcode, size))
        line.send(frame(b'{"action":', opcode, announced=size))
        line.abort()

    def _cut(self, line: WebSocketLine) -> None:
        _, data = self._corpus.message()
        shape = frame(data, 2)
        self._tally.add("part of a frame and an end of file", data)
        line.send(shape[: self._random.randrange(len(shape))])
        line.say_no_more()
        self._read_to_end(line)

    def _read_to_end(self, line: WebSocketLine) -> None:
        try:
            while True:
                well_formed(line.text())
        except Ended:
            pass
        except TimeoutError:
            assert not self._manners.is_exact, "the server does not end this connection"
