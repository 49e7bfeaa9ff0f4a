"""Refused WebSockets are no errors in uvicorn's log; an application that does not answer is one."""

import contextvars
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from pondsocket_asgi import QuietRefusals
from pondsocket_asgi._process.refusals import note_refusal
from pondsocket_asgi.testing import ASGITestDriver

from tests.asgi.conftest import HTTP_RESPONSE, Pond

SANSIO = "uvicorn/protocols/websockets/websockets_sansio_impl.py"
ERROR = "ASGI callable returned without completing handshake."


@pytest.fixture
def uvicorn_log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("uvicorn.error")
    yield logger
    logger.filters[:] = [each for each in logger.filters if not isinstance(each, QuietRefusals)]


def logs(logger: logging.Logger, text: str) -> bool:
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 1, text, (), None)
    return bool(logger.filter(record))


@pytest.mark.parametrize("extensions", [HTTP_RESPONSE, {}], ids=["with a response", "with a close"])
async def test_the_error_of_a_refused_websocket_is_dropped(
    extensions: dict[str, dict[str, object]], uvicorn_log: logging.Logger
) -> None:
    QuietRefusals.install()
    logged: list[bool] = []
    app = Pond().app

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        logged.extend(logs(uvicorn_log, text) for text in (ERROR, "connection rejected (404)"))

    session = await ASGITestDriver(serve).connect_websocket("/nowhere", extensions=extensions)
    assert not session.accepted
    assert logged == [False, True]
    assert logs(uvicorn_log, ERROR)  # of other tasks


def test_the_error_of_an_application_that_does_not_answer_stays(
    uvicorn_log: logging.Logger,
) -> None:
    QuietRefusals.install()
    assert logs(uvicorn_log, ERROR)


def test_it_is_installed_once(uvicorn_log: logging.Logger) -> None:
    QuietRefusals.install()
    QuietRefusals.install()
    context = contextvars.copy_context()
    context.run(note_refusal)
    assert not context.run(logs, uvicorn_log, ERROR)
    assert [type(each) for each in uvicorn_log.filters].count(QuietRefusals) == 1


def test_uvicorn_says_it_in_these_words() -> None:
    source = Path(uvicorn.__file__).parents[1] / SANSIO
    assert ERROR in source.read_text()
