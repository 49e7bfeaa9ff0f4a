"""One room has one name: typed parameters of patterns accept the canonical text alone."""

import logging
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, NewType

import pytest
from pondsocket import (
    Canonical,
    ConnectionContext,
    Depends,
    EventContext,
    GatewayContext,
    JoinContext,
    LeaveContext,
    PondSocket,
    UsageError,
)
from pondsocket.adapter import Refusal
from pondsocket.testing import connect
from pondsocket_common import Fault, NotFound, Refused
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints

from tests.core.members import settled
from tests.core.ponds import accept_join, admit, error_records, logged_error, request

ID = "0b1f6f0e-5d3c-4b7a-9c1d-0123456789ab"


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Point(BaseModel):
    x: int


RoomId = NewType("RoomId", int)


def build(kind: Any) -> PondSocket:
    """Return a pond with the pattern `/of/:it`, in which `it` has this type."""
    pond = PondSocket()

    async def join(ctx: JoinContext, it: Any) -> None:
        await ctx.accept()

    join.__annotations__["it"] = kind
    pond.create_endpoint("/socket", admit).create_channel("/of/:it", join)
    return pond


# --- types ---------------------------------------------------------------------------------------

INTEGERS = ["07", "+7", "7.0", " 7", "7 ", "7.", "0007", "0_7", "\uff17", "\u0667", "7e0", "0x7"]


@pytest.mark.parametrize(
    ("kind", "name", "others"),
    [
        (int, "7", INTEGERS),
        (int, "0", ["-0", "+0", "00"]),
        (int, "-1", ["-01", "\u22121", "- 1"]),
        (int, "1000", ["1_000", "1,000", "1e3"]),
        (RoomId, "7", INTEGERS),
        (Annotated[int, Field(ge=1)], "7", INTEGERS),
        (Annotated[int, AfterValidator(abs)], "7", ["-7", *INTEGERS]),
        (Annotated[int, BeforeValidator(int)], "7", INTEGERS),
        (int | None, "7", INTEGERS),
        (uuid.UUID, ID, [ID.upper(), ID.replace("-", ""), f"urn:uuid:{ID}", f"{{{ID}}}"]),
        (bool, "true", ["1", "on", "yes", "TRUE", "True", "t", "y"]),
        (bool, "false", ["0", "off", "no", "f"]),
        (Colour, "red", ["RED", "Red", " red"]),
        (Level, "1", ["01", "+1", "1.0", "LOW"]),
        (Literal["red"], "red", ["RED", "red "]),
        (date, "2026-01-02", ["1767312000", "2026-01-02T00:00:00", "2026-1-2", "2026-01-02 "]),
        (timedelta, "P1D", ["PT24H", "1 day", "86400", "P1DT0H", "P01D"]),
        (IPv4Address, "10.0.0.1", ["167772161", "010.0.0.1"]),
        (IPv6Address, "::1", ["0:0:0:0:0:0:0:1", "::0001", "0::1"]),
        (IPv6Address, "fe80::a", ["FE80::A", "fe80:0::a"]),
        (Annotated[str, StringConstraints(to_lower=True)], "red", ["Red", "RED"]),
        (Annotated[str, StringConstraints(strip_whitespace=True)], "red", ["red ", "\u00a0red"]),
        (Annotated[str, AfterValidator(str.lower)], "red", ["Red", "RED"]),
        (Annotated[str, Canonical(str.casefold)], "red", ["Red"]),
        (Annotated[float, Canonical(repr)], "1.5", ["1.50", "+1.5", "15e-1", "01.5"]),
        (Annotated[float, Field(ge=0), Canonical(repr)], "1.5", ["1.50"]),
        (Annotated[Decimal, Canonical(lambda price: f"{price:.2f}")], "1.50", ["1.5", "1.500"]),
        (Annotated[list[int], BeforeValidator(list), Canonical(lambda _: "12")], "12", []),
    ],
)
async def test_one_name_is_the_room_and_the_others_are_not_found(
    kind: Any, name: str, others: list[str]
) -> None:
    pond = build(kind)
    async with connect(pond, "/socket") as ann:
        assert (await ann.join(f"/of/{name}")).event == "ACKNOWLEDGE"
        for other in others:
            answer = await ann.join(f"/of/{other}")
            assert answer.event == "NOT_FOUND", other
            with pytest.raises(UsageError, match="No channel pattern"):
                pond.channel("/socket", f"/of/{other}")


