"""Read one event stream with a reader published on PyPI, through a restart and a cut.

Each block must be a message, as JSON. Usage: `readers.py <URL of the endpoint> <run> <reader>`,
where the reader is httpx-sse, httpx2, or a plain loop over lines with either library.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

MESSAGES: Final = 6
TEXT: Final = "a\u2028b\u2029c\x85d\u00a0e"


class Block(NamedTuple):
    data: str
    id: str
    retry: int | None


def events_of_httpx_sse(url: str, headers: dict[str, str]) -> Iterator[Block]:
    import httpx
    import httpx_sse

    with (
        httpx.Client(timeout=10) as client,
        httpx_sse.connect_sse(client, "GET", url, headers=headers) as stream,
    ):
        for event in stream.iter_sse():
            yield Block(event.data, event.id, event.retry)


def events_of_httpx2(url: str, headers: dict[str, str]) -> Iterator[Block]:
    import httpx2

    with httpx2.Client(timeout=10) as client, client.sse(url, headers=headers) as stream:
        for event in stream:
            yield Block(event.data, event.id, event.retry)


def events_of_lines(url: str, headers: dict[str, str]) -> Iterator[Block]:
    """What many programs do by hand: lines as Python has them, one event for each empty one."""
    import httpx

    with httpx.Client(timeout=10) as client:
        accept = {"accept": "text/event-stream", **headers}
        with client.stream("GET", url, headers=accept) as stream:
            block: dict[str, str] = {}
            last = ""
            for line in stream.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    block[name] = value.removeprefix(" ")
                    continue
                last = block.get("id", last)
                retry = block.get("retry")
                yield Block(block["data"], last, None if retry is None else int(retry))
                block = {}


READERS: Final = {
    "httpx-sse": events_of_httpx_sse,
    "httpx2": events_of_httpx2,
    "lines": events_of_lines,
}


def post(url: str, channel: str, connection_id: str) -> None:
    import httpx

    common: dict[str, Any] = {"channelName": channel, "requestId": "1", "payload": {}}
    messages = [
        {"action": "JOIN_CHANNEL", "event": "join", **common},
        {"action": "BROADCAST", "event": "start", **common},
    ]
    answer = httpx.post(url, json=messages, headers={"x-connection-id": connection_id})
    assert answer.status_code == 204, answer.text


def main(endpoint: str, run: str, reader: str) -> None:
    import httpx

    url, channel = f"{endpoint}?run={run}", f"/room/{run}"
    errors: tuple[type[Exception], ...] = (httpx.TransportError,)
    if reader == "httpx2":
        import httpx2

        errors = (*errors, httpx2.TransportError)
    last, wait, goodbyes, top = "", 1.0, 0, 0
    numbers: list[int] = []
    resumed: list[object] = []
    while len(numbers) < MESSAGES:
        try:
            for block in READERS[reader](url, {"last-event-id": last} if last else {}):
                last = block.id
                wait = wait if block.retry is None else block.retry / 1_000
                message = json.loads(block.data)
                payload = message["payload"]
                goodbyes += message["event"] == "GOODBYE"
                if message["event"] == "CONNECTION":
                    resumed.append(payload.get("resumed"))
                    if len(resumed) == 1:
                        post(url, channel, payload["connectionId"])
                if message["action"] == "BROADCAST" and message["offset"] > top:
                    top = message["offset"]
                    assert payload["text"] == TEXT, payload
                    numbers.append(payload["n"])
                if len(numbers) == MESSAGES:
                    break
        except errors as cut:
            print(f"cut: {cut!r}", flush=True)
        if len(numbers) < MESSAGES:
            time.sleep(wait)
    assert numbers == [*range(1, MESSAGES + 1)], numbers
    assert (goodbyes, resumed) == (1, [None, [channel]]), (goodbyes, resumed)
    print(json.dumps({"step": "passed"}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
