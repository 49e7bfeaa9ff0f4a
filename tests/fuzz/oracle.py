"""What `docs/protocol/` says a client's message must be answered, written down a second time.

Another parser (the standard library's), other code, and nothing of ours but the names: where the
two disagree, one of them is wrong. `Peer` is the model of one connection to `tests/fuzz/app.py`.
"""

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

Json: TypeAlias = Any

MAX_DEPTH: Final = 64
MAX_BATCH: Final = 64
RESERVED: Final = frozenset(
    {
        "CONNECTION", "ACKNOWLEDGE", "EXIT_ACKNOWLEDGE", "UNAUTHORIZED", "NOT_FOUND", "EVICTED",
        "GOODBYE", "PONG",
    }
)  # fmt: skip
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# The escape of one, or one itself; and a number that may be out of some range.
_MAYBE_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_MAYBE_HUGE: Final = re.compile(r"[0-9]{18}|[0-9][eE]")
_HUGE: Final = object()


class Answer(NamedTuple):
    """One frame that must come. None stands for what the protocol leaves open."""

    action: str
    event: str
    channel: str
    request_id: str | None
    code: int | None = None
    payload: Json = None


class Unreadable(Exception):  # noqa: N818 - a finding, no error
    """No JSON in the protocol's sense, so that nothing of it can be read."""


def parse(data: str | bytes) -> Json:
    """Return the value of a JSON text; integers out of range are `_HUGE`.

    Raises:
        Unreadable: Not UTF-8, not JSON, NaN, Infinity, or a lone surrogate anywhere.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data
        # Looking closely costs several times as much as parsing, so only where there is cause.
        has_surrogates = _MAYBE_SURROGATE.search(text)
        is_long = _MAYBE_HUGE.search(text)
        return json.loads(
            text,
            parse_constant=_not_json,
            parse_int=_integer if is_long else None,
            parse_float=_number if is_long else None,
            object_pairs_hook=_mapping if has_surrogates else None,
        )
    except (ValueError, RecursionError):
        raise Unreadable from None


def _not_json(word: str) -> Json:
    raise ValueError(word)


def _integer(digits: str) -> Json:
    _number(digits)
    return int(digits) if len(digits) < 25 and -(2**63) <= int(digits) < 2**64 else _HUGE


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(digits)
    return value


def _mapping(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    for key, value in pairs:
        _whole(key)
        _whole(value)
    return dict(pairs)


def _whole(value: Json) -> None:
    if isinstance(value, str) and _SURROGATE.search(value):
        raise ValueError("a lone surrogate")
    if isinstance(value, list):
        for item in value:
            _whole(item)


def _depth(value: Json) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _holds_huge(value: Json) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_huge, value.values()))
    return any(map(_holds_huge, value)) if isinstance(value, list) else value is _HUGE


def is_name(value: Json) -> bool:
    """Whether this may stand in the envelope."""
    return isinstance(value, str) and 1 <= len(value) <= 255 and not _CONTROL.search(value)


def is_channel(name: str) -> bool:
    """Whether it may be a channel's name, given that it is a name."""
    return name.startswith("/") and all(name[1:].split("/"))


def is_room(name: str) -> bool:
    """Whether the app has a lobby for it."""
    return name.startswith("/room/") and name.count("/") == 2


def readable(value: Json) -> str | None:
    """Return a name, if it is one."""
    return value if is_name(value) else None


@dataclass
class Verdict:
    """What has to come of one input.

    Args:
        answers: The frames, in order.
        valid: Whether it was taken; over SSE: 204, else 400.
    """

    answers: list[Answer]
    valid: bool


class Peer:
    """One connection: what it has joined, and what it must be answered."""

    def __init__(self) -> None:
        self.rooms: set[str] = set()
        self.said: Counter[str] = Counter()

    def frame(self, data: str | bytes) -> Verdict:
        """One WebSocket message."""
        return self._judge(data, is_array_allowed=False)

    def body(self, data: bytes) -> Verdict:
        """Judge the body of one POST: a message, or an array of them that is taken whole or not."""
        return self._judge(data, is_array_allowed=True)

    def _judge(self, data: str | bytes, *, is_array_allowed: bool) -> Verdict:
        try:
            value = parse(data)
        except Unreadable:
            return self._invalid({})
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and not (is_array_allowed and 1 <= len(value) <= MAX_BATCH):
            return self._invalid({})
        for is_wrong in (_is_broken, _is_deep, _holds_huge):
            for each in values:
                if is_wrong(each):
                    return self._invalid(each)
        return Verdict([self._answer(each) for each in values], valid=True)

    def _invalid(self, value: Json) -> Verdict:
        envelope = value if isinstance(value, dict) else {}
        channel = readable(envelope.get("channelName")) or "GATEWAY"
        request_id = readable(envelope.get("requestId"))
        if envelope.get("action") == "JOIN_CHANNEL":
            self.rooms.discard(channel)
            answer = Answer("SYSTEM", "UNAUTHORIZED", channel, request_id, 400)
        else:
            answer = Answer("ERROR", "INVALID_MESSAGE", channel, request_id, 400)
        return Verdict([answer], valid=False)

    def _answer(self, value: dict[str, Json]) -> Answer:
        if value["action"] == "ping":
            return Answer("SYSTEM", "PONG", "GATEWAY", readable(value.get("requestId")), None, {})
        name, request_id = value["channelName"], value["requestId"]
        answer = Answer("SYSTEM", "NOT_FOUND", name, request_id, 404)
        match value["action"]:
            case "JOIN_CHANNEL" if name == "GATEWAY":
                answer = Answer("SYSTEM", "ACKNOWLEDGE", name, request_id, None, {})
            case "JOIN_CHANNEL" if is_room(name):
                self.rooms.add(name)
                answer = Answer("SYSTEM", "ACKNOWLEDGE", name, request_id)
            case "LEAVE_CHANNEL":
                self.rooms.discard(name)
                answer = Answer("SYSTEM", "EXIT_ACKNOWLEDGE", name, request_id, None, {})
            case "BROADCAST" if name == "GATEWAY" or name in self.rooms:
                answer = self._event(value["event"], name, request_id, value["payload"])
            case "BROADCAST" if is_room(name):
                answer = Answer("ERROR", "UNAUTHORIZED_BROADCAST", name, request_id, 403)
        return answer

    def _event(self, event: str, name: str, request_id: str, payload: Json) -> Answer:
        if event == "echo":
            return Answer("SYSTEM", "echoed", name, request_id, None, payload)
        if name != "GATEWAY" and event == "say":
            self.said[name] += 1
            return Answer("SYSTEM", "taken", name, request_id)
        if name != "GATEWAY" and event == "show":
            return Answer("SYSTEM", "shown", name, request_id)
        if name != "GATEWAY" and event == "typed":
            if isinstance(payload.get("text"), str):
                return Answer("SYSTEM", "typed", name, request_id)
            return Answer("ERROR", "INVALID_MESSAGE", name, request_id, 422)
        return Answer("ERROR", "HANDLER_NOT_FOUND", name, request_id, 404)