@pytest.mark.parametrize(
    "kind",
    [
        *(float, Decimal, datetime, time, complex, list[int], dict[str, int], Point, int | bool),
        *(Annotated[float, Field(ge=0)], Annotated[float, AfterValidator(round)], float | None),
    ],
)
def test_a_type_whose_values_have_several_texts_is_refused_at_registration(kind: Any) -> None:
    with pytest.raises(UsageError, match=r"several texts .* `it: str`, or `it: Annotated\["):
        build(kind)


def test_a_mark_that_cannot_work_is_refused_at_registration() -> None:
    with pytest.raises(UsageError, match="a function of the value is needed, not 'x'"):
        Canonical("x")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="write it around the whole type"):
        build(Annotated[float, Canonical(repr)] | None)
    lobby = PondSocket().create_endpoint("/socket", admit).create_channel("/x/:it", accept_join)

    async def of_a_field(price: Annotated[float, Canonical(repr)]) -> None: ...

    with pytest.raises(UsageError, match="is no parameter of the pattern"):
        lobby.on_message("say", of_a_field)


async def test_a_validator_may_turn_one_word_into_another() -> None:
    numbers = {"one": "1", "two": "2"}
    pond = build(Annotated[str, BeforeValidator(numbers.__getitem__)])
    async with connect(pond, "/socket") as ann:
        assert (await ann.join("/of/one")).event == "ACKNOWLEDGE"


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Annotated[str, AfterValidator(lambda _: object())], "add Canonical"),
        (Annotated[str, AfterValidator(float)], "a float is not written in one way"),
        (Annotated[str, Canonical(lambda _: 7)], "returned 7, which is no str"),  # type: ignore[arg-type,return-value]
        (Annotated[str, Canonical({"x": "y"}.__getitem__)], "KeyError"),
    ],
)
async def test_a_value_that_has_no_text_does_not_fit_and_the_log_says_why(
    kind: Any, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    pond = build(kind)
    async with connect(pond, "/socket") as ann:
        assert (await ann.join("/of/1")).event == "NOT_FOUND"
    assert "A validator of 'it' failed" in logged_error(caplog)
    assert sentence in caplog.text


# --- what the peer is told -----------------------------------------------------------------------


async def test_the_answer_says_how_the_value_is_written() -> None:
    pond = build(int)
    async with connect(pond, "/socket") as ann:
        answer = (await ann.join("/of/07")).payload
        assert answer == NotFound(
            "/of/07", 404, "There is no channel /of/07 here. Its it is written 7."
        )
        plain = (await ann.join("/of/x")).payload
        assert plain == NotFound("/of/x", 404, "There is no channel /of/x here.")
        event = (await ann.answer(ann.send("BROADCAST", "/of/07", "say"))).payload
        assert isinstance(event, NotFound)
        assert event.message.endswith("Its it is written 7.")
    with pytest.raises(UsageError, match=r"matches '/of/07'\. Its it is written 7\."):
        pond.channel("/socket", "/of/07")


async def test_a_text_that_no_client_may_be_told_is_not_told() -> None:
    pond = build(Annotated[str, Canonical(lambda _: "\x00 a secret")])
    async with connect(pond, "/socket") as ann:
        answer = (await ann.join("/of/x")).payload
        assert answer == NotFound("/of/x", 404, "There is no channel /of/x here.")


async def test_a_path_that_is_not_canonical_is_404() -> None:
    pond = PondSocket()

    @pond.endpoint("/:tenant/socket")
    async def endpoint(ctx: ConnectionContext, tenant: int) -> None:
        ctx.accept()

    refused = await pond.connect(request("/07/socket"))
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.message) == (
        404,
        "Endpoint not found: /07/socket. Its tenant is written 7.",
    )
    assert not isinstance(await pond.connect(request("/7/socket")), Refusal)
    assert pond.find_endpoint("/07/socket") is None


# --- where else a parameter is read --------------------------------------------------------------


async def test_a_name_that_is_not_canonical_goes_to_the_next_pattern_that_fits() -> None:
    pond = build(int)
    named = pond.find_endpoint("/socket")
    assert named is not None
    lobby = named.create_channel("/of/:name", accept_join)
    async with connect(pond, "/socket") as ann:
        assert (await ann.join("/of/7")).event == "ACKNOWLEDGE"
        assert (await ann.join("/of/07")).event == "ACKNOWLEDGE"
        assert [channel.name for channel in await lobby.list_channels()] == ["/of/07"]


