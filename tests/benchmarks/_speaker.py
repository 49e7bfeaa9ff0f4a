"""The sender of an open loop: sends messages when they are due, whether or not the server keeps up.

It is a separate process, so that messages leave one by one: a busy reader would delay them, and an
event loop, which counts in milliseconds, would send several at once. It writes to connections that
the load client has opened.

    python _speaker.py < order.json
"""

import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final

# Before the next attempt to write to a full socket.
_RETRY_SECONDS: Final = 0.001


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to send.

    Args:
        sockets: File descriptors, one for each member.
        frame: A message as `latin-1`, with a token of ten characters in it.
        blank: That token.
        first: The number of the first message's own token.
        rate: Messages a second, of all members together.
        starts_at: A time on the system's monotonic clock.
    """

    sockets: list[int]
    frame: str
    blank: str
    first: int
    rate: float
    seconds: float
    seed: int
    starts_at: float

    def json(self) -> bytes:
        """Encode the order for the process."""
        return json.dumps(asdict(self)).encode()


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Return when each message is due, in seconds from the start: intervals are exponential."""
    chance, due, times = random.Random(seed), 0.0, list[float]()
    while (due := due + chance.expovariate(rate)) < seconds:
        times.append(due)
    return times


def speakers(count: int, members: int, seed: int) -> list[int]:
    """Choose the member that sends each message; each member is equally likely."""
    return random.Random(seed + 1).choices(range(members), k=count)


def token_of(number: int) -> bytes:
    """Return the token that identifies a message."""
    return b"<%08d>" % number


def speak(order: Order) -> float:
    """Send all messages; return the longest delay in seconds that this process caused."""
    times = poisson(order.rate, order.seconds, order.seed)
    who = speakers(len(times), len(order.sockets), order.seed)
    blank, frame = order.blank.encode(), order.frame.encode("latin-1")
    latest, was_held_up = 0.0, False
    for number, (due, member) in enumerate(zip(times, who, strict=True), start=order.first):
        wait = order.starts_at + due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        elif not was_held_up:
            latest = max(latest, -wait)
        was_held_up |= _write(order.sockets[member], frame.replace(blank, token_of(number)))
    return latest


def _write(socket: int, frame: bytes) -> bool:
    """Write the whole frame; return whether it had to wait for the server."""
    was_held_up = False
    while frame:
        try:
            frame = frame[os.write(socket, frame) :]
        except BlockingIOError:
            was_held_up = True
            time.sleep(_RETRY_SECONDS)
    return was_held_up


def main() -> None:
    """Carry out the order on standard input; print the longest delay and the CPU time used."""
    order = Order(**json.load(sys.stdin))
    started = time.process_time()
    late = speak(order)
    print(f"{late:.6f} {time.process_time() - started:.6f}")


if __name__ == "__main__":
    main()