def _is_deep(value: Json) -> bool:
    try:
        return _depth(value) > MAX_DEPTH
    except RecursionError:
        return True


def _is_broken(value: Json) -> bool:
    if not isinstance(value, dict):
        return True
    action, event, name = value.get("action"), value.get("event"), value.get("channelName")
    if action == "ping":
        return False
    if action not in ("JOIN_CHANNEL", "LEAVE_CHANNEL", "BROADCAST"):
        return True
    if not is_name(event) or not isinstance(name, str) or not is_name(name):
        return True
    if not is_name(value.get("requestId")) or not isinstance(value.get("payload"), dict):
        return True
    if not is_channel(name) and name != "GATEWAY":
        return True
    if action == "BROADCAST":
        return event in RESERVED or not isinstance(value.get("confirm", True), bool)
    return action == "JOIN_CHANNEL" and not _are_extensions(value)


def _are_extensions(value: dict[str, Json]) -> bool:
    since = value.get("since")
    if since is not None:
        if not isinstance(since, dict) or not is_name(since.get("epoch")):
            return False
        offset = since.get("offset")
        if type(offset) is not int or not 0 <= offset < 2**63:
            return False
    return value.get("presence") in (None, "diff")


def well_formed(text: str | bytes) -> dict[str, Json]:
    """Return a frame of the server, checked: strict JSON, the whole envelope, nothing ill-typed.

    Raises:
        AssertionError: It is not.
    """
    try:
        value = parse(text)
    except Unreadable:
        raise AssertionError(f"the server sent what is no JSON: {text[:400]!r}") from None
    assert isinstance(value, dict), value
    names = [value.get(field) for field in ("event", "channelName", "requestId")]
    assert all(map(is_name, names)), value
    assert value.get("action") in ("CONNECT", "SYSTEM", "BROADCAST", "PRESENCE", "ERROR"), value
    assert isinstance(value.get("payload"), dict), value
    if value["action"] == "ERROR":
        payload = value["payload"]
        assert payload["error"] == value["event"], value
        assert isinstance(payload["code"], int), value
        assert isinstance(payload["message"], str), value
    return value


def assert_answered(
    inputs: list[bytes], expected: list[Answer], frames: list[dict[str, Json]]
) -> None:
    """Every input has had its one answer, in order, and nothing else has come.

    Raises:
        AssertionError: Not so.
    """
    for data, answer, came in zip(inputs, expected, frames, strict=False):
        assert _fits(answer, came), f"{came}\n  instead of {answer}\n  to {data!r}"
    assert len(expected) == len(frames), (
        f"{len(frames)} answers instead of {len(expected)};"
        f" missing {expected[len(frames) :]}, beyond {frames[len(expected) :]}"
    )


def assert_answered_in_any_order(expected: list[Answer], frames: list[dict[str, Json]]) -> None:
    """Assert the same where several requests are under way at once."""
    left = list(frames)
    for answer in sorted(expected, key=lambda each: each.request_id is None):
        found = next((each for each in left if _fits(answer, each)), None)
        assert found is not None, f"no {answer} among {left}"
        left.remove(found)
    assert not left, f"beyond what was expected: {left}"


def _fits(answer: Answer, came: dict[str, Json]) -> bool:
    names = (came["action"], came["event"], came["channelName"])
    return (
        names == (answer.action, answer.event, answer.channel)
        and answer.request_id in (None, came["requestId"])
        and answer.code in (None, came["payload"].get("code"))
        and answer.payload in (None, came["payload"])
    )


def is_answer(came: dict[str, Json]) -> bool:
    """Whether a frame answers a request, and is not about another client."""
    return came["action"] in ("SYSTEM", "ERROR")
