"""What hypothesis makes hostile input from: messages as values, and ASGI scopes."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from pondsocket_common import encode_client

from tests.common import strategies as some
from tests.common.test_any_input import near_texts, spoiled, wild_values
from tests.fuzz.corpus import EVENTS
from tests.fuzz.good_clients import SHARED

_rooms = st.sampled_from(["/room/a", SHARED, "GATEWAY", "/nowhere"])
_actions = st.sampled_from(["JOIN_CHANNEL", "LEAVE_CHANNEL", "BROADCAST", "BROADCAST", "ping"])
# A whole message in which one field may be anything.
_off_by_one = st.builds(
    lambda whole, wrong: json.dumps(whole | wrong),
    st.fixed_dictionaries(
        {
            "action": _actions,
            "event": st.sampled_from(EVENTS) | some.names,
            "channelName": _rooms | some.channel_names,
            "requestId": some.names,
            "payload": some.payloads | st.fixed_dictionaries({"text": wild_values}),
        }
    ),
    st.just({})
    | st.dictionaries(
        st.sampled_from(
            ["action", "event", "channelName", "requestId", "payload", "since", "confirm"]
        ),
        wild_values,
        max_size=1,
    ),
)
_whole = st.one_of(some.joins, some.leaves, some.broadcasts).map(encode_client)

messages: st.SearchStrategy[bytes] = st.one_of(
    _off_by_one.map(lambda text: text.encode("utf-8", "surrogatepass")),
    _off_by_one.map(lambda text: text.encode("utf-8", "surrogatepass")),
    near_texts.map(str.encode),
    spoiled(),
    _whole,
    st.binary(max_size=40),
)


@dataclass(frozen=True)
class RequestScope:
    """One call of the app: a scope, and what is received in it.

    Args:
        received: What `receive` gives, one after the other, before it says that the peer is gone.
    """

    scope: dict[str, Any]
    received: list[dict[str, Any]]


_EVIL = (b"origin", b"https://evil.example")
_names = st.sampled_from(
    [b"cookie", b"accept", b"content-type", b"content-length", b"x-connection-id", b"upgrade",
     b"last-event-id", b"sec-websocket-key", b"authorization", b"x-forwarded-for", b"connection"]
)  # fmt: skip
_values = st.binary(max_size=30) | st.sampled_from(
    [
        b"text/event-stream",
        b"application/json",
        b"a=b; c",
        b"-1",
        b"99999999999999999999",
        b"websocket",
    ]
)
_headers = st.lists(st.tuples(_names | st.binary(min_size=1, max_size=8), _values), max_size=6)
_scopes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["/socket", "/socket", "/socket", "/socket/", "/", ""])
        | some.texts,
        "query_string": st.binary(max_size=20)
        | st.sampled_from([b"", b"a=%ff", b"a=1&a=2", b"%", b"sse=unnamed", b"lastEventId=x"]),
        "headers": _headers
        | _headers.map(lambda pairs: [*pairs, (b"accept", b"text/event-stream")])
        | _headers.map(lambda pairs: [*pairs, _EVIL]),
    },
    optional={
        "root_path": st.sampled_from(["", "/", "/socket", "/x"]),
        "client": st.none() | st.tuples(some.texts, st.integers() | some.texts),
        "http_version": st.sampled_from(["1.0", "1.1", "2", "3", ""]),
        "scheme": st.sampled_from(["http", "https", "ws", ""]),
        "state": st.just({}),
    },
)
_methods = st.sampled_from(["GET", "GET", "POST", "POST", "DELETE", "OPTIONS", "HEAD", "PUT"])
_parts = st.fixed_dictionaries(
    {"type": st.just("http.request")},
    optional={"body": st.binary(max_size=40) | messages, "more_body": st.booleans()},
)
_frames = st.fixed_dictionaries(
    {"type": st.just("websocket.receive")},
    optional={"text": st.none() | some.texts, "bytes": st.none() | messages},
)

requests: st.SearchStrategy[RequestScope] = st.builds(
    lambda scope, method, received: RequestScope(
        {**scope, "type": "http", "method": method}, received
    ),
    _scopes,
    _methods | some.texts,
    st.lists(_parts, max_size=3),
)
handshakes: st.SearchStrategy[RequestScope] = st.builds(
    lambda scope, more, received: RequestScope({**scope, **more, "type": "websocket"}, received),
    _scopes,
    st.fixed_dictionaries(
        {},
        optional={
            "extensions": st.sampled_from([None, {}, {"websocket.http.response": {}}]),
            "subprotocols": st.lists(some.texts, max_size=2),
        },
    ),
    st.lists(_frames, max_size=3),
)
