"""One client calls slow plain handlers in 45 channels, and goes: others still get threads."""

import time
from typing import Final

from pondsocket_asgi import PondASGIApp

from tests.faults._outcome import end
from tests.faults._rooms import build
from tests.faults._sockets import Socket
from tests.servers import FAST_LANE, Server

CHANNELS: Final = 45
SLOW_SECONDS: Final = 4.0
MOST_SECONDS: Final = 1.0

rooms = build()


@rooms.lobby.on_message("slow")
def slow() -> None:
    time.sleep(SLOW_SECONDS)


@rooms.lobby.on_message("quick")
def quick() -> str:
    return "quick"


app = PondASGIApp(rooms.pond)


def main() -> list[str]:
    with (
        Server("tests.faults.threads_of_one_client:app", *FAST_LANE) as server,
        Socket(server) as eve,
        Socket(server) as ann,
    ):
        for number in range(CHANNELS):
            eve.join(f"/room/{number}")
        ann.join("/room/0")
        for number in range(CHANNELS):
            eve.send(f"/room/{number}", "slow")
        time.sleep(0.3)
        eve.vanish()
        began = time.monotonic()
        try:
            ann.call("/room/0", "quick")
        except TimeoutError:
            return ["another client's handler was never called"]
        waited = time.monotonic() - began
    return [f"another client waited {waited:.1f} s"] if waited > MOST_SECONDS else []


if __name__ == "__main__":
    end(main(), "one client does not take all threads")
