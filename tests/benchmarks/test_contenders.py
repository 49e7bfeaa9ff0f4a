"""Each contender does what is measured; these tests try those that need no installation."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from tests.benchmarks._contenders import CONTENDERS, ContenderMissing, Kind
from tests.benchmarks._dialects import CHANNEL, Dialect, SocketIO
from tests.benchmarks._environments import Node, Own, Python
from tests.benchmarks.tryout import CLIENTS, SIZES, try_out

TOKEN = "<12345678>"
OURS = CONTENDERS["ours"]
PEERS = [contender for contender in CONTENDERS.values() if contender.peer]
DIALECTS = dict.fromkeys(contender.dialect for contender in CONTENDERS.values())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.integration
@pytest.mark.parametrize("key", ["limit", "bare", "ours", "ours-history", "ours-presence-diff"])
async def test_a_contender_lets_in_repeats_and_echoes(key: str) -> None:
    contender = CONTENDERS[key]
    members = CLIENTS * (2 if Kind.SSE in contender.kinds else 1)
    with contender.server() as server:
        tried = await try_out(contender, server.port)
    assert tried == (members, members * len(SIZES), CLIENTS)


class Loud(Dialect):
    """Broadcasts what it should send to one client."""

    def echo(self, token: str, size: int = 100, channel: str = CHANNEL) -> bytes:
        return self.say(token, size, channel)


@pytest.mark.integration
async def test_a_message_that_comes_where_it_should_not_is_found() -> None:
    loud = replace(OURS, dialect=Loud())
    with OURS.server() as server, pytest.raises(AssertionError, match="came where it should not"):
        await try_out(loud, server.port)


@pytest.mark.integration
async def test_a_worker_without_redis_is_a_server_as_every_other() -> None:
    contender = replace(CONTENDERS["ours-nodes"], engine=None)
    with contender.server() as server:
        assert await try_out(contender, server.port) == (CLIENTS, CLIENTS * len(SIZES), CLIENTS)


def test_a_contender_without_its_engine_says_so() -> None:
    without = replace(OURS, engine="no-server-of-that-name")
    with pytest.raises(ContenderMissing, match="there is no `no-server-of-that-name` on the PATH"):
        without.prepare()


def test_the_version_of_an_engine_is_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "some-server"
    program.write_text('#!/bin/sh\necho "Some server v=7.0.15 sha=00000000:0 bits=64"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    told = replace(OURS, engine="some-server").versions()
    assert told == {**OURS.versions(), "some-server": "7.0.15"}


def test_a_contender_without_its_module_says_so() -> None:
    without = replace(OURS, needs="pondsocket_asgi.nothing_of_that_name")
    assert "nothing_of_that_name" in (without.missing() or "")
    with pytest.raises(ContenderMissing, match=r"\(ours\): its module cannot be imported"):
        without.server()


class FakeUv:
    """Records its commands, and makes the files of a new environment."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._said = folder / "said"
        program = folder / "uv"
        program.write_text(
            f'#!/bin/sh\necho "$1 $2 $@" >> {self._said}\n'
            'case "$@" in *broken==*) echo no such version >&2; exit 1;; esac\n'
            'if [ "$1" = venv ]; then\n'
            '  for folder; do :; done; mkdir -p "$folder/bin"; touch "$folder/bin/python"\n'
            "fi\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("UV", str(program))
        monkeypatch.setattr("tests.benchmarks._environments._CACHE", folder)

    def calls(self) -> list[str]:
        """Return the first words of the commands since the last call."""
        said = self._said.read_text() if self._said.exists() else ""
        self._said.unlink(missing_ok=True)
        return [" ".join(line.split()[:2]) for line in said.splitlines()]


def test_an_environment_is_made_once_for_its_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = FakeUv(tmp_path, monkeypatch)
    Python("peer", ("peer==1",)).prepare()
    assert uv.calls() == ["venv -q", "pip install"]
    Python("peer", ("peer==1",)).prepare()
    assert uv.calls() == []
    Python("peer", ("peer==2",)).prepare()
    assert uv.calls() == ["venv -q", "pip install"]


def test_half_an_environment_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = FakeUv(tmp_path, monkeypatch)
    for _ in range(2):
        with pytest.raises(ContenderMissing, match="no such version"):
            Python("peer", ("broken==1",)).prepare()
        assert uv.calls() == ["venv -q", "pip install"]


def test_an_environment_that_nothing_can_make_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("UV", raising=False)
    for environment, tool in ((Python("absent", ("nothing==1",)), "uv"), (Node("ws", "1"), "node")):
        assert tool in (environment.missing() or "")
        with pytest.raises(ContenderMissing, match=tool):
            environment.prepare()


def test_versions_are_those_of_the_environment() -> None:
    assert set(OURS.versions()) == set(OURS.tells)
    assert Own().versions("uvicorn")["uvicorn"][0].isdigit()


def test_each_key_is_its_contenders_and_no_two_look_alike() -> None:
    assert all(key == contender.key for key, contender in CONTENDERS.items())
    assert len({contender.label for contender in CONTENDERS.values()}) == len(CONTENDERS)


def test_all_carry_the_same_and_what_others_made_is_pinned() -> None:
    environments = [contender.environment for contender in PEERS]
    pins = chain.from_iterable(one.pins for one in environments if isinstance(one, Python))
    assert all("==" in pin for pin in pins)
    assert any(isinstance(environment, Node) for environment in environments)
    assert not any(isinstance(environment, Own) for environment in environments)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("size", SIZES)
def test_a_payload_has_the_size_that_was_asked_for(dialect: Dialect, size: int) -> None:
    for text in (dialect.say(TOKEN, size), dialect.echo(TOKEN, size)):
        value = json.loads(text.lstrip(b"0123456789"))
        payload = value[-1] if isinstance(value, list) else value["payload"]
        assert TOKEN in payload["text"]
        assert len(json.dumps(payload, separators=(",", ":"))) == size


@pytest.mark.parametrize("dialect", [Dialect(), SocketIO()])
def test_a_server_is_asked_to_publish_so_many(dialect: Dialect) -> None:
    value = json.loads(dialect.publish(TOKEN, "/room/2", 30, 4).lstrip(b"0123456789"))
    asked = value[-1] if isinstance(value, list) else value["payload"]
    assert TOKEN in asked.pop("text")
    assert asked == {"room": "/room/2", "count": 30, "at_once": 4}


def test_a_stream_joins_by_the_id_in_its_head() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Connection-Id: abc\r\n\r\n"
    request = Dialect().stream_join(head, TOKEN)
    assert request is not None
    assert b"\r\nX-Connection-ID: abc\r\n" in request
    assert json.loads(request.partition(b"\r\n\r\n")[2])["channelName"] == CHANNEL
    assert Dialect(stream_joins=False).stream_join(head, TOKEN) is None
    with pytest.raises(ValueError, match="no connection id"):
        Dialect().stream_join(b"HTTP/1.1 200 OK\r\n\r\n", TOKEN)


def test_socket_io_is_opened_joined_and_kept_open() -> None:
    dialect = SocketIO()
    assert dialect.answer(b'0{"sid":"a"}') == b"40"
    assert dialect.answer(b"2") == b"3"
    assert dialect.answer(b'42["say",{}]') is None
    assert dialect.is_connected(b'40{"sid":"b"}')
    assert not dialect.is_connected(b'0{"sid":"a"}')
    assert dialect.is_joined(b"430[]")
    assert not dialect.is_joined(b'431[{"text":""}]')
