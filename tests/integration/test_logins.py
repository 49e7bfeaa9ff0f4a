"""One login for a host's pages, WebSockets and event streams."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pondsocket_common import EVENT_STREAM

from tests.integration.clients import Client, SSEClient, Transport, WebSocketClient
from tests.integration.connector import Connector, Refused
from tests.integration.test_examples import command
from tests.servers import ROOT, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

PASSWORDS: Final = {"ann": "correct horse", "bob": "battery staple"}


class Site:
    """An example, as one user's browser sees it."""

    def __init__(self, browser: Connector, server: Server, name: str) -> None:
        self.browser = browser
        self.server = server
        self.name = name
        self.url = f"{server.http_url}/ws/socket"

    async def log_in(self, user: str, password: str = "") -> httpx.Response:
        given = {"name": user, "password": password or PASSWORDS[user]}
        if self.name == "fastapi_login":
            return await self.browser.http.post(f"{self.server.http_url}/login", json=given)
        page = await self.browser.http.get(f"{self.server.http_url}/login")
        assert page.status_code == 200
        return await self._post("/login", given)

    async def log_out(self) -> httpx.Response:
        return await self._post("/logout", {})

    async def _post(self, path: str, form: dict[str, str]) -> httpx.Response:
        token = self.browser.http.cookies.get("csrftoken")
        headers = {} if token is None else {"x-csrftoken": token}
        return await self.browser.http.post(
            f"{self.server.http_url}{path}", data=form, headers=headers
        )

    async def me(self) -> tuple[int, Any]:
        answer = await self.browser.http.get(f"{self.server.http_url}/me")
        return answer.status_code, answer.json() if answer.status_code == 200 else None

    async def connect(self, transport: Transport) -> Client:
        return await self.browser(transport, self.url)


def manage(database: Path, *arguments: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "examples.django_login", *arguments],
        cwd=ROOT,
        env={"DATABASE": str(database), **environment},
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module", params=["fastapi_login", "django_login"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    name: str = request.param
    environment = {}
    if name == "django_login":
        database = tmp_path_factory.mktemp("django") / "db.sqlite3"
        environment["DATABASE"] = str(database)
        manage(database, "migrate", "-v0")
        for user, password in PASSWORDS.items():
            told = ("--noinput", "--username", user, "--email", f"{user}@example.com")
            manage(database, "createsuperuser", *told, DJANGO_SUPERUSER_PASSWORD=password)
    with Server(*command(name), env=environment) as server:
        yield server, name


@pytest.fixture
def site(connect: Connector, served: tuple[Server, str]) -> Site:
    return Site(connect, *served)


@pytest.fixture
async def other_site(served: tuple[Server, str]) -> AsyncIterator[Site]:
    """Return the same in another browser."""
    async with Connector() as browser:
        yield Site(browser, *served)


async def test_one_login_is_for_pages_websockets_and_event_streams(
    site: Site, other_site: Site, room: str
) -> None:
    chat = room.replace("/room", "/chat")
    assert (await site.log_in("ann")).status_code == 204
    assert (await other_site.log_in("bob")).status_code == 204
    assert await site.me() == (200, {"name": "ann"})
    clients = [
        await site.connect("websocket"),
        await site.connect("sse"),
        await other_site.connect("sse"),
    ]
    assert [client.hello["payload"]["id"] for client in clients] == ["ann", "ann", "bob"]
    for client in clients:
        assert (await client.join(chat))["event"] == "ACKNOWLEDGE"
    for client, user in zip(clients, ["ann", "ann", "bob"], strict=True):
        await client.send("BROADCAST", chat, "say", {"text": "hi"})
        for hearer in clients:
            said = await hearer.receive_event("BROADCAST", "said")
            assert said["payload"] == {"by": user, "text": "hi"}


