"""The protocol's pages name what the code knows, and their examples are real messages."""

import re
from pathlib import Path

import pytest
from pondsocket_common import (
    RESERVED_EVENTS,
    ClientActions,
    CloseCode,
    ErrorTypes,
    InvalidMessage,
    PresenceEventTypes,
    ServerActions,
    decode_client,
    decode_server,
)

from tests.common.vectors import VECTORS

PAGES = sorted((VECTORS.parents[2] / "docs" / "protocol").glob("*.md"))
TEXT = "\n".join(page.read_text() for page in PAGES)
EXAMPLES = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_is_a_message(example: str) -> None:
    try:
        decode_client(example)
    except InvalidMessage:
        decode_server(example)


def test_pages_hold_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(
    "name",
    [*ClientActions, *ServerActions, *PresenceEventTypes, *ErrorTypes, *sorted(RESERVED_EVENTS)],
)
def test_every_name_of_the_wire_is_on_the_pages(name: str) -> None:
    assert re.search(rf"\b{name}\b", TEXT)


@pytest.mark.parametrize("code", CloseCode)
def test_table_of_close_codes_says_whether_to_come_back(code: CloseCode) -> None:
    (row,) = re.findall(rf"^\| [^|]*\b{code}\b[^|]*\|[^|]*\|([^|]*)\|$", TEXT, re.MULTILINE)
    assert ("reconnect" in row) == code.reconnect


@pytest.mark.parametrize("page", [*PAGES, VECTORS / "README.md"], ids=lambda page: str(page.name))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        found = page.parent / target if target else page
        assert found.is_file(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, anchor


def test_every_file_of_vectors_is_explained() -> None:
    explained = (VECTORS / "README.md").read_text()
    for file in VECTORS.glob("*.json"):
        assert f"`{file.name}`" in explained
