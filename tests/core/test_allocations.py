"""A broadcast and a join take no more memory than they did, counted in blocks."""

import sys
from typing import Final

import pytest
from pondsocket import History
from pondsocket.adapter import Frame

from tests.core.allocations import Blocks, Client, of_a_broadcast, of_a_join

# Without a history and with one. As measured on Python 3.11; later ones take up to 3 blocks less.
BROADCASTS: Final = (Blocks(at_offer=10, kept=0), Blocks(at_offer=12, kept=1))
JOINS: Final = (Blocks(at_offer=33, kept=5), Blocks(at_offer=35, kept=5))
# A join has a cancel scope, which has more objects there.
MORE_ON_TRIO: Final = 2

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython"
    or sys.version_info >= (3, 14)
    or sys.gettrace() is not None,
    reason="measured on CPython 3.11 to 3.13, without a tracer, which takes blocks itself",
)
histories = pytest.mark.parametrize("history", [None, History()], ids=["no history", "history"])


def exceeds(found: Blocks, ceiling: Blocks) -> bool:
    return found.at_offer > ceiling.at_offer or found.kept > ceiling.kept


@histories
async def test_a_broadcast_takes_no_more_blocks(history: History | None) -> None:
    found, ceiling = await of_a_broadcast(history), BROADCASTS[history is not None]
    assert not exceeds(found, ceiling), f"{found}, at most {ceiling}"


@histories
async def test_a_join_takes_no_more_blocks(
    history: History | None, anyio_backend_name: str
) -> None:
    found, ceiling = await of_a_join(history), JOINS[history is not None]
    if anyio_backend_name == "trio":
        ceiling = ceiling._replace(at_offer=ceiling.at_offer + MORE_ON_TRIO)
    assert not exceeds(found, ceiling), f"{found}, at most {ceiling}"


class Hoarder(Client):
    """A client that keeps an object of its own for each frame."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[object] = []

    def offer(self, frame: Frame) -> bool:
        self.kept.append(object())
        return super().offer(frame)


async def test_one_more_block_for_one_member_is_found() -> None:
    found, hoarded = await of_a_broadcast(), await of_a_broadcast(first=Hoarder())
    assert hoarded == Blocks(found.at_offer + 1, found.kept + 1)
