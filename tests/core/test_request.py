"""The bearer token of a request to connect, and what is kept of the request."""

import gc
from base64 import urlsafe_b64encode
from typing import Literal, TypeAlias

import pytest
from pondsocket import ConnectionContext, PondSocket
from pondsocket.testing import connect

Transport: TypeAlias = Literal["websocket", "sse"]


async def token_of(
    *subprotocols: str, authorization: str | None = None, transport: Transport = "websocket"
) -> tuple[str | None, str | None]:
    """Return what the handler sees, and the subprotocol that the client is told."""
    pond = PondSocket()
    seen: list[str | None] = []

    @pond.endpoint("/socket")
    def socket(ctx: ConnectionContext) -> None:
        seen.append(ctx.token)
        ctx.accept()

    headers = [] if authorization is None else [("authorization", authorization)]
    async with connect(
        pond, "/socket", headers=headers, subprotocols=subprotocols, transport=transport
    ) as client:
        told = client.session.subprotocol
    return seen[0], told


def encoded(token: str) -> str:
    return "base64url.bearer." + urlsafe_b64encode(token.encode()).decode().rstrip("=")


@pytest.mark.parametrize("token", ["a", "ab", "abc", "abcd", "ey.J0/+=", "päss wörd", "?>?>"])
async def test_a_token_in_base64url_is_read_and_never_sent_back(token: str) -> None:
    assert await token_of("pond", encoded(token)) == (token, "pond")
    assert await token_of(encoded(token), "pond") == (token, "pond")
    assert await token_of(encoded(token)) == (token, None)


async def test_a_token_may_follow_bearer() -> None:
    assert await token_of("bearer", "abc") == ("abc", None)
    assert await token_of("pond", "bearer", "abc") == ("abc", "pond")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_token_comes_in_a_header(scheme: str, transport: Transport) -> None:
    found = await token_of(authorization=f"{scheme}  abc ", transport=transport)
    assert found == ("abc", None)


async def test_the_header_wins() -> None:
    assert await token_of("bearer", "other", authorization="Bearer abc") == ("abc", None)
    assert await token_of("bearer", "other", authorization="Basic YTpi") == ("other", None)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic YTpi", "abc"])
async def test_there_may_be_no_token(authorization: str | None) -> None:
    assert await token_of(authorization=authorization) == (None, None)


@pytest.mark.parametrize(
    "name",
    [
        "base64url.bearer.",
        "base64url.bearer.a",
        "base64url.bearer.a!b",
        "base64url.bearer._w",
        "base64url.bearer.\u00e4\u00e4",
        "base64URL.bearer.YWJj",
        "bearer",
        "pond",
    ],
)
async def test_what_cannot_be_read_is_no_token(name: str) -> None:
    assert (await token_of(name))[0] is None


async def test_no_parsed_cookies_are_kept_while_the_connection_lasts() -> None:
    pond = PondSocket()

    @pond.endpoint("/socket")
    def socket(ctx: ConnectionContext) -> None:
        assert ctx.cookies == {"session": "s"}
        ctx.accept()

    async with connect(pond, "/socket", headers=[("cookie", "session=s")]) as client:
        request = client.session.request
        assert {"session": "s"} not in gc.get_referents(request)
        assert request.cookies == {"session": "s"}
