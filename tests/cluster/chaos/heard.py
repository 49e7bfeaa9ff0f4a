"""What a client has heard of a channel, in stretches without a gap. Pure."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass
class Stretch:
    """Messages whose offsets follow each other.

    Args:
        after: The offset before the first.
        is_told: Whether the client was told that it may have missed messages before it.
    """

    epoch: str
    after: int
    is_told: bool
    ids: list[int] = field(default_factory=list)

    @property
    def top(self) -> int:
        """The offset of the last one."""
        return self.after + len(self.ids)


class Known(NamedTuple):
    """The latest position of a client."""

    epoch: str
    offset: int


class Heard:
    """The stretches of one client and channel."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.repeated = 0
        self.faults: list[str] = []

    @property
    def position(self) -> Known | None:
        """The latest one; None before the first join."""
        if not self.stretches:
            return None
        latest = self.stretches[-1]
        return Known(latest.epoch, latest.top)

    def begin(self, epoch: str, offset: int, *, is_told: bool) -> None:
        """Go on after a position that the server has given."""
        self.stretches.append(Stretch(epoch, offset, is_told))

    def take(self, epoch: str, offset: int, number: int) -> None:
        """Take a message."""
        if not self.stretches:
            self.faults.append(f"{epoch}:{offset} came before the join")
            self.begin(epoch, offset - 1, is_told=False)
        latest = self.stretches[-1]
        if latest.epoch == epoch and offset <= latest.top:
            self._take_again(epoch, offset, number)
        else:
            if latest.epoch != epoch or offset != latest.top + 1:
                self.begin(epoch, offset - 1, is_told=False)
            self.stretches[-1].ids.append(number)

    def _take_again(self, epoch: str, offset: int, number: int) -> None:
        self.repeated += 1
        for each in self.stretches:
            if each.epoch == epoch and each.after < offset <= each.top:
                known = each.ids[offset - each.after - 1]
                if known != number:
                    self.faults.append(f"{epoch}:{offset} is {known}, and {number}")

    def report(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "stretches": [
                [each.epoch, each.after, each.is_told, each.ids] for each in self.stretches
            ],
            "repeated": self.repeated,
            "faults": self.faults,
        }
