"""The table of `python -m tests.fuzz.cost`: what a client may send, and what bounds how often.

A new input is a new row.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pondsocket import Options
from pondsocket._connection.limits import ERRORS_PER_MESSAGE, extra_messages
from pondsocket_asgi._fastlane.small_frames import BURST, RATE
from pydantic import BaseModel, ValidationError

from tests.fuzz.cost_app import Either, Fits
from tests.fuzz.raw_sockets import BINARY, PING, PONG, TEXT, deflated, frame

Transport: TypeAlias = Literal["websocket", "sse"]
Judged: TypeAlias = Literal["all", "fast lane", "nowhere"]

DEFAULTS: Final = Options()
MESSAGE_BYTES: Final = DEFAULTS.max_message_bytes or 0
BODY_BYTES: Final = DEFAULTS.max_post_bytes or 0
# More in ten seconds close the connection.
REFUSALS: Final = ((DEFAULTS.max_refusals or 0) - 1) / 10
CHANNEL: Final = "/room/1"
CONT: Final = 0


@dataclass(frozen=True)
class Limit:
    """What bounds how often an input may come.

    Args:
        name: As the table prints it.
        burst: How many are taken at once.
        rate: How many a second are taken once the burst is spent.
        sample: How many may come at once to measure what one costs.
        refused: How many a second beyond that are refused without the end of the connection.
    """

    name: str
    burst: int
    rate: float
    sample: int
    refused: float = REFUSALS

    def per_second(self, tokens: int) -> float:
        """How many inputs a second one connection may send for ever."""
        return self.rate / tokens + self.refused


EVENTS: Final = Limit("events", DEFAULTS.event_burst, DEFAULTS.event_rate or 0, 200)
CONTROLS: Final = Limit("controls", DEFAULTS.control_burst, DEFAULTS.control_rate or 0, 150)
# Inputs that are never taken, each of which is a refusal.
REFUSED: Final = Limit("refusals", 0, 0.0, 50)
SMALL_FRAMES: Final = Limit("small frames", BURST, RATE, 1_000, refused=0.0)
# Of what belongs to no connection, only the server's speed bounds how often.
UNBOUND: Final = Limit("nothing", 0, 0.0, 100, refused=0.0)


@dataclass(frozen=True, kw_only=True)
class Input:
    """One row.

    Args:
        name: What the table calls it.
        data: A message, which is a text frame or the body of a POST; where `is_raw`, all that is
            written to the socket, in which `@ID@` stands for the id of the stream.
        transports: Those that it goes through.
        limit: What bounds how often it may come.
        messages: How many messages it is.
        faults: How much of it does not fit its handler's model.
        opening: Written once before, frames of a WebSocket.
        judged_on: Where too high a cost is a fault: `all`, only in the `fast lane`, or `nowhere`.
        sends_on: Whether the client goes on after it was sent a close frame.
        in_segments: Whether each byte is a TCP segment of its own.
        deflates: Whether the client offers permessage-deflate.
    """

    name: str
    data: bytes
    transports: tuple[Transport, ...] = ("websocket", "sse")
    limit: Limit = EVENTS
    messages: int = 1
    faults: int = 0
    is_raw: bool = False
    opening: bytes = b""
    judged_on: Judged = "all"
    sends_on: bool = False
    in_segments: bool = False
    deflates: bool = False

    @property
    def tokens(self) -> int:
        """How much one input takes of its limit."""
        return self.messages + extra_messages(self.data) + self.faults // ERRORS_PER_MESSAGE

    @property
    def sample(self) -> int:
        """How many of them are sent to measure what one costs."""
        return max(1, self.limit.sample // self.tokens // (10 if self.in_segments else 1))

    @property
    def per_second(self) -> float:
        """How many a second one connection may send for ever."""
        return self.limit.per_second(self.tokens)


def message(payload: str, event: str = "take", channel: str = CHANNEL) -> bytes:
    """An event with this JSON text as its payload."""
    return _envelope("BROADCAST", event, channel, payload)


def _envelope(action: str, event: str, channel: str, payload: str = "{}") -> bytes:
    names = json.dumps({"action": action, "event": event, "channelName": channel, "requestId": "1"})
    return f'{names[:-1]},"payload":{payload}}}'.encode()


def filled(
    item: str,
    head: str = '{"a":[',
    tail: str = "]}",
    *,
    size: int = MESSAGE_BYTES,
    of: Callable[[str], bytes] = message,
) -> bytes:
    """A message of at most so many bytes, with as many items in a list as there is room for."""
    room = size - len(of(head + tail)) + 1
    items = room // (len(item) + 1)
    return of(head + ",".join([item] * items) + tail)


def _misfit(payload: str) -> bytes:
    return message(payload, "fits")


def _union(payload: str) -> bytes:
    return message(payload, "either")


def _join(payload: str) -> bytes:
    return _envelope("JOIN_CHANNEL", "join", CHANNEL, payload)


def _nest(depth: int) -> str:
    return "[" * depth + "]" * depth


def faults_of(model: type[BaseModel], data: bytes) -> int:
    """How much of a message's payload does not fit a model."""
    try:
        model.model_validate(json.loads(data)["payload"])
    except ValidationError as error:
        return error.error_count()
    return 0


