"""What hypothesis makes messages from."""

from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from pondsocket_common import (
    GATEWAY,
    RESERVED_EVENTS,
    Acknowledged,
    ClientActions,
    ClientMessage,
    Connected,
    Detail,
    ErrorTypes,
    Evicted,
    Fault,
    Goodbye,
    Left,
    NotFound,
    Payload,
    Ping,
    Pong,
    Position,
    PresenceDiff,
    PresenceEntry,
    PresenceEventTypes,
    PresenceList,
    PresenceMode,
    Refused,
    ServerActions,
    ServerPayload,
    SystemEvents,
)

# The same examples on every run and every machine, and no limit on the time of each.
repeatable = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=50,
    # Without `explain`, which takes longer than a test's time limit.
    phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
)
# For what is cheap to make.
more = settings(repeatable, max_examples=200)

_NO_CONTROLS = st.characters(exclude_categories=["Cc", "Cs"])
_NO_SLASH = st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(_NO_CONTROLS, min_size=1, max_size=12) | st.just("x" * 255)
channel_names = st.lists(
    st.text(_NO_SLASH, min_size=1, max_size=6), min_size=1, max_size=4
).map(lambda segments: "/" + "/".join(segments))  # fmt: skip
integers = st.integers(-(2**63), 2**64 - 1)
positions = st.builds(Position, names, st.integers(0, 2**63 - 1))

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip
payloads: st.SearchStrategy[Payload] = st.dictionaries(texts, json_values, max_size=3)


def _messages(
    action: ClientActions, **more: st.SearchStrategy[Any]
) -> st.SearchStrategy[ClientMessage]:
    fields: dict[str, st.SearchStrategy[Any]] = {
        "action": st.just(action),
        "event": names,
        "channel_name": channel_names,
        "request_id": names,
        "payload": payloads,
        "since": st.none(),
        "presence": st.none(),
        "confirm": st.just(False),
    }
    return st.builds(ClientMessage, **(fields | more))


joins = _messages(
    ClientActions.JOIN_CHANNEL,
    since=st.none() | positions,
    presence=st.none() | st.just(PresenceMode.DIFF),
)
leaves = _messages(ClientActions.LEAVE_CHANNEL)
broadcasts = _messages(
    ClientActions.BROADCAST,
    event=names.filter(lambda name: name not in RESERVED_EVENTS),
    channel_name=channel_names | st.just(GATEWAY),
    confirm=st.booleans(),
)
client_messages = joins | leaves | broadcasts
pings = st.builds(Ping, request_id=st.none() | names)

_codes = st.integers(0, 4999)
_milliseconds = st.integers(0, 10**9)
_counts = st.integers(0, 2**63 - 1)


def _few(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=2).map(tuple)


_details = _few(
    st.builds(Detail, loc=_few(texts | st.integers(0, 99)), msg=texts, type=texts)
)  # fmt: skip
_entries = _few(st.builds(PresenceEntry, user=texts, ref=texts, presence=payloads))
_diffs = st.builds(PresenceDiff, joins=_entries, updates=_entries, leaves=_entries)
# Every payload that the server owns, and the action and events it stands under.
owned: list[tuple[ServerActions, list[str], st.SearchStrategy[ServerPayload]]] = [
    (
        ServerActions.CONNECT,
        [SystemEvents.CONNECTION],
        st.builds(
            Connected,
            id=texts,
            connection_id=texts,
            resumed=st.none() | _few(channel_names),
            not_resumed=st.none() | _few(channel_names),
        ),
    ),
    (
        ServerActions.SYSTEM,
        [SystemEvents.ACKNOWLEDGE],
        st.builds(
            Acknowledged,
            epoch=st.none() | names,
            offset=st.none() | _counts,
            recovered=st.none() | st.booleans(),
            response=json_values,
            presence=st.none() | _diffs,
        ),
    ),
    (ServerActions.SYSTEM, [SystemEvents.EXIT_ACKNOWLEDGE], st.builds(Left)),
    (
        ServerActions.SYSTEM,
        [SystemEvents.UNAUTHORIZED],
        st.builds(
            Refused,
            code=_codes,
            message=texts,
            details=st.none() | _details,
            retry_after_ms=st.none() | _milliseconds,
            error_count=st.none() | st.integers(1, 65_536),
        ),
    ),
    (
        ServerActions.SYSTEM,
        [SystemEvents.NOT_FOUND],
        st.builds(NotFound, channel=names, code=_codes, message=texts),
    ),
    (ServerActions.SYSTEM, [SystemEvents.EVICTED], st.builds(Evicted, reason=texts)),
    (
        ServerActions.SYSTEM,
        [SystemEvents.GOODBYE],
        st.builds(
            Goodbye, code=_codes, reason=texts, reconnect=st.booleans(), after_ms=_milliseconds
        ),
    ),
    (ServerActions.SYSTEM, [SystemEvents.PONG], st.builds(Pong)),
    (
        ServerActions.PRESENCE,
        [PresenceEventTypes.JOIN, PresenceEventTypes.UPDATE, PresenceEventTypes.LEAVE],
        st.builds(PresenceList, presence=_few(payloads), changed=payloads),
    ),
    (ServerActions.PRESENCE, [PresenceEventTypes.DIFF], _diffs),
    (
        ServerActions.ERROR,
        [*ErrorTypes],
        st.builds(
            Fault,
            error=st.sampled_from(ErrorTypes),
            code=_codes,
            message=texts,
            details=st.none() | _details,
            retry_after_ms=st.none() | _milliseconds,
            error_count=st.none() | st.integers(1, 65_536),
        ),
    ),
]
owned_events = {(action, event) for action, events, _ in owned for event in events}
