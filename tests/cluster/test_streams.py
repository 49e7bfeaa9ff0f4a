"""Event streams behind a load balancer: a stream is on one node, its requests arrive at any."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from pondsocket import ConnectionContext, ConnectRequest, Options, PondSocket
from pondsocket._replica.connection_ids import new_id
from pondsocket.backplane.memory import MemoryHub
from pondsocket_asgi import PondASGIApp
from pondsocket_asgi.testing import ASGITestDriver, HTTPAnswer, SSESession
from pondsocket_common import dump_json

from tests.cluster.model_node import ModelNode
from tests.cluster.ponds import KEPT, PLAIN, SOCKET, ClusterPond, client, said, serving, told
from tests.virtual_time import jumping_loops

pytestmark = pytest.mark.anyio
anyio_backend = jumping_loops

WHO = {"cookie": "who=ann"}


def driver_of(pond: PondSocket, **options: Any) -> ASGITestDriver:
    return ASGITestDriver(PondASGIApp(pond, **options))


async def opened(driver: ASGITestDriver, **headers: str) -> SSESession:
    stream = await driver.connect_sse(SOCKET, query_string="user=ann", headers={**WHO, **headers})
    assert (await stream.receive_event())["event"] == "CONNECTION"
    return stream


def message(action: str, event: str, payload: object, channel: str = PLAIN) -> dict[str, object]:
    return {
        "action": action,
        "event": event,
        "channelName": channel,
        "requestId": f"{event}{payload}",
        "payload": payload,
    }


async def post(
    driver: ASGITestDriver, stream: SSESession | str, body: object, **headers: str
) -> HTTPAnswer:
    connection_id = stream if isinstance(stream, str) else stream.connection_id
    given = {"x-connection-id": connection_id, "content-type": "application/json", **WHO, **headers}
    encoded = body if isinstance(body, bytes) else dump_json(body)
    return await driver.call_http(SOCKET, method="POST", headers=given, body=encoded)


async def delete(driver: ASGITestDriver, stream: SSESession, **headers: str) -> HTTPAnswer:
    given = {"x-connection-id": stream.connection_id, **WHO, **headers}
    return await driver.call_http(SOCKET, method="DELETE", headers=given)


async def events(stream: SSESession) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        while True:
            found.append(await stream.receive_event(wait=0.2))
    except (TimeoutError, ConnectionError):
        return found


async def test_posts_arrive_at_another_node_and_keep_their_order() -> None:
    hub = MemoryHub(delay=0.01)
    one, two = ClusterPond(hub), ClusterPond(hub)
    here, there = driver_of(one), driver_of(two)
    async with serving(one, two):
        stream = await opened(here)
        assert (await post(there, stream, message("JOIN_CHANNEL", "join", {}))).status == 204
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                body = message("BROADCAST", "say", {"text": number})
                tasks.start_soon(post, there, stream, body)
                await anyio.lowlevel.checkpoint()  # the bodies arrive in this order
        found = await events(stream)
        assert found[0]["event"] == "ACKNOWLEDGE"
        texts = [each["payload"]["text"] for each in found if each["event"] == "said"]
        assert texts == [*range(10)]
        await stream.disconnect()


async def test_a_delete_at_another_node_ends_the_stream() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    here, there = driver_of(one), driver_of(two)
    async with serving(one, two):
        stream = await opened(here)
        assert (await delete(there, stream)).status == 204
        await stream.wait_ended()
        assert (await delete(there, stream)).status == 404


async def test_a_request_of_another_identity_is_not_found() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    here, there = driver_of(one), driver_of(two)
    async with serving(one, two):
        stream = await opened(here)
        body = message("JOIN_CHANNEL", "join", {})
        for cookie in ("who=bob", "who=", "who=None", "a=b"):
            assert (await post(there, stream, body, cookie=cookie)).status == 404
            assert (await delete(there, stream, cookie=cookie)).status == 404
        assert [each["event"] for each in await events(stream)] == []
        assert (await post(there, stream, body)).status == 204
        await stream.disconnect()


@pytest.mark.parametrize("identity", [1, b"\xff", None, "1"])
async def test_an_identity_may_be_any_value_that_nodes_can_compare(identity: object) -> None:
    hub = MemoryHub()
    current = identity

    async def identify(_: ConnectRequest) -> object:
        return current

    async def admit(ctx: ConnectionContext) -> None:
        ctx.accept()

    one, two = (PondSocket(backplane=hub.backplane()) for _ in range(2))
    for pond in (one, two):
        pond.create_endpoint(SOCKET, admit, identity=identify)
    async with serving(one, two):
        stream = await opened(driver_of(one))
        ping = {"action": "ping"}
        assert (await post(driver_of(two), stream, ping)).status == 204
        for current in (1, b"\xff", None, "1", "ff", "None", True, 1.0):
            same = type(current) is type(identity) and current == identity
            assert (await post(driver_of(two), stream, ping)).status == (204 if same else 404)
        await stream.disconnect()


async def test_an_id_that_no_node_has_made_is_refused_before_its_body_is_read() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        stream = await opened(driver_of(one))
        assert one._node is not None
        forged = [
            "0" * 32,
            stream.connection_id[:-1],
            stream.connection_id + "0",
            new_id(one._node.name, b"another key, another key"),
        ]
        app = PondASGIApp(two)
        for connection_id in forged:
            sent: list[Any] = []
            headers = {b"x-connection-id": connection_id, b"content-type": "application/json"}
            scope = driver_of(two)._scope("http", SOCKET, "", []) | {"method": "POST"}
            scope["headers"] += [(name, value.encode()) for name, value in headers.items()]
            scope["headers"].append((b"content-length", b"1000000"))

            async def receive() -> Any:
                await anyio.lowlevel.checkpoint()
                return {"type": "http.disconnect"}

            async def send(each: Any, sent: list[Any] = sent) -> None:
                sent.append(each)

            await app(scope, receive, send)
            assert sent[0]["status"] == 404
        await stream.disconnect()


async def test_a_stream_of_a_dead_node_is_not_found() -> None:
    hub = MemoryHub()
    two = ClusterPond(hub)
    async with anyio.create_task_group() as tasks:
        one = await ModelNode.start(tasks, hub, Options())
        stream = await driver_of(one.pond).connect_sse(SOCKET, query_string="user=ann")
        await stream.receive_event()
        async with serving(two):
            await one.kill()
            answer = await post(driver_of(two), stream, {"action": "ping"})
            assert answer.status == 404
        await stream.wait_ended()


async def test_without_a_link_a_client_is_told_to_try_again() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        stream = await opened(driver_of(one))
        hub.stop()
        await told()
        begun = anyio.current_time()
        answer = await post(driver_of(two), stream, {"action": "ping"})
        assert (answer.status, answer.headers.get("retry-after")) == (503, "1")
        assert anyio.current_time() - begun <= 2.5
        assert (await post(driver_of(one), stream, {"action": "ping"})).status == 204
        hub.start()
        await told()
        assert (await post(driver_of(two), stream, {"action": "ping"})).status == 204
        await stream.disconnect()


async def test_a_refusal_of_the_node_that_has_the_stream_is_passed_on() -> None:
    hub = MemoryHub()
    options = Options(event_rate=1, event_burst=2)
    one, two = ClusterPond(hub, options=options), ClusterPond(hub)
    async with serving(one, two):
        stream = await opened(driver_of(one))
        body = message("BROADCAST", "say", {}, "GATEWAY")
        answers = [await post(driver_of(two), stream, body) for _ in range(4)]
        assert answers[-1].status == 429
        assert answers[-1].headers.get("retry-after")
        assert (await post(driver_of(two), stream, b"{")).status == 400
        await stream.disconnect()


async def test_a_stream_goes_on_at_another_node() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    here, there = driver_of(one), driver_of(two)
    async with serving(one, two):
        stream = await opened(here)
        await post(here, stream, message("JOIN_CHANNEL", "join", {}, KEPT))
        await one.channel(SOCKET, KEPT).broadcast("said", {"text": 1})
        await events(stream)
        await stream.disconnect()
        await one.channel(SOCKET, KEPT).broadcast("said", {"text": 2})
        again = await there.connect_sse(
            SOCKET,
            query_string="user=ann",
            headers={**WHO, "last-event-id": stream.last_event_id},
        )
        found = await events(again)
        assert found[0]["payload"]["resumed"] == [KEPT]
        answer = next(each for each in found if each["event"] == "ACKNOWLEDGE")
        assert answer["payload"]["recovered"] is True
        assert [each["payload"]["text"] for each in found if each["event"] == "said"] == [2]
        await again.disconnect()


async def test_a_stream_goes_on_in_the_epoch_that_has_begun_anew() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    here, there = driver_of(one), driver_of(two)
    async with serving(one, two), client(two, "bob") as bob:
        await bob.join(KEPT)
        streams = [await opened(here) for _ in range(2)]  # which share what is written
        for stream in streams:
            await post(here, stream, message("JOIN_CHANNEL", "join", {}, KEPT))
        for number in (1, 2, 3):
            await one.channel(SOCKET, KEPT).broadcast("said", {"text": number})
        for stream in streams:
            await events(stream)
        before = streams[0].last_event_id
        hub.stop()
        hub.start(forget=True)
        await told()
        for stream in streams:
            (answer,) = await events(stream)
            assert answer["event"] == "ACKNOWLEDGE"
            assert answer["payload"]["recovered"] is False
            epoch = answer["payload"]["epoch"]
        assert streams[0].last_event_id != before
        await two.channel(SOCKET, KEPT).broadcast("said", {"text": 4})
        for stream in streams:
            assert [each["payload"]["text"] for each in await events(stream)] == [4]
            await stream.disconnect()
        await two.channel(SOCKET, KEPT).broadcast("said", {"text": 5})
        for stream in streams:
            again = await there.connect_sse(
                SOCKET,
                query_string="user=ann",
                headers={**WHO, "last-event-id": stream.last_event_id},
            )
            found = await events(again)
            answer = next(each for each in found if each["event"] == "ACKNOWLEDGE")
            assert (answer["payload"]["epoch"], answer["payload"]["offset"]) == (epoch, 1)
            assert answer["payload"]["recovered"] is True
            assert [each["payload"]["text"] for each in found if each["event"] == "said"] == [5]
            await again.disconnect()
        assert said(bob) == [1, 2, 3, 4, 5]


async def test_a_cursor_key_of_the_application_counts_more_than_that_of_the_cluster() -> None:
    hub = MemoryHub()
    one, two = ClusterPond(hub), ClusterPond(hub)
    async with serving(one, two):
        stream = await opened(driver_of(one, cursor_key="a key of sixteen bytes"))
        await post(driver_of(one), stream, message("JOIN_CHANNEL", "join", {}, KEPT))
        await events(stream)
        await stream.disconnect()
        headers = {**WHO, "last-event-id": stream.last_event_id}
        for options, resumed in (({}, []), ({"cursor_key": "a key of sixteen bytes"}, [KEPT])):
            again = await driver_of(two, **options).connect_sse(
                SOCKET, query_string="user=ann", headers=headers
            )
            assert (await again.receive_event())["payload"].get("resumed") == resumed
            await again.disconnect()