async def test_nothing_is_for_clients_without_a_login(site: Site, transport: Transport) -> None:
    assert await site.me() == (401, None)
    with pytest.raises(Refused) as refused:
        await site.connect(transport)
    assert refused.value.status == 401
    assert refused.value.json()["message"] == "Log in first."
    for user, password in (("ann", "wrong"), ("eve", "correct horse")):
        assert (await site.log_in(user, password)).status_code == 401
    with pytest.raises(Refused) as refused:
        await site.connect(transport)
    assert refused.value.status == 401
    assert "Traceback" not in site.server.log()


async def test_a_login_that_is_made_up_is_none(site: Site, transport: Transport) -> None:
    for name in ("session", "sessionid"):
        site.browser.http.cookies.set(name, "a" * 32)
    assert await site.me() == (401, None)
    with pytest.raises(Refused) as refused:
        await site.connect(transport)
    assert refused.value.status == 401


async def test_the_end_of_a_login_ends_its_connections(site: Site, other_site: Site) -> None:
    await site.log_in("ann")
    await other_site.log_in("bob")
    kept = httpx.Cookies(site.browser.http.cookies)
    mine = [await site.connect("websocket"), await site.connect("sse")]
    theirs = await other_site.connect("sse")
    assert (await site.log_out()).status_code == 204
    for client in mine:
        goodbye = await client.receive_event("SYSTEM", "GOODBYE")
        assert goodbye["payload"]["code"] == 4401
        assert goodbye["payload"]["reconnect"] is True
        await client.wait_closed()
    assert isinstance(mine[0], WebSocketClient)
    assert mine[0].close_code == 4401
    assert isinstance(mine[1], SSEClient)
    assert (await mine[1].post_json({"action": "ping"})).status_code == 404
    assert not theirs.closed
    # Not even with a copy of the cookie.
    for cookies in (site.browser.http.cookies, kept):
        site.browser.http.cookies = cookies
        assert await site.me() == (401, None)
        for transport in ("websocket", "sse"):
            with pytest.raises(Refused) as refused:
                await site.connect(transport)
            assert refused.value.status == 401


async def test_the_users_other_devices_come_back(site: Site, other_site: Site) -> None:
    await site.log_in("ann")
    await other_site.log_in("ann")
    client = await other_site.connect("websocket")
    await site.log_out()
    await client.wait_closed()
    assert await other_site.me() == (200, {"name": "ann"})
    assert (await other_site.connect("websocket")).hello["payload"]["id"] == "ann"


async def test_a_stolen_connection_id_is_worth_nothing_without_the_session(
    site: Site, other_site: Site
) -> None:
    await site.log_in("ann")
    await other_site.log_in("bob")
    stream = await site.connect("sse")
    assert isinstance(stream, SSEClient)
    given = {"x-connection-id": stream.connection_id, "content-type": "application/json"}
    ping = b'{"action": "ping"}'
    thief = other_site.browser.http
    for _ in ("bob", "a stranger"):
        assert (await thief.post(site.url, content=ping, headers=given)).status_code == 404
        assert (await thief.delete(site.url, headers=given)).status_code == 404
        thief.cookies.clear()
    assert (await stream.post(ping)).status_code == 204
    assert (await stream.delete()).status_code == 204
    await stream.wait_closed()


async def test_a_page_of_another_site_cannot_use_the_login(site: Site) -> None:
    await site.log_in("ann")
    stream = await site.connect("sse")
    assert isinstance(stream, SSEClient)
    evil = {"origin": "https://evil.example"}
    http = site.browser.http
    opened = await http.get(site.url, headers={"accept": EVENT_STREAM, **evil})
    assert opened.status_code == 403
    assert (await stream.post(b'{"action": "ping"}', **evil)).status_code == 403
    url = f"{site.server.http_url}/login"
    form = await http.post(url, data={"name": "bob", "password": PASSWORDS["bob"]}, headers=evil)
    assert form.status_code in (403, 422)
    assert await site.me() == (200, {"name": "ann"})
