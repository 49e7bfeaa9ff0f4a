"""The short programs of `examples/events/`: served as their first lines say, and how short."""

import re
from typing import Final

import pytest

from tests.integration.clients import Transport
from tests.integration.conftest import Shared
from tests.integration.connector import Connector
from tests.servers import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

EVENTS: Final = ROOT / "examples" / "events"
LONGEST: Final = {
    ("handshake",): 13,
    ("lifecycle",): 15,
    ("responses",): 20,
    ("actions", "lobby"): 16,
}
"""How many lines that are neither blank nor comment the files of a program have at most."""


@pytest.mark.parametrize("names", LONGEST, ids="+".join)
def test_a_program_is_as_short_as_it_says(names: tuple[str, ...]) -> None:
    lines = [
        line for name in names for line in (EVENTS / f"{name}.py").read_text().splitlines() if line
    ]
    code = [line for line in lines if not line.lstrip().startswith("#")]
    assert len(code) <= LONGEST[names]
    assert not [line for line in code if ";" in line or len(line) > 100]


def test_each_file_belongs_to_a_program_that_is_counted() -> None:
    assert {path.stem for path in EVENTS.glob("*.py")} == {
        name for names in LONGEST for name in names
    }


@pytest.mark.parametrize("name", [names[0] for names in LONGEST])
async def test_a_program_is_served_as_its_first_lines_say(
    connect: Connector, shared: Shared, transport: Transport, name: str
) -> None:
    (command,) = re.findall(r"`uvicorn ([^`]+)`", (EVENTS / f"{name}.py").read_text())
    ann = await connect(transport, f"{shared(*command.split()).http_url}/socket?token=secret")
    assert ann.hello["event"] == "CONNECTION"
