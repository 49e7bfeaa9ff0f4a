"""The page and the tables in the terminal, made from the figures of a run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.benchmarks._figures import BUSY, FLOOR, Line, Result, difference, ratio, result_of
from tests.benchmarks._verdict import LEEWAY

# The bare app on the same server.
_FLOORS: Final = {"ours-hypercorn": "bare-hypercorn", "ours-granian": "bare-granian"}
# Nothing bare shares channels between workers.
_FLOOR_OF_NODES: Final = "ours-nodes"
_TWICE: Final = "²"  # marks a client that was too busy
_COLUMNS: Final = {
    "kept_up": "kept up",
    "in_time": "in time",
    "per_second": "deliveries/s",
    "deflate": "deflate",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "p99_us": "p99, us",
    "server_us": "server CPU, us",
    "added_p99_ms": "p99 added, ms",
    "alone_p50_ms": "one worker: p50, ms",
    "alone_p99_ms": "one worker: p99, ms",
    "first_us": "worker 1, us",
    "second_us": "worker 2, us",
    "redis_us": "Redis, us",
}
# Stops of the event loop, each by the clock and, if it is known, by CPU time.
_STOPS: Final = {
    "collection": "collection",
    "growing": "while they join",
    "drain": "drain",
    "tick": "tick",
    "nothing": "no members",
}
_NODES: Final = """\
## Two workers on Redis

Two uvicorn processes on two ports, and one Redis, for each contender. A *ratio* is that to \
PondSocket without a history on the same uvicorn. *Worker 1*, to which the sender is connected, \
*worker 2* and *Redis* are the CPU time of each process.
"""
_GROWTH: Final = """\
## Growth

Server CPU time per delivery, in us, for more members of one channel, for larger payloads, \
and for more channels with five members each.

![Cost per delivery for more members, larger payloads and more channels](growth.svg)
"""
_INTRO: Final = Path(__file__).with_name("page.md")


def page(kept: Mapping[str, Any]) -> str:
    """Write the page in Markdown."""
    results = [result_of(own) for own in kept["results"]]
    labels = {key: own["label"] for key, own in kept["contenders"].items()}
    parts = [_INTRO.read_text().format(busy=BUSY, mark=_TWICE, leeway=LEEWAY)]
    apart = ("growth", "nodes")
    parts += [section(result, labels) for result in results if result.kind not in apart]
    nodes = [section(result, labels, "###") for result in results if result.kind == "nodes"]
    if nodes:
        parts += [_NODES, *nodes]
    growing = [result for result in results if result.kind == "growth"]
    if growing:
        parts.append(_growth(growing, labels))
    parts.append(_machine(kept))
    return "\n".join(parts)


def section(result: Result, labels: Mapping[str, str], level: str = "##") -> str:
    """Write a scenario's title, conditions and table."""
    title = f"{level} {result.title}\n\n{_sentence(result)}\n"
    rows = {"rate": _rate_rows, "stops": _stop_rows}.get(result.kind, _cost_rows)
    table = _table(*rows(result, labels))
    faults = [
        f"* {labels.get(key, key)}: {_one_line(line.fault)}"
        for key, line in result.lines.items()
        if line.fault is not None
    ]
    told = "\n" + "\n".join(["No figure, or fewer rounds:", "", *faults, ""])
    extra = _difference(result) if result.kind == "difference" else ""
    return f"{title}\n{table}{extra}{told if faults else ''}"


def _sentence(result: Result) -> str:
    rounds = max((len(line.samples) for line in result.lines.values()), default=0)
    played = f"{rounds} rounds" if rounds != 1 else "One round"
    return f"{result.conditions} {played}; {result.unit}.".strip()


