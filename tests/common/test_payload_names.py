"""The names of payload fields in a wire format, at any depth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import given
from pondsocket_common import (
    Acknowledged,
    Connected,
    Detail,
    ErrorTypes,
    Fault,
    InvalidMessage,
    Left,
    Payload,
    PayloadNames,
    PresenceDiff,
    PresenceEntry,
    PresenceEventTypes,
    PresenceList,
    Refused,
    ServerActions,
    ServerPayload,
    SystemEvents,
    payload_type,
)
from pydantic.alias_generators import to_camel

from tests.common import strategies as some
from tests.common.strategies import more


def kebab(name: str) -> str:
    return name.replace("_", "-")


NAMES = {
    "as they are": PayloadNames(str),
    "camel": PayloadNames(to_camel),
    "kebab": PayloadNames(kebab),
}
EACH = pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)


# Nothing nested in the server's payloads of today has a name of two words, or may be None.


@dataclass(frozen=True, slots=True)
class Corner:
    at_x: int
    at_y: int | None = None


@dataclass(frozen=True, slots=True)
class Side:
    from_corner: Corner
    further_corners: tuple[Corner, ...] = ()
    shown_as: Payload | None = None


@dataclass(frozen=True, slots=True)
class Shape(ServerPayload):
    first_side: Side
    all_sides: tuple[Side, ...] | None = None
    plain: Corner | None = None


@dataclass(frozen=True, slots=True)
class Short:
    x: int
    y: int | None = None


@dataclass(frozen=True, slots=True)
class Line(ServerPayload):
    ends: tuple[Short, ...]


SHAPE = Shape(
    Side(Corner(1)),
    (Side(Corner(2, 3), (Corner(4), Corner(5, 6)), {"at_x": {"at_y": None}}),),
    Corner(7, 8),
)
SHOWN = {
    "first-side": {"from-corner": {"at-x": 1}, "further-corners": []},
    "all-sides": [
        {
            "from-corner": {"at-x": 2, "at-y": 3},
            "further-corners": [{"at-x": 4}, {"at-x": 5, "at-y": 6}],
            # The application's names are its own.
            "shown-as": {"at_x": {"at_y": None}},
        }
    ],
    "plain": {"at-x": 7, "at-y": 8},
}


def on_the_wire(names: PayloadNames, payload: ServerPayload) -> Any:
    return orjson.loads(orjson.dumps(names.encode(payload)))


def test_fields_are_renamed_at_any_depth() -> None:
    assert on_the_wire(PayloadNames(kebab), SHAPE) == SHOWN


def test_a_format_may_keep_the_names() -> None:
    text = orjson.dumps(SHOWN).replace(b"-", b"_")
    assert on_the_wire(PayloadNames(str), SHAPE) == orjson.loads(text)


def test_none_is_left_out_at_any_depth_also_where_no_name_differs() -> None:
    assert on_the_wire(PayloadNames(str), Line((Short(1), Short(2, 3)))) == {
        "ends": [{"x": 1}, {"x": 2, "y": 3}]
    }
    assert on_the_wire(PayloadNames(str), Shape(Side(Corner(1)))) == {
        "first_side": {"from_corner": {"at_x": 1}, "further_corners": []}
    }
    assert on_the_wire(PayloadNames(kebab), Acknowledged()) == {}


@EACH
@pytest.mark.parametrize(
    "payload",
    [SHAPE, Shape(Side(Corner(1), (), {}), ()), Line(()), Line((Short(1), Short(2, 3)))],
    ids=["deep", "empty", "none", "tuple"],
)
def test_decode_is_the_inverse_of_encode_at_any_depth(
    names: PayloadNames, payload: ServerPayload
) -> None:
    assert names.decode(type(payload), on_the_wire(names, payload)) == payload


@pytest.mark.parametrize(
    ("action", "events", "payloads"),
    some.owned,
    ids=[f"{action} {events[0]}" for action, events, _ in some.owned],
)
def test_every_payload_of_the_server_is_decoded_as_it_was(
    action: ServerActions, events: list[str], payloads: Any
) -> None:
    # Each with all names: to make one up takes far longer than to encode and decode it.
    @more
    @given(payloads)
    def check(payload: ServerPayload) -> None:
        assert payload_type(action, events[0]) is type(payload)
        for kind, names in NAMES.items():
            assert names.decode(type(payload), on_the_wire(names, payload)) == payload, kind

    check()


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (
            Connected("u", "c", not_resumed=("/a",)),
            {"id": "u", "connection-id": "c", "not-resumed": ["/a"]},
        ),
        (
            Fault(ErrorTypes.RATE_LIMITED, 422, "no", (Detail(("a", 1), "b", "c"),), 5, 6),
            {
                "error": "RATE_LIMITED",
                "code": 422,
                "message": "no",
                "details": [{"loc": ["a", 1], "msg": "b", "type": "c"}],
                "retry-after-ms": 5,
                "error-count": 6,
            },
        ),
        (
            Acknowledged(presence=PresenceDiff((PresenceEntry("u", "r", {"is_in": 1}),))),
            {
                "presence": {
                    "joins": [{"user": "u", "ref": "r", "presence": {"is_in": 1}}],
                    "updates": [],
                    "leaves": [],
                }
            },
        ),
        (PresenceList(({"is_in": 1},), {}), {"presence": [{"is_in": 1}], "changed": {}}),
        (Left(), {}),
    ],
)  # fmt: skip
def test_payloads_of_the_server_in_kebab_case(payload: ServerPayload, shown: object) -> None:
    assert on_the_wire(PayloadNames(kebab), payload) == shown


# --- what is not valid ------------------------------------------------------------------------


def decode_shape(**changed: Any) -> str:
    """Decode it with a change, and return the field that is at fault."""
    with pytest.raises(InvalidMessage) as caught:
        NAMES["kebab"].decode(
            Shape, SHOWN | {kebab(name): value for name, value in changed.items()}
        )
    assert caught.value.field is not None
    return caught.value.field


def test_an_error_names_the_field_as_it_is_on_the_wire() -> None:
    assert decode_shape(plain={"at-x": "1"}) == "payload.plain.at-x"
    assert decode_shape(first_side={}) == "payload.first-side.from-corner"
    sides = [SHOWN["first-side"], {"from-corner": {"at-x": 1}, "further-corners": [{}]}]
    assert decode_shape(all_sides=sides) == "payload.all-sides.1.further-corners.0.at-x"


def test_a_name_in_python_is_no_name_on_the_wire() -> None:
    assert decode_shape(plain={"at_x": 1}) == "payload.plain.at-x"
    found = NAMES["kebab"].decode(Refused, {"code": 1, "message": "no", "retry_after_ms": 5})
    assert found == Refused(1, "no")


@pytest.mark.parametrize("given", [5, "x", None, [], [5], [[]]])
def test_what_is_no_object_where_one_belongs_is_refused(given: object) -> None:
    assert decode_shape(first_side=given).startswith("payload.first-side")


def test_only_names_of_fields_are_renamed() -> None:
    wires = {name: name.upper() for name in ("code", "message", "details", "loc", "msg", "type")}
    asked: list[str] = []

    def rename(name: str) -> str:
        asked.append(name)
        return wires.get(name, name)

    names = PayloadNames(rename)
    detail = {"LOC": [[]], "MSG": "a", "TYPE": "b"}
    with pytest.raises(InvalidMessage, match=r"^payload\.DETAILS\.0\.LOC\.0") as caught:
        names.decode(Refused, {"CODE": 1, "MESSAGE": "no", "DETAILS": [detail]})
    assert caught.value.field is not None
    assert all(name.isidentifier() for name in asked)
    assert "str" not in asked


# --- which type belongs to a message ----------------------------------------------------------


def test_a_message_of_the_application_has_no_type_of_payload() -> None:
    owned: list[tuple[ServerActions, str, Callable[..., ServerPayload]]] = [
        (ServerActions.SYSTEM, SystemEvents.UNAUTHORIZED, Refused),
        (ServerActions.PRESENCE, PresenceEventTypes.DIFF, PresenceDiff),
        (ServerActions.ERROR, ErrorTypes.RATE_LIMITED, Fault),
    ]
    for action, event, cls in owned:
        assert payload_type(action, event) is cls
        assert payload_type(ServerActions.BROADCAST, event) is None
    assert payload_type(ServerActions.SYSTEM, "an event's name") is None
