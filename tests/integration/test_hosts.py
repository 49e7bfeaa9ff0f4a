"""The scope, headers of the answer and tokens as subprotocols, in each host and on each server."""

from collections.abc import Iterator

import pytest
from websockets.typing import Subprotocol

from tests.integration.connector import Connector, Refused
from tests.servers import GRANIANS, HYPERCORNS, UVICORNS, Server, Setup

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

APP = "tests.integration.host_app:app"
SETUPS = (*UVICORNS[:2], UVICORNS[4], HYPERCORNS[0], GRANIANS[0])
HOSTS = ("fa", "st", "li")


@pytest.fixture(scope="module", params=SETUPS, ids=str)
def setup(request: pytest.FixtureRequest) -> Setup:
    """Return each way to run a server."""
    setup: Setup = request.param
    return setup


@pytest.fixture(scope="module")
def server(setup: Setup) -> Iterator[Server]:
    """Return each server; one for all tests of this module."""
    with Server(APP, *setup.arguments, server=setup.server) as server:
        yield server


async def test_a_host_is_read_and_headers_and_cookies_are_set(
    connect: Connector, server: Server, setup: Setup
) -> None:
    for path in ("/socket", *(f"/{host}/socket" for host in HOSTS)):
        url = server.http_url + path
        ann = await connect.websocket(url)
        assert ann.hello["payload"]["id"] == "ann"
        response = ann.connection.response
        assert response is not None
        cookies = [each.partition(";")[0] for each in response.headers.get_all("set-cookie")]
        found = (response.headers.get("x-node"), cookies)
        assert found == ((None, []) if setup.server == "granian" else ("a", ["a=1", "b=2"]))
        headers = {"accept": "text/event-stream"}
        async with connect.http.stream("GET", url, headers=headers) as stream:
            assert stream.status_code == 200
            assert stream.headers["x-node"] == "a"
            assert len(stream.headers.get_list("set-cookie")) == 2


async def test_the_client_for_browsers_is_served_by_each_of_them(
    connect: Connector, server: Server
) -> None:
    for mount in ("", *(f"/{host}" for host in HOSTS)):
        url = f"{server.http_url}{mount}/pondsocket.js"
        whole = await connect.http.get(url, headers={"accept-encoding": "identity"})
        assert (whole.status_code, "content-encoding" in whole.headers) == (200, False)
        packed = await connect.http.get(url, headers={"accept-encoding": "gzip"})
        assert (packed.headers["content-encoding"], packed.text) == ("gzip", whole.text)
        tag = whole.headers["etag"]
        again = await connect.http.get(url, headers={"if-none-match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        head = await connect.http.head(url, headers={"accept-encoding": "identity"})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.content))
    assert "Traceback" not in server.log()


async def test_an_http_error_of_any_framework_is_a_refusal_with_its_headers(
    connect: Connector, server: Server
) -> None:
    for way in ("pond", "starlette", "fastapi", "litestar"):
        url = f"{server.http_url}/fa/socket?refuse={way}"
        for opening in (connect.websocket(url), connect.sse(url)):
            with pytest.raises(Refused) as refused:
                await opening
            assert refused.value.status == 401
            assert refused.value.headers["www-authenticate"] == "Basic"
            assert refused.value.json()["message"] == "Sign in."
            assert "set-cookie" in refused.value.headers
    assert "Traceback" not in server.log()


async def test_a_token_is_read_from_the_offer_and_never_sent_back(
    connect: Connector, server: Server
) -> None:
    offer = [Subprotocol("bearer"), Subprotocol("s3cret")]
    for path in ("/socket", *(f"/{host}/socket" for host in HOSTS)):
        ann = await connect.websocket(server.http_url + path, subprotocols=offer)
        assert ann.connection.subprotocol == "bearer"
        read = (await ann.receive())["payload"]
        assert read == {"subprotocols": offer, "header": offer}
        response = ann.connection.response
        assert response is not None
        assert "s3cret" not in str(response.headers)
