"""The short programs of `examples/events/`, served as their first lines say; how short they are."""

import re
from typing import Final

import pytest

from tests.integration.clients import Client, Message, Transport
from tests.integration.conftest import Shared
from tests.integration.connector import Connector, Refused
from tests.servers import ROOT, Server

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

EVENTS: Final = ROOT / "examples" / "events"
LONGEST: Final = {
    ("handshake",): 13,
    ("lifecycle",): 15,
    ("responses",): 20,
    ("actions", "lobby"): 16,
}
"""How many lines that are neither blank nor comment the files of a program have at most."""


def served(shared: Shared, name: str) -> Server:
    """Serve an example with the command that its first lines name."""
    found = re.search(r"`uvicorn ([^`]+)`", (EVENTS / f"{name}.py").read_text())
    assert found, f"{name}.py does not say how to run it"
    return shared(*found[1].split())


async def ask(client: Client, event: str, payload: Message) -> object:
    """Send an event to the endpoint itself; gives the payload of its answer, which is no error."""
    answer = await client.call("GATEWAY", event, payload)
    assert (answer["action"], answer["event"]) == ("SYSTEM", event)
    return answer["payload"]


@pytest.mark.parametrize("names", LONGEST, ids="+".join)
def test_a_program_is_as_short_as_it_says(names: tuple[str, ...]) -> None:
    lines = [
        line for name in names for line in (EVENTS / f"{name}.py").read_text().splitlines() if line
    ]
    code = [line for line in lines if not line.lstrip().startswith("#")]
    assert len(code) <= LONGEST[names]
    assert not [line for line in code if ";" in line or len(line) > 100]


def test_each_file_belongs_to_a_program_that_is_counted() -> None:
    counted = {name for names in LONGEST for name in names}
    assert {path.stem for path in EVENTS.glob("*.py")} == counted


@pytest.mark.parametrize("query", ["", "?token=guess"])
async def test_a_stranger_is_refused_by_http(
    connect: Connector, shared: Shared, transport: Transport, query: str
) -> None:
    server = served(shared, "handshake")
    with pytest.raises(Refused) as refused:
        await connect(transport, f"{server.http_url}/socket{query}")
    assert refused.value.status == 401
    assert refused.value.json() == {
        "error": "UNAUTHORIZED_CONNECTION",
        "code": 401,
        "message": "Wrong token",
    }


async def test_a_message_is_checked_and_answered_by_its_models(
    connect: Connector, shared: Shared, transport: Transport
) -> None:
    server = served(shared, "handshake")
    ann = await connect(transport, f"{server.http_url}/socket?token=secret")
    assert await ask(ann, "shout", {"text": "hi", "other": 1}) == {"text": "HI"}

    answer = await ann.call("GATEWAY", "shout", {"text": 7})
    assert (answer["event"], answer["payload"]["code"]) == ("INVALID_MESSAGE", 422)
    assert [each["loc"] for each in answer["payload"]["details"]] == [["text"]]

    answer = await ann.call("GATEWAY", "whisper", {"text": "hi"})
    assert (answer["event"], answer["payload"]["code"]) == ("HANDLER_NOT_FOUND", 404)


async def test_a_connection_is_sent_to_by_its_id_and_others_hear_of_its_end(
    connect: Connector, shared: Shared, transport: Transport
) -> None:
    url = f"{served(shared, 'lifecycle').http_url}/socket"
    ann, bob = await connect(transport, url), await connect(transport, url)
    ann_id = ann.hello["payload"]["id"]
    assert ann_id != bob.hello["payload"]["id"]

    await ann.send("BROADCAST", "GATEWAY", "divide", {"a": 7, "b": 2})
    quotient = await ann.receive_event("BROADCAST", "quotient")
    assert (quotient["channelName"], quotient["payload"]) == (
        "GATEWAY",
        {"id": ann_id, "value": 3.5},
    )
    assert bob.unread == []

    await ann.close()
    gone = await bob.receive_event("BROADCAST", "disconnected")
    assert gone["payload"] == {"id": ann_id}


async def test_an_error_closes_the_connection_that_has_caused_it(
    connect: Connector, shared: Shared, transport: Transport
) -> None:
    server = served(shared, "lifecycle")
    ann = await connect(transport, f"{server.http_url}/socket")
    bob = await connect(transport, f"{server.http_url}/socket")
    answer = await ann.call("GATEWAY", "divide", {"a": 1, "b": 0})
    assert (answer["event"], answer["payload"]["code"]) == ("INTERNAL_SERVER_ERROR", 500)
    assert "ZeroDivisionError" not in str(answer)

    goodbye = await ann.receive_event("SYSTEM", "GOODBYE")
    assert (goodbye["payload"]["code"], goodbye["payload"]["reason"]) == (4403, "divide failed")
    await ann.wait_closed()
    gone = await bob.receive_event("BROADCAST", "disconnected")
    assert gone["payload"] == {"id": ann.hello["payload"]["id"]}
    assert not bob.closed
    assert "ZeroDivisionError" in server.log()


async def test_a_signature_is_the_message_and_an_annotation_the_response(
    connect: Connector, shared: Shared, transport: Transport, room: str
) -> None:
    server = served(shared, "responses")
    ann, bob = [await connect(transport, f"{server.http_url}/socket") for _ in range(2)]
    titles = [f"{room} {number}" for number in range(3)]  # which no other test has added
    for title in titles:
        assert await ask(ann, "add", {"title": title}) == {"title": title, "is_done": False}
    found = [{"title": title, "is_done": False} for title in titles]
    assert await ask(bob, "find", {"word": room}) == {"result": found}
    assert await ask(bob, "find", {"word": room, "limit": 1}) == {"result": found[:1]}

    answer = await bob.call("GATEWAY", "find", {"limit": "all"})
    assert (answer["event"], answer["payload"]["code"]) == ("INVALID_MESSAGE", 422)
    assert [each["loc"] for each in answer["payload"]["details"]] == [["word"], ["limit"]]


async def test_an_action_has_a_result_and_is_published_to_those_who_joined(
    connect: Connector, shared: Shared, transport: Transport, room: str
) -> None:
    url = f"{served(shared, 'actions').http_url}/socket"
    ann, bob = await connect(transport, url), await connect(transport, url)
    first = await ask(ann, "add", {"note": f"{room} 1"})
    assert isinstance(first, dict)

    joined = (await bob.join("/notes"))["payload"]["response"]
    assert joined["notes"][-1] == f"{room} 1"
    assert len(joined["notes"]) == first["result"]

    assert await ask(ann, "add", {"note": f"{room} 2"}) == {"result": first["result"] + 1}
    added = await bob.receive_event("BROADCAST", "added")
    assert (added["channelName"], added["payload"]) == ("/notes", {"note": f"{room} 2"})
    assert ann.unread == []
