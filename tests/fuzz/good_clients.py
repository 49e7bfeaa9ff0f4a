"""Well-behaved clients, and members of a room that listen while a server is fuzzed."""

import json
import threading
from typing import Any, Final, Self

from tests.fuzz.oracle import well_formed
from tests.fuzz.raw_sockets import (
    WAIT_SECONDS,
    Ended,
    RawEventStream,
    RawWebSocket,
    ask,
    frame,
    request,
)

SHARED: Final = "/room/shared"
JSON: Final = {"Content-Type": "application/json"}


def message(action: str, channel: str, event: str, request_id: str, payload: Any) -> bytes:
    """One message of a good client."""
    return json.dumps(
        {
            "action": action,
            "event": event,
            "channelName": channel,
            "requestId": request_id,
            "payload": payload,
        }
    ).encode()


class GoodClient:
    """A client that keeps to the protocol, over either transport."""

    def __init__(self, port: int, transport: str) -> None:
        self._port = port
        self.sock: RawWebSocket | RawEventStream
        if transport == "websocket":
            self.sock = RawWebSocket(port)
        else:
            self.sock = RawEventStream(port)
        self._count = 0
        hello = self.read()
        assert (hello["action"], hello["event"]) == ("CONNECT", "CONNECTION"), hello

    def read(self) -> dict[str, Any]:
        """Return the next message."""
        return well_formed(self.sock.text())

    def put(self, data: bytes) -> None:
        """Send a message; over SSE it has to be taken."""
        if isinstance(self.sock, RawWebSocket):
            self.sock.send(frame(data))
            return
        headers = JSON | {"X-Connection-ID": self.sock.connection_id, "Connection": "close"}
        answer = ask(self._port, request("POST", "/socket", headers, data))
        assert answer.status == 204, answer

    def call(self, action: str, channel: str, event: str, payload: Any) -> dict[str, Any]:
        """Send one and wait for its answer."""
        self._count += 1
        request_id = f"good{self._count}"
        self.put(message(action, channel, event, request_id, payload))
        while True:
            answer = self.read()
            if answer["requestId"] == request_id:
                return answer

    def join(self, channel: str) -> None:
        """Join a channel."""
        answer = self.call("JOIN_CHANNEL", channel, "join", {})
        assert answer["event"] == "ACKNOWLEDGE", answer

    def leave(self) -> None:
        """Go as a good client does, and see that the server ends the connection."""
        if isinstance(self.sock, RawWebSocket):
            self.sock.send(frame((1000).to_bytes(2), 8))
        else:
            headers = {"X-Connection-ID": self.sock.connection_id, "Connection": "close"}
            answer = ask(self._port, request("DELETE", "/socket", headers))
            assert answer.status == 204, answer
        try:
            while True:
                self.read()
        except Ended:
            pass
        with self.sock:
            self.sock.say_no_more()


class ListeningMember:
    """A member of the shared room. What is said there is numbered: no number may be missing."""

    def __init__(self, port: int, transport: str) -> None:
        self.transport = transport
        self.heard = 0
        self.failure: BaseException | None = None
        self._marks: set[str] = set()
        self._news = threading.Condition()
        self._is_leaving = False
        self._client = GoodClient(port, transport)
        self._client.join(SHARED)
        self._client.sock.wait_at_most(300)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        last: int | None = None
        try:
            while True:
                said = self._client.read()
                if said["event"] != "said":
                    assert said["event"] not in ("GOODBYE", "EVICTED"), said
                    continue
                number, payload = said["payload"]["n"], said["payload"]["payload"]
                assert last is None or number == last + 1, f"{number} after {last}: {said}"
                last = number
                with self._news:
                    self.heard += 1
                    if isinstance(payload, dict) and isinstance(payload.get("mark"), str):
                        self._marks.add(payload["mark"])
                    self._news.notify_all()
        except BaseException as failure:  # noqa: BLE001 - of a thread: shown by `expect`
            with self._news:
                if not (self._is_leaving and isinstance(failure, Ended)):
                    self.failure = failure
                self._news.notify_all()

    def expect(self, mark: str) -> None:
        """Wait until it has heard this, and everything that was said before.

        Raises:
            AssertionError: It has not, or something else was wrong.
        """
        with self._news:
            ready = lambda: mark in self._marks or self.failure is not None  # noqa: E731
            came = self._news.wait_for(ready, WAIT_SECONDS)
        if self.failure is not None:
            raise AssertionError(f"the listener over {self.transport}") from self.failure
        assert came, f"{mark} did not come over {self.transport}; {self.heard} others did"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self._is_leaving = True
        sock = self._client.sock
        with sock:
            try:
                if isinstance(sock, RawWebSocket):
                    sock.send(frame((1000).to_bytes(2), 8))
            except Ended:
                pass  # then `expect` has said so
            sock.say_no_more()
            self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