def _cost_rows(result: Result, labels: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    played = {key: line for key, line in result.lines.items() if line.samples}
    seen = {name for line in played.values() for sample in line.samples for name in sample.extras}
    columns = {name: title for name, title in _COLUMNS.items() if name in seen}
    has_client = any(line.client for line in played.values())
    least = _FLOOR_OF_NODES if result.kind == "nodes" else FLOOR
    has_ratio = least in played
    head = ["", "median", "min", "max", *(["ratio"] if has_ratio else [])]
    head += ["client"] if has_client else []
    rows = []
    for key, line in played.items():
        values = [sample.value for sample in line.samples]
        row = [labels.get(key, key), *map(_number, (line.median, min(values), max(values)))]
        row += [_ratio(key, least, played)] if has_ratio else []
        if has_client:
            row.append(_number(line.client) + (_TWICE if line.busy > BUSY else ""))
        rows.append(row + [_extra(line, name) for name in columns])
    return [*head, *columns.values()], rows


def _rate_rows(result: Result, labels: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for key, line in result.lines.items():
        for sample in line.samples:
            fails = sample.extras.get("fails_at")
            mark = _TWICE if sample.busy > BUSY else ""
            rows.append(
                [
                    labels.get(key, key),
                    f"{sample.value:,.0f}" if sample.value else "no tried rate",
                    f"{fails:,.0f}{mark}" if fails is not None else "",
                    *(_extra(line, name) for name in ("p50_ms", "p99_ms")),
                ]
            )
    return ["", "keeps up to", "fails at", "p50, ms", "p99, ms"], rows


def _stop_rows(result: Result, labels: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for key, line in result.lines.items():
        if line.samples:
            cells = [(_extra(line, f"{own}_ms"), _extra(line, f"{own}_cpu_ms")) for own in _STOPS]
            told = [f"{clock} ({cpu})" if cpu else clock for clock, cpu in cells]
            rows.append([labels.get(key, key), f"{line.median_of('members'):,.0f}", *told])
    return ["", "members", *_STOPS.values()], rows


def _extra(line: Line, name: str) -> str:
    if not any(name in sample.extras for sample in line.samples):
        return ""
    value = line.median_of(name)
    if name == "in_time":
        return f"{value:.0%}"
    if name == "per_second":
        return f"{value:,.0f}"
    if name == "kept_up":
        return "yes" if value >= 0.5 else "**no**"
    if name == "deflate":
        return "yes" if value else "no"
    return _number(value)


def _ratio(key: str, least: str, played: Mapping[str, Line]) -> str:
    floor = played.get(_FLOORS.get(key, least))
    found = None if floor is None else ratio(played[key], floor)
    return "" if found is None else f"{found:.2f}"


def _difference(result: Result) -> str:
    off, on = (result.lines.get(key, Line()) for key in ("ours", "ours-limited"))
    if not off.samples or not on.samples:
        return ""
    return f"\nThe median difference within a round is {difference(on, off):.2f} {result.unit}.\n"


def _growth(results: list[Result], labels: Mapping[str, str]) -> str:
    parts = [_GROWTH]
    for series in dict.fromkeys(result.series for result in results):
        points = [result for result in results if result.series == series]
        keys = list(dict.fromkeys(key for point in points for key in point.lines))
        rows = []
        for point in points:
            lines = (point.lines.get(key) for key in keys)
            cells = [_number(line.median) if line and line.samples else "" for line in lines]
            rows.append([f"{point.x:,.0f}", *cells])
        parts.append(_table([series, *(labels.get(key, key) for key in keys)], rows))
    return "\n".join(parts)


def _machine(kept: Mapping[str, Any]) -> str:
    lines = ["## Machine and versions", ""]
    if kept.get("later"):
        told = (
            "The runs, oldest first. A table has the figures of the last run whose scenarios"
            " include it, so tables differ in date and machine; within a table, all are of one run."
        )
        lines += [told, ""]
    for made in (kept["made"], *kept.get("later", ())):
        lines += [f"{made['date']}: {made['machine']}", ""]
        lines += [f"`{made['command']}`, {made['minutes']:.0f} minutes.", ""]
    rows = [
        [own["label"], ", ".join(f"{name} {version}" for name, version in own["versions"].items())]
        for own in kept["contenders"].values()
    ]
    absent = [f"* {why}" for why in kept["missing"]]
    if absent:
        absent = ["", "Not measured:", "", *absent, ""]
    return "\n".join([*lines, _table(["", "versions"], rows, words=True), *absent])


def _table(head: list[str], rows: Iterable[list[str]], *, words: bool = False) -> str:
    """Write a Markdown table; its columns are aligned, so that it can be read as text.

    Args:
        words: Whether its cells are words, and on the left; numbers are on the right.
    """
    cells = [head, *rows]
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(head))]
    first, *others = widths
    rules = ["-" * first, *("-" * width if words else "-" * (width - 1) + ":" for width in others)]
    lines = [
        [
            cell.rjust(width) if place and not words else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], rules, *lines[1:]])


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())[:300]
