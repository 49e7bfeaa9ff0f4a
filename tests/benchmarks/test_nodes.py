"""What two workers on Redis are asked, and what their figures are made of."""

import asyncio
import shutil
from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.benchmarks._client import BenchmarkFailed, Client, Crowd
from tests.benchmarks._contenders import ENGINE, Process
from tests.benchmarks._open_loop import Run
from tests.benchmarks._scenarios import nodes as scenario
from tests.benchmarks._scenarios.nodes import Nodes, crossed, published
from tests.benchmarks.apps.bursts import burst
from tests.benchmarks.test_benchmarks import SECONDS, run

ASKED = {"text": "<12345678>", "count": 10, "at_once": 4}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeClient:
    """A client whose server says what a test gives it."""

    def __init__(self) -> None:
        self.on_text: Callable[[Client, bytes], None]
        self.answer: Callable[[bytes], None] = lambda _: None

    def send(self, frame: bytes) -> None:
        """Let the server answer, in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self.answer, frame)

    def hear(self, text: bytes) -> None:
        """Receive a text."""
        self.on_text(cast(Client, self), text)


def pair() -> tuple[Crowd, FakeClient, FakeClient]:
    crowd, asker, listener = Crowd(), FakeClient(), FakeClient()
    crowd.clients = [cast(Client, asker), cast(Client, listener)]
    return crowd, asker, listener


async def publish(crowd: Crowd, count: int) -> int:
    return await published(crowd, str.encode, count)


async def test_a_burst_publishes_so_many_by_so_many_tasks() -> None:
    said, most, now = [], 0, 0

    async def say(payload: dict[str, str]) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        said.append(payload)
        await asyncio.sleep(0)
        now -= 1

    await burst(ASKED, say)
    assert (said, most) == ([{"text": "<12345678>"}] * 10, 4)


async def test_a_round_of_publishing_ends_with_the_answer_and_the_last_message() -> None:
    crowd, asker, listener = pair()
    heard = []

    def answer(frame: bytes) -> None:
        token = frame[-10:]
        for text in (b"1" + token, b"2" + token):
            heard.append(text)
            listener.hear(text)
        asker.hear(b'{"done":2}')

    asker.answer = answer
    assert await publish(crowd, 2) == len(heard) == 2


@pytest.mark.parametrize("texts", [(b"another",), (b"{}", b"{}", b"{}")])
async def test_a_listener_that_hears_something_else_or_too_much_is_a_fault(
    texts: tuple[bytes, ...],
) -> None:
    crowd, asker, listener = pair()

    def answer(frame: bytes) -> None:
        for text in texts:
            listener.hear(text.replace(b"{}", frame[-10:]))

    asker.answer = answer
    with pytest.raises(BenchmarkFailed, match="something else, or something twice"):
        await publish(crowd, 2)


def test_each_process_has_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        def __init__(self, pid: int) -> None:
            self.pid = pid

    monkeypatch.setattr(scenario, "group_seconds", lambda pid: pid / 1_000)
    redis, first, second = (cast(Process, Worker(pid)) for pid in (5, 30, 20))
    found = Nodes(redis, first, second, Crowd()).shares((0.01, 0.01, 0.001), 100)
    assert found == pytest.approx({"first_us": 200, "second_us": 100, "redis_us": 40})


def test_what_redis_adds_is_the_difference_to_one_worker() -> None:
    def run_of(**latencies: float) -> Run:
        rest: dict[str, Any] = {
            name: 0.0 for name in Run.__dataclass_fields__ if name not in latencies
        }
        return Run(**{**rest, "fault": None, **latencies})

    one, two = run_of(p50_ms=0.25, p99_ms=1), run_of(p50_ms=0.75, p99_ms=4)
    sample = crossed(one, two, {"redis_us": 9})
    assert sample.value == 0.5
    assert sample.extras == {
        "p50_ms": 0.75, "p99_ms": 4, "added_p99_ms": 3, "alone_p50_ms": 0.25, "alone_p99_ms": 1,
        "redis_us": 9,
    }  # fmt: skip


@pytest.mark.integration
@pytest.mark.timeout(SECONDS)
@pytest.mark.skipif(shutil.which(ENGINE) is None, reason=f"there is no `{ENGINE}` on the PATH")
def test_two_workers_on_redis_are_measured() -> None:
    chosen = ("--scenarios", "nodes-publish-64", "--only", "ours-nodes-history", "--rounds", "1")
    printed = run("tests.benchmarks", *chosen)
    assert "(ours), on Redis, history |" in printed
    assert "Redis, us" in printed