async def by_dependency(it: int) -> int:
    return it


async def of_the_room(ctx: EventContext, it: int) -> int:
    return it


async def of_a_dependency(ctx: EventContext, it: Annotated[int, Depends(by_dependency)]) -> int:
    return it


def plain(it: int) -> int:
    return it


@pytest.mark.parametrize("handler", [of_the_room, of_a_dependency, plain])
async def test_an_event_handler_takes_no_value_from_a_name_that_is_not_canonical(
    handler: Callable[..., object],
) -> None:
    pond = PondSocket()
    endpoint = pond.create_endpoint("/socket", admit)
    endpoint.create_channel("/of/:it", accept_join).on_message("which", handler)
    async with connect(pond, "/socket") as ann:
        for name in ("7", "07"):
            await ann.join(f"/of/{name}")
        answer = await ann.answer(ann.send("BROADCAST", "/of/7", "which"))
        assert answer.payload == {"result": 7}
        fault = (await ann.answer(ann.send("BROADCAST", "/of/07", "which"))).payload
        assert isinstance(fault, Fault)
        assert (fault.error, fault.code) == ("HANDLER_NOT_FOUND", 404)
        assert fault.message.endswith("Its it is written 7.")


async def test_a_parameter_of_an_event_name_is_canonical_too() -> None:
    pond = PondSocket()

    @pond.endpoint("/:tenant/socket")
    async def endpoint(ctx: ConnectionContext) -> None:
        ctx.accept()

    @endpoint.on_message("move/:n")
    async def move(ctx: GatewayContext, tenant: int, n: int) -> int:
        return tenant * n

    async with connect(pond, "/3/socket") as ann:
        answer = await ann.answer(ann.send("BROADCAST", "GATEWAY", "move/5"))
        assert answer.payload == {"result": 15}
        answer = await ann.answer(ann.send("BROADCAST", "GATEWAY", "move/05"))
        assert answer.event == "HANDLER_NOT_FOUND"


async def test_a_leave_handler_takes_no_value_from_a_name_that_is_not_canonical(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pond, left = PondSocket(), list[int]()
    lobby = pond.create_endpoint("/socket", admit).create_channel("/of/:it", accept_join)

    @lobby.on_leave
    async def leave(ctx: LeaveContext, it: int) -> None:
        left.append(it)

    async with connect(pond, "/socket") as ann:
        for name in ("7", "07"):
            await ann.join(f"/of/{name}")
            await ann.answer(ann.send("LEAVE_CHANNEL", f"/of/{name}", "leave"))
        await settled()
    assert left == [7]
    (record,) = error_records(caplog)
    assert "A leave handler failed (channel='/of/07'" in record.getMessage()


# --- names without a type ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("/room/caf\u00e9", "/room/cafe\u0301"),  # NFC and NFD
        ("/room/7", "/room/\uff17"),
        ("/room/a", "/room/A"),
        ("/room/a b", "/room/a%20b"),
        ("/room/a", "/room/%61"),
        ("/room/a", "/room/a "),
        ("/room/a", "/room/\u200ba"),
        ("/room/..", "/room/."),
        ("/room/\u0131", "/room/i"),
    ],
)
async def test_names_that_differ_in_a_character_are_two_rooms(one: str, two: str) -> None:
    pond = PondSocket()
    pond.create_endpoint("/socket", admit).create_channel("/room/:id", accept_join)
    async with connect(pond, "/socket") as ann, connect(pond, "/socket") as bob:
        assert (await ann.join(one)).event == (await bob.join(two)).event == "ACKNOWLEDGE"
        await pond.channel("/socket", one).broadcast("said", {})
        await settled()
        assert "said" in [message.event for message in ann.drain()]
        assert "said" not in [message.event for message in bob.drain()]


@pytest.mark.parametrize("name", ["/room/a/", "/room//a", "//room/a", "room/a", "/room/a\n"])
async def test_names_that_are_no_channels_are_refused(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    pond = PondSocket()
    pond.create_endpoint("/socket", admit).create_channel("/*", accept_join)
    async with connect(pond, "/socket") as ann:
        refused = (await ann.join(name)).payload
        assert isinstance(refused, Refused)
        assert refused.code == 400
    with pytest.raises(UsageError, match="No channel pattern"):
        pond.channel("/socket", name)
    assert not error_records(caplog)
