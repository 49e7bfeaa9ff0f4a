"""What was sent and what was heard, compared. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass
class Verdict:
    """The figures of one run.

    Attributes:
        sent: Messages that were accepted.
        heard: Messages that clients heard, all clients together.
        told: Messages that clients missed and were told of, all clients together.
        silent: The same without being told.
    """

    sent: int = 0
    heard: int = 0
    told: int = 0
    silent: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.heard} heard, {self.told} told, {self.silent} silent"


def judge(
    outcomes: Mapping[int, tuple[str, str]], reports: Mapping[str, Mapping[str, Any]]
) -> Verdict:
    """Compare what was said with what was heard.

    Args:
        outcomes: Of each message its channel, and "ok", "uncertain" or "refused".
        reports: Of each client and channel, what `Heard.report` returns.
    """
    verdict = Verdict(sent=sum(how == "ok" for _, how in outcomes.values()))
    for channel in sorted({each for report in reports.values() for each in report}):
        of_channel = {user: report[channel] for user, report in reports.items()}
        _judge_channel(verdict, channel, outcomes, of_channel)
    return verdict


def _judge_channel(
    verdict: Verdict,
    channel: str,
    outcomes: Mapping[int, tuple[str, str]],
    reports: Mapping[str, Any],
) -> None:
    order: dict[tuple[str, int], int] = {}
    tops: defaultdict[str, int] = defaultdict(int)
    for user, report in reports.items():
        verdict.faults += [f"{user} {channel}: {fault}" for fault in report["faults"]]
        for epoch, after, _, ids in report["stretches"]:
            verdict.heard += len(ids)
            tops[epoch] = max(tops[epoch], after + len(ids))
            for offset, number in enumerate(ids, after + 1):
                known = order.setdefault((epoch, offset), number)
                if known != number:
                    verdict.faults.append(f"{user} {channel}: {epoch}:{offset}: {number}, {known}")
    _judge_ids(verdict, channel, outcomes, order, was_told_all(reports), len(reports))
    ends = set()
    for user, report in reports.items():
        stretches = report["stretches"]
        _judge_gaps(verdict, f"{user} {channel}", stretches, tops)
        ends.add(
            (stretches[-1][0], stretches[-1][1] + len(stretches[-1][3])) if stretches else None
        )
    if len(ends) != 1:
        verdict.faults.append(f"{channel}: the clients end at {ends}")


def was_told_all(reports: Mapping[str, Any]) -> bool:
    """Return whether every client was told of messages that it may have missed."""
    return all(any(told for _, _, told, _ in each["stretches"]) for each in reports.values())


def _judge_ids(
    verdict: Verdict,
    channel: str,
    outcomes: Mapping[int, tuple[str, str]],
    order: Mapping[tuple[str, int], int],
    were_all_told: bool,
    clients: int,
) -> None:
    places: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for position, number in order.items():
        places[number].append(position)
    for number, positions in places.items():
        if len({epoch for epoch, _ in positions}) != len(positions):
            verdict.faults.append(f"{channel}: {number} is at {positions}")
        if outcomes.get(number, ("", ""))[1] == "refused":
            verdict.faults.append(f"{channel}: {number} was refused, and heard at {positions}")
    for number, (where, how) in outcomes.items():
        if where == channel and how == "ok" and number not in places:
            # Only an engine that has lost its memory loses it for all.
            if were_all_told:
                verdict.told += clients
            else:
                verdict.silent += clients
                verdict.faults.append(f"{channel}: no client has heard {number}")


def _judge_gaps(
    verdict: Verdict, name: str, stretches: Sequence[Any], tops: Mapping[str, int]
) -> None:
    for before, following in pairwise(stretches):
        epoch, after, is_told, _ = following
        end = before[1] + len(before[3])
        if before[0] == epoch:
            missed = after - end
        else:
            missed = tops[before[0]] - end + after
        if is_told:
            verdict.told += max(missed, 0)
        else:
            verdict.silent += max(missed, 1)
            verdict.faults.append(f"{name}: from {before[0]}:{end} to {epoch}:{after}, not told")
