"""Shots at the HTTP door of a real server, each with a look at what comes back."""

import re
from typing import Any, Final

from tests.fuzz.corpus import Corpus
from tests.fuzz.malformed import malformed
from tests.fuzz.manners import Manners
from tests.fuzz.oracle import (
    Answer,
    Peer,
    assert_answered_in_any_order,
    is_answer,
    well_formed,
)
from tests.fuzz.requests import Requests, Shot
from tests.fuzz.tally import Tally
from tests.fuzz.volleys import explained
from tests.fuzz.wire import Ended, Line, Response, StreamLine, WebSocketLine, request
from tests.fuzz.witness import JSON, SHARED

# As many requests on one connection before the first answer is read.
PIPELINE: Final = 16
# What a server may say to something that is hardly a request: never that it was taken, and never
# that it failed. 501 and 505 are about the request as well (RFC 9110, section 15.6).
UNMOVED: Final = frozenset(
    {400, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 426, 431, 501, 505}
)
# For servers that would wait some seconds for the rest of what was cut off.
IMPATIENCE: Final = 0.05
_STATUS_LINE: Final = re.compile(rb"^HTTP/1\.[01] (\d{3})", re.MULTILINE)


class HTTPShooter:
    """One hostile client after the other."""

    def __init__(self, port: int, tally: Tally, manners: Manners) -> None:
        self._port = port
        self._tally = tally
        self._random = tally.random
        self._corpus = Corpus(self._random, ["/room/a", "/room/b", SHARED], "h")
        self._requests = Requests(self._random, self._body)
        self._manners = manners
        self._syncs = 0
        self.said = 0

    def _body(self) -> tuple[str, bytes]:
        while True:
            array = self._random.random() < 0.3
            kind, body = self._corpus.array() if array else self._corpus.message()
            if len(body) < 60_000:  # what is longer is refused for it: see `_too_long`
                return kind, body

    def shoot(self, inputs: int) -> None:
        """Send so many inputs."""
        enough = self._tally.count + inputs
        with explained(self._tally):
            while self._tally.count < enough:
                self._session(self._random.choice([1, 2, 4, 8]))

    def _session(self, volleys: int) -> None:
        with StreamLine(self._port) as stream, WebSocketLine(self._port) as other:
            hello = well_formed(stream.text())
            assert hello["payload"]["connectionId"] == stream.connection_id, hello
            elsewhere = well_formed(other.text())["payload"]
            self._requests.live = stream.connection_id.encode()
            ids = [hello["payload"]["id"], elsewhere["connectionId"], elsewhere["id"]]
            self._requests.others = [each.encode() for each in ids]
            peer = Peer()
            for _ in range(volleys):
                self._volley(stream, peer)
            for _ in range(4 * volleys):
                self._malformed()
            for _ in range(volleys):
                self._knock()
            self._too_long(stream)
            self._end(stream)
            self.said += peer.said[SHARED]

    def _volley(self, stream: StreamLine, peer: Peer) -> None:
        shots = [self._requests.shot() for _ in range(PIPELINE)]
        expected: list[Answer] = []
        start = 0
        for place, shot in enumerate(shots, start=1):
            self._tally.add(shot.kind, shot.text)
            if place == len(shots) or (shot.leaves_body and not self._manners.is_patient):
                expected += self._pipeline(shots[start:place], peer)
                start = place
        came = self._answers(stream, len(expected))
        assert_answered_in_any_order(expected, came)

    def _pipeline(self, shots: list[Shot], peer: Peer) -> list[Answer]:
        """Send them on one connection; gives what has to come on the stream."""
        expected: list[Answer] = []
        with Line(self._port) as line:
            line.send(b"".join(shot.text for shot in shots))
            for shot in shots:
                answer = line.response(has_body=not shot.is_head)
                if shot.body is None:
                    _assert_refused(shot, answer)
                    continue
                verdict = peer.body(shot.body)
                expected += verdict.answers
                assert answer.status == (204 if verdict.valid else 400), f"{answer}\n  to {shot}"
        return expected

    def _answers(self, stream: StreamLine, count: int) -> list[dict[str, Any]]:
        """So many answers, and whatever else is there before that of a ping."""
        answers: list[dict[str, Any]] = []
        while len(answers) < count:
            came = well_formed(stream.text())
            if is_answer(came):
                answers.append(came)
        self._syncs += 1
        sync = f"sync{self._syncs}"
        body = b'{"action":"ping","requestId":"%s"}' % sync.encode()
        assert self._post(stream, body).status == 204
        while (came := well_formed(stream.text()))["requestId"] != sync:
            if is_answer(came):
                answers.append(came)
        return answers

    def _post(self, stream: StreamLine, body: bytes) -> Response:
        headers = JSON | {"X-Connection-ID": stream.connection_id, "Connection": "close"}
        with Line(self._port) as line:
            line.send(request("POST", "/socket", headers, body))
            return line.response()

    def _malformed(self) -> None:
        kind, text = malformed(self._random)
        if not self._manners.bears_bytes and b"websocket" in text.lower():
            text = bytes(byte if byte < 128 else 63 for byte in text)
        self._tally.add(kind, text)
        with Line(self._port) as line:
            try:
                line.send(text)
                if self._random.random() < 0.2:
                    line.abort()
                    return
                line.say_no_more()
                if not self._manners.heeds_end:
                    line.wait_at_most(IMPATIENCE)
                rest = line.rest()
            except Ended:
                return
            except TimeoutError:
                assert not self._manners.heeds_end, "the server waits for a peer that has left"
                return
        statuses = {int(status) for status in _STATUS_LINE.findall(rest)}
        assert statuses <= UNMOVED | self._manners.failures, rest[:500]

    def _knock(self) -> None:
        shot = self._requests.knock()
        text = shot.text
        if not self._manners.bears_bytes or self._manners.failures:
            text = bytes(byte if byte < 128 else 63 for byte in text)
        self._tally.add(shot.kind, text)
        with Line(self._port) as line:
            line.send(text)
            answer = line.response()
        _assert_refused(shot, answer)

    def _too_long(self, stream: StreamLine) -> None:
        if self._random.random() < 0.7:
            return
        body = b" " * self._random.choice([262_145, 300_000, 1_000_000])
        if self._random.random() < 0.5:
            body = b'{"action":"ping","x":"' + b"a" * 70_000 + b'"}'
        self._tally.add("body over the limit", body)
        headers = JSON | {"X-Connection-ID": stream.connection_id, "Connection": "close"}
        with Line(self._port) as line:
            line.send(request("POST", "/socket", headers, body))
            answer = line.response()
        assert answer.status == 413, answer

    def _end(self, stream: StreamLine) -> None:
        how = self._random.choice(["delete", "reset", "end of file"])
        self._tally.add(f"stream ended by {how}", how)
        if how == "delete":
            headers = {"X-Connection-ID": stream.connection_id, "Connection": "close"}
            with Line(self._port) as line:
                line.send(request("DELETE", "/socket", headers))
                assert line.response().status == 204
            assert self._post(stream, b"{}").status == 404
        elif how == "reset":
            stream.abort()


def _assert_refused(shot: Shot, answer: Response) -> None:
    assert answer.status in shot.statuses, f"{answer}\n  to {shot}"
    if answer.status == 204 or shot.is_head:
        return
    body = answer.json()
    assert set(body) == {"error", "code", "message"}, answer
    assert body["code"] == answer.status, answer
    if answer.status == 405:
        assert "allow" in answer.headers, answer
    if shot.kind == "GET of a page":
        assert "not found" in body["message"], answer
