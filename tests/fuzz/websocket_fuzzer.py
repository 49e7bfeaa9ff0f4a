"""Hostile WebSocket frames to a real server, each with a look at what comes back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.fuzz import frames
from tests.fuzz.corpus import Corpus
from tests.fuzz.good_clients import SHARED, message
from tests.fuzz.input_counts import InputCount
from tests.fuzz.oracle import Answer, Peer, assert_answered, is_answer, well_formed
from tests.fuzz.raw_sockets import CLOSE, DEFLATE, Ended, RawWebSocket, frame
from tests.fuzz.server_differences import ServerDifferences

# As many as a browser might send at once; the answers fit into the socket's buffers.
BATCH = 32
# For servers that wait for all of a frame before they look at it.
IMPATIENCE = 0.2


@contextmanager
def explained(input_count: InputCount) -> Iterator[None]:
    """Say, with a failure, how to see it again."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as failure:
        failure.add_note(input_count.reproduce())
        raise


class WebSocketFuzzer:
    """One hostile client after the other."""

    def __init__(self, port: int, input_count: InputCount, differences: ServerDifferences) -> None:
        self._port = port
        self._input_count = input_count
        self._random = input_count.random
        self._differences = differences
        self._rooms = [f"/room/{name}" for name in ("a", "b", "ž", "%", "\U0001f438")]
        self._corpus = Corpus(self._random, [*self._rooms, SHARED], "w")
        self._syncs = 0
        self.said = 0

    def send_all(self, inputs: int) -> None:
        """Send so many inputs."""
        enough = self._input_count.count + inputs
        with explained(self._input_count):
            while self._input_count.count < enough:
                self._session(self._random.choice([1, 2, 8, 32, 128]))

    def _session(self, messages: int) -> None:
        offer = DEFLATE if self._random.random() < 0.2 else {}
        with RawWebSocket(self._port, offer) as sock:
            hello = well_formed(sock.text())
            assert (hello["action"], hello["event"]) == ("CONNECT", "CONNECTION"), hello
            peer = Peer()
            self._enter(sock, peer)
            while messages > 0:
                self._send_batch(sock, peer, min(messages, BATCH))
                messages -= BATCH
            endings: list[Callable[[RawWebSocket], None]] = [
                self._fatal, self._fatal, self._fatal, self._polite, self._reset, self._cut,
            ]  # fmt: skip
            self._random.choice(endings)(sock)
            self.said += peer.said[SHARED]

    def _enter(self, sock: RawWebSocket, peer: Peer) -> None:
        """Join as a good client does, so that some of what follows is an event of a member."""
        rooms = self._random.sample([*self._rooms, SHARED], self._random.choice([0, 1, 3]))
        joins = [message("JOIN_CHANNEL", room, "join", f"enter {room}", {}) for room in rooms]
        sock.send(b"".join(map(frame, joins)))
        expected = [answer for join in joins for answer in peer.frame(join).answers]
        assert_answered(joins, expected, self._answers(sock))

    def _send_batch(self, sock: RawWebSocket, peer: Peer, messages: int) -> None:
        expected: list[Answer] = []
        inputs: list[bytes] = []
        text = b""
        for _ in range(messages):
            kind, data = self._corpus.message()
            how, shape = frames.legal(self._random, data, is_deflated=sock.is_deflated)
            self._input_count.add(f"{kind}, {how}", data)
            expected += peer.frame(data).answers
            inputs.append(data)
            text += shape
        sock.send(text)
        assert_answered(inputs, expected, self._answers(sock))

    def _answers(self, sock: RawWebSocket) -> list[dict[str, Any]]:
        """Return what came before the answer to a ping that is sent last."""
        self._syncs += 1
        sync = f"sync{self._syncs}"
        sock.send(frame(b'{"action":"ping","requestId":"%s"}' % sync.encode()))
        answers: list[dict[str, Any]] = []
        try:
            while True:
                came = well_formed(sock.text())
                if came["requestId"] == sync:
                    return answers
                if is_answer(came):
                    answers.append(came)
        except Ended:
            raise AssertionError(
                f"closed with {sock.closed} after {answers[-3:]}, though nothing was fatal"
            ) from None

    # --- ends ---------------------------------------------------------------------------------

    def _fatal(self, sock: RawWebSocket) -> None:
        raw_request = frames.fatal(self._random, is_deflated=sock.is_deflated)
        self._input_count.add(raw_request.kind, raw_request.data)
        try:
            sock.send(raw_request.data)
        except Ended:
            pass  # it may have had enough before the last byte
        if not self._differences.is_exact:
            sock.wait_at_most(IMPATIENCE)
        self._read_to_end(sock)
        if self._differences.is_exact:
            assert sock.closed in raw_request.codes, (
                f"closed with {sock.closed}: not {set(raw_request.codes)}"
            )

    def _polite(self, sock: RawWebSocket) -> None:
        code = self._random.choice([1000, 1001, 1003, 1007, 1011, 3000, 4000, 4999])
        reason = self._random.choice([b"", b"bye", "ž".encode() * 61])
        self._input_count.add("close", (code, reason))
        sock.send(frame(code.to_bytes(2) + reason, CLOSE))
        self._read_to_end(sock)

    def _reset(self, sock: RawWebSocket) -> None:
        opcode, size = self._random.choice([(1, 11), (2, 60_000), (CLOSE, 125), (CLOSE, 2**20)])
        self._input_count.add("half a frame and a reset", (opcode, size))
        sock.send(frame(b'{"action":', opcode, announced=size))
        sock.abort()

    def _cut(self, sock: RawWebSocket) -> None:
        _, data = self._corpus.message()
        shape = frame(data, 2)
        self._input_count.add("part of a frame and an end of file", data)
        sock.send(shape[: self._random.randrange(len(shape))])
        sock.say_no_more()
        self._read_to_end(sock)

    def _read_to_end(self, sock: RawWebSocket) -> None:
        try:
            while True:
                well_formed(sock.text())
        except Ended:
            pass
        except TimeoutError:
            assert not self._differences.is_exact, "the server does not end this connection"