def _array(items: list[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


SMALL: Final = message('{"text":"hello"}')
LONG: Final = filled("", '{"text":"', "x" * 65_300 + '"}')
ROWS: Final = filled('{"id":17,"name":"Ann","tags":["a","b"],"ok":true}')
EXPENSIVE: Final = filled("{}", '{"b":1e30,"a":[')
MISFIT: Final = filled("1", of=_misfit)
UNION: Final = filled("{}", of=_union)

MESSAGES: Final = (
    Input(name="good, small", data=SMALL),
    Input(name="good, 64 KiB of text", data=LONG),
    Input(name="good, 64 KiB of rows", data=ROWS),
    Input(name="{}s beside 1e30", data=EXPENSIVE),
    Input(name="{}s", data=filled("{}")),
    Input(name="[]s", data=filled("[]")),
    Input(name="empty keys", data=filled('{"":0}')),
    Input(name="numbers of one digit", data=filled("0")),
    Input(name="integers of 19 digits", data=filled("1234567890123456789")),
    Input(name="integers of 20 digits", data=filled("12345678901234567890")),
    Input(name="integers too large", data=filled("98765432109876543210"), limit=REFUSED),
    Input(name="escapes", data=filled('"\\u00e9\\ud83d\\udc38"')),
    # With the payload itself and the list in it.
    Input(name="nests of 64", data=filled(_nest(62))),
    Input(name="nests of 65", data=filled(_nest(63)), limit=REFUSED),
    Input(name="one nest of 30,000", data=message('{"a":' + _nest(30_000) + "}"), limit=REFUSED),
    Input(name="JSON that breaks at its end", data=ROWS[:-1], limit=REFUSED),
    Input(name="no UTF-8 at its end", data=LONG[:-4] + b"\xff" + LONG[-3:]),
    Input(name="no fields", data=b"{}", limit=REFUSED),
    Input(name="nothing", data=b"", transports=("websocket",), limit=REFUSED),
    Input(
        name="no channel, 64 KiB", data=ROWS.replace(b'"channelName"', b'"c"'), limit=REFUSED
    ),
    Input(name="a name of the server's", data=message("{}", "GOODBYE"), limit=REFUSED),
    Input(name="a name of 60,000", data=message("{}", "e" * 60_000), limit=REFUSED),
    Input(
        name="a channel of 60,000", data=message("{}", channel="/" + "1" * 60_000), limit=REFUSED
    ),
    Input(name="a channel not joined", data=message("{}", channel="/room/2")),
    Input(name="a channel that is none", data=message("{}", channel="/nowhere")),
    Input(name="no such event", data=message("{}", "none")),
    Input(name="no such event, 64 KiB", data=filled("0", of=lambda p: message(p, "none"))),
    Input(name="32,000 faults", data=MISFIT, faults=faults_of(Fits, MISFIT)),
    Input(name="faults in a union", data=UNION, faults=faults_of(Either, UNION)),
    Input(name="a join refused", data=_envelope("JOIN_CHANNEL", "j", "/no/1"), limit=CONTROLS),
    Input(name="a join of nowhere", data=_envelope("JOIN_CHANNEL", "j", "/x"), limit=CONTROLS),
    Input(name="a join again", data=_join("{}"), limit=CONTROLS),
    Input(name="a join, 64 KiB of rows", data=filled('{"a":1}', of=_join), limit=CONTROLS),
    Input(name="a join, 64 KiB of {}s", data=filled("{}", of=_join), limit=CONTROLS),
    Input(name="a leave of nothing", data=_envelope("LEAVE_CHANNEL", "l", "/a"), limit=CONTROLS),
    Input(name="a ping, as a message", data=b'{"action":"ping","requestId":"1"}', limit=CONTROLS),
    Input(name="an array of 64", data=_array([SMALL] * 64), transports=("sse",), messages=64),
    Input(
        name="an array of 64 broken ones", data=_array([SMALL] * 63 + [b"{}"]), transports=("sse",),
        limit=REFUSED,
    ),
    Input(name="an array of 3 long ones", data=_array([LONG] * 3), transports=("sse",), messages=3),
    Input(
        name="an array of 3 expensive ones",
        data=_array([EXPENSIVE] * 3),
        transports=("sse",),
        messages=3,
    ),
)  # fmt: skip


# --- frames ---------------------------------------------------------------------------------------


def _raw(
    name: str,
    data: bytes,
    limit: Limit = SMALL_FRAMES,
    *,
    judged_on: Judged = "fast lane",
    opening: bytes = b"",
    deflates: bool = False,
    sends_on: bool = False,
    in_segments: bool = False,
) -> Input:
    return Input(
        name=name,
        data=data,
        transports=("websocket",),
        limit=limit,
        is_raw=True,
        opening=opening,
        judged_on=judged_on,
        sends_on=sends_on,
        in_segments=in_segments,
        deflates=deflates,
    )


BOMB: Final = frame(deflated(LONG), rsv=4)
FRAMES: Final = (
    _raw("a binary frame", frame(SMALL, BINARY), EVENTS, judged_on="all"),
    _raw("no UTF-8, binary", frame(LONG[:-3] + b"\xff}}", BINARY), REFUSED, judged_on="all"),
    _raw("pings", frame(b"", PING)),
    _raw("pings of 125 bytes", frame(b"p" * 125, PING)),
    _raw("pongs", frame(b"", PONG)),
    _raw("fragments of 1 byte", frame(b"x", CONT, fin=False), opening=frame(b"{", fin=False)),
    _raw("fragments of nothing", frame(b"", CONT, fin=False), opening=frame(b"", fin=False)),
    _raw("messages in two fragments", frame(SMALL[:9], fin=False) + frame(SMALL[9:], CONT), EVENTS),
    _raw("64 KiB, deflated", BOMB, EVENTS, judged_on="all", deflates=True),
    _raw("16 MiB, deflated", frame(deflated(b"x" * 16_000_000), rsv=4), EVENTS, deflates=True),
    _raw("pings among deflated", frame(b"", PING), deflates=True),
    _raw("on after the close frame", frame(SMALL), EVENTS, sends_on=True),
    _raw("on after it, in small frames", frame(b"", TEXT), EVENTS, sends_on=True),
    _raw("segments of 1 byte", frame(SMALL), EVENTS, judged_on="nowhere", in_segments=True),
)  # fmt: skip


# --- requests -------------------------------------------------------------------------------------


def _request(
    body: bytes, *, method: str = "POST", kind: str = "application/json", more: str = ""
) -> bytes:
    head = f"{method} /socket HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Connection-ID: @ID@\r\n{more}"
    return f"{head}Content-Type: {kind}\r\n\r\n".encode() + body


def _post(name: str, data: bytes, limit: Limit = REFUSED, judged_on: Judged = "all") -> Input:
    transports: tuple[Transport, ...] = ("sse",)
    return Input(
        name=name, data=data, limit=limit, transports=transports, is_raw=True, judged_on=judged_on
    )


def _sized(body: bytes, *, method: str = "POST", kind: str = "application/json") -> bytes:
    length = f"Content-Length: {len(body)}\r\n"
    return _request(body, method=method, kind=kind, more=length)


def _chunked(body: bytes) -> bytes:
    chunks = [body[at : at + 4_096] for at in range(0, len(body), 4_096)]
    text = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return _request(text + b"0\r\n\r\n", more="Transfer-Encoding: chunked\r\n")


REQUESTS: Final = (
    _post("one long text in 256 KiB", _sized(message('{"a":"' + "x" * 260_000 + '"}'))),
    _post("256 KiB of {}s beside 1e30", _sized(filled("{}", '{"b":1e30,"a":[', size=BODY_BYTES))),
    _post("256 KiB of rows", _sized(filled('{"id":1,"ok":true}', size=BODY_BYTES))),
    _post("300 KB, announced", _sized(b"x" * 300_000)),
    _post("300 KB, in chunks", _chunked(b"x" * 300_000)),
    _post("64 KiB in chunks", _chunked(ROWS), EVENTS),
    _post("another content type", _sized(SMALL, kind="text/plain")),
    _post("another content type, 64 KiB", _sized(ROWS, kind="text/plain")),
    _post("another method", _sized(SMALL, method="PUT"), UNBOUND, "nowhere"),
    _post("an unknown connection", _sized(SMALL).replace(b"@ID@", b"none"), UNBOUND, "nowhere"),
)  # fmt: skip

INPUTS: Final = (*MESSAGES, *FRAMES, *REQUESTS)
