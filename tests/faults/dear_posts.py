"""POSTs as long as an event stream may send, whose contents cost much to read."""

from typing import Final

from pondsocket_asgi import PondASGIApp

from tests.faults._outcome import end
from tests.faults._rooms import build
from tests.faults._sockets import Stream, cpu_seconds, message
from tests.servers import FAST_LANE, Server

POSTS: Final = 60
MOST_MS: Final = 10.0
# Too long, too many; or, after some of these, the stream is closed.
REFUSED: Final = {413, 429, 404}
PAYLOADS: Final = {
    "one text": f'{{"a":"{"x" * 260_000}"}}',
    "objects beside a large number": f'{{"b":1e30,"a":[{",".join(["{}"] * 86_000)}]}}',
}

app = PondASGIApp(build().pond)


def main() -> list[str]:
    faults: list[str] = []
    with Server("tests.faults.dear_posts:app", *FAST_LANE, "--log-level", "critical") as server:
        stream = Stream(server)
        for name, payload in PAYLOADS.items():
            before = cpu_seconds(server)
            text = message("/room/1", "none", "1", payload)
            statuses = {stream.post(text) for _ in range(POSTS)}
            each = (cpu_seconds(server) - before) * 1_000 / POSTS
            if not statuses <= REFUSED or statuses == {404}:
                faults.append(f"{name}: answered {statuses}")
            if each > MOST_MS:
                faults.append(f"{name}: {each:.1f} ms for a POST")
    return faults


if __name__ == "__main__":
    end(main(), "a POST costs little, whatever is in it")
