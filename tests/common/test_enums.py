"""The closed sets: their members are part of the protocol."""

import pytest
from pondsocket_common import (
    GATEWAY,
    RESERVED_EVENTS,
    ChannelReceiver,
    ClientActions,
    CloseCode,
    ErrorTypes,
    PresenceEventTypes,
    PresenceMode,
    ServerActions,
    SystemEvents,
)


@pytest.mark.parametrize(
    ("enum", "members"),
    [
        (ClientActions, "JOIN_CHANNEL LEAVE_CHANNEL BROADCAST"),
        (ServerActions, "CONNECT SYSTEM BROADCAST PRESENCE ERROR"),
        (PresenceEventTypes, "JOIN UPDATE LEAVE DIFF"),
        (
            ErrorTypes,
            """UNAUTHORIZED_CONNECTION UNAUTHORIZED_JOIN_REQUEST UNAUTHORIZED_BROADCAST
            INVALID_MESSAGE HANDLER_NOT_FOUND PRESENCE_ERROR CHANNEL_ERROR ENDPOINT_ERROR
            INTERNAL_SERVER_ERROR RATE_LIMITED TOO_MANY_CHANNELS""",
        ),
        (ChannelReceiver, "ALL_USERS ALL_EXCEPT_SENDER"),
        (
            SystemEvents,
            """ACKNOWLEDGE EXIT_ACKNOWLEDGE CONNECTION INTERNAL_ERROR NOT_FOUND UNAUTHORIZED
            EVICTED GOODBYE PONG""",
        ),
    ],
)
def test_members_are_these_and_equal_their_values(enum: type[ClientActions], members: str) -> None:
    assert [member.name for member in enum] == members.split()
    for member in enum:
        assert member == member.name
        assert f"{member}" == member.name


def test_the_gateway_and_the_presence_mode() -> None:
    assert GATEWAY == "GATEWAY"
    assert [*PresenceMode] == ["diff"]


def test_reserved_events_are_these() -> None:
    names = "CONNECTION ACKNOWLEDGE EXIT_ACKNOWLEDGE UNAUTHORIZED NOT_FOUND EVICTED GOODBYE PONG"
    assert set(names.split()) == RESERVED_EVENTS


@pytest.mark.parametrize(
    ("code", "number", "reconnect"),
    [
        ("NORMAL", 1000, False),
        ("GOING_AWAY", 1001, True),
        ("TOO_BIG", 1009, False),
        ("INTERNAL", 1011, True),
        ("RESTART", 1012, True),
        ("BAD_REQUEST", 4400, False),
        ("UNAUTHENTICATED", 4401, True),
        ("DISCONNECTED", 4403, False),
        ("NOT_FOUND", 4404, False),
        ("SLOW_CONSUMER", 4408, True),
        ("RATE_LIMITED", 4429, True),
        ("NO_CAPACITY", 4503, True),
    ],
)
def test_close_code_says_whether_to_come_back(code: str, number: int, reconnect: bool) -> None:
    assert CloseCode[code] == number
    assert CloseCode(number).reconnect is reconnect


def test_there_are_no_other_close_codes() -> None:
    assert len(CloseCode) == 12
