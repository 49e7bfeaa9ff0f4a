"""Hostile HTTP requests to a real server, each with a look at what comes back."""

import re
from typing import Any, Final

from tests.fuzz.corpus import Corpus
from tests.fuzz.good_clients import JSON, SHARED
from tests.fuzz.input_counts import InputCount
from tests.fuzz.malformed import malformed
from tests.fuzz.oracle import (
    Answer,
    Peer,
    assert_answered_in_any_order,
    is_answer,
    well_formed,
)
from tests.fuzz.raw_sockets import Ended, RawEventStream, RawSocket, RawWebSocket, Response, request
from tests.fuzz.requests import RawRequest, Requests
from tests.fuzz.server_differences import ServerDifferences
from tests.fuzz.websocket_fuzzer import explained

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


class HTTPFuzzer:
    """One hostile client after the other."""

    def __init__(self, port: int, input_count: InputCount, differences: ServerDifferences) -> None:
        self._port = port
        self._input_count = input_count
        self._random = input_count.random
        self._corpus = Corpus(self._random, ["/room/a", "/room/b", SHARED], "h")
        self._requests = Requests(self._random, self._body)
        self._differences = differences
        self._syncs = 0
        self.said = 0

    def _body(self) -> tuple[str, bytes]:
        while True:
            array = self._random.random() < 0.3
            kind, body = self._corpus.array() if array else self._corpus.message()
            if len(body) < 60_000:  # what is longer is refused for it: see `_too_long`
                return kind, body

    def send_all(self, inputs: int) -> None:
        """Send so many inputs."""
        enough = self._input_count.count + inputs
        with explained(self._input_count):
            while self._input_count.count < enough:
                self._session(self._random.choice([1, 2, 4, 8]))

    def _session(self, volleys: int) -> None:
        with RawEventStream(self._port) as stream, RawWebSocket(self._port) as other:
            hello = well_formed(stream.text())
            assert hello["payload"]["connectionId"] == stream.connection_id, hello
            elsewhere = well_formed(other.text())["payload"]
            self._requests.live = stream.connection_id.encode()
            ids = [hello["payload"]["id"], elsewhere["connectionId"], elsewhere["id"]]
            self._requests.others = [each.encode() for each in ids]
            peer = Peer()
            for _ in range(volleys):
                self._send_batch(stream, peer)
            for _ in range(4 * volleys):
                self._malformed()
            for _ in range(volleys):
                self._handshake()
            self._too_long(stream)
            self._end(stream)
            self.said += peer.said[SHARED]

    def _send_batch(self, stream: RawEventStream, peer: Peer) -> None:
        raw_requests = [self._requests.raw_request() for _ in range(PIPELINE)]
        expected: list[Answer] = []
        start = 0
        for place, raw_request in enumerate(raw_requests, start=1):
            self._input_count.add(raw_request.kind, raw_request.text)
            if place == len(raw_requests) or (
                raw_request.leaves_body and not self._differences.is_patient
            ):
                expected += self._pipeline(raw_requests[start:place], peer)
                start = place
        came = self._answers(stream, len(expected))
        assert_answered_in_any_order(expected, came)

    def _pipeline(self, raw_requests: list[RawRequest], peer: Peer) -> list[Answer]:
        """Send them on one connection; gives what has to come on the stream."""
        expected: list[Answer] = []
        with RawSocket(self._port) as sock:
            sock.send(b"".join(raw_request.text for raw_request in raw_requests))
            for raw_request in raw_requests:
                answer = sock.response(has_body=not raw_request.is_head)
                if raw_request.body is None:
                    _assert_refused(raw_request, answer)
                    continue
                verdict = peer.body(raw_request.body)
                expected += verdict.answers
                assert answer.status == (204 if verdict.valid else 400), (
                    f"{answer}\n  to {raw_request}"
                )
        return expected

    def _answers(self, stream: RawEventStream, count: int) -> list[dict[str, Any]]:
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

    def _post(self, stream: RawEventStream, body: bytes) -> Response:
        headers = JSON | {"X-Connection-ID": stream.connection_id, "Connection": "close"}
        with RawSocket(self._port) as sock:
            sock.send(request("POST", "/socket", headers, body))
            return sock.response()

    def _malformed(self) -> None:
        kind, text = malformed(self._random)
        if not self._differences.bears_bytes and b"websocket" in text.lower():
            text = bytes(byte if byte < 128 else 63 for byte in text)
        self._input_count.add(kind, text)
        with RawSocket(self._port) as sock:
            try:
                sock.send(text)
                if self._random.random() < 0.2:
                    sock.abort()
                    return
                sock.say_no_more()
                if not self._differences.heeds_end:
                    sock.wait_at_most(IMPATIENCE)
                rest = sock.rest()
            except Ended:
                return
            except TimeoutError:
                assert not self._differences.heeds_end, "the server waits for a peer that has left"
                return
        statuses = {int(status) for status in _STATUS_LINE.findall(rest)}
        allowed = UNMOVED | self._differences.failures
        if self._differences.takes_lists and b"websocket, h2c" in text:
            allowed |= {101}
        assert statuses <= allowed, rest[:500]

    def _handshake(self) -> None:
        raw_request = self._requests.handshake()
        text = raw_request.text
        if not self._differences.bears_bytes or self._differences.failures:
            text = bytes(byte if byte < 128 else 63 for byte in text)
        self._input_count.add(raw_request.kind, text)
        with RawSocket(self._port) as sock:
            sock.send(text)
            answer = sock.response()
        _assert_refused(raw_request, answer)

    def _too_long(self, stream: RawEventStream) -> None:
        if self._random.random() < 0.7:
            return
        body = b" " * self._random.choice([262_145, 300_000, 1_000_000])
        if self._random.random() < 0.5:
            body = b'{"action":"ping","x":"' + b"a" * 70_000 + b'"}'
        self._input_count.add("body over the limit", body)
        headers = JSON | {"X-Connection-ID": stream.connection_id, "Connection": "close"}
        with RawSocket(self._port) as sock:
            sock.send(request("POST", "/socket", headers, body))
            answer = sock.response()
        assert answer.status == 413, answer

    def _end(self, stream: RawEventStream) -> None:
        how = self._random.choice(["delete", "reset", "end of file"])
        self._input_count.add(f"stream ended by {how}", how)
        if how == "delete":
            headers = {"X-Connection-ID": stream.connection_id, "Connection": "close"}
            with RawSocket(self._port) as sock:
                sock.send(request("DELETE", "/socket", headers))
                assert sock.response().status == 204
            assert self._post(stream, b"{}").status == 404
        elif how == "reset":
            stream.abort()


def _assert_refused(raw_request: RawRequest, answer: Response) -> None:
    assert answer.status in raw_request.statuses, f"{answer}\n  to {raw_request}"
    if answer.status == 204 or raw_request.is_head:
        return
    body = answer.json()
    assert set(body) == {"error", "code", "message"}, answer
    assert body["code"] == answer.status, answer
    if answer.status == 405:
        assert "allow" in answer.headers, answer
    if raw_request.kind == "GET of a page":
        assert "not found" in body["message"], answer
