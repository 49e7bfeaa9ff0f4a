"""The plots of the page. Runs in a separate environment, with matplotlib and without this project.

python _plots.py docs/benchmarks.json docs
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]

mpl.use("svg")
from matplotlib import pyplot as plt  # type: ignore[import-not-found, unused-ignore]

FLOOR: Final = "bare"
# By scenario; the bars' titles.
BARS: Final = {
    "fan-out": "Fan-out to 1,000, one at a time",
    "fan-out-4": "Fan-out to 1,000, four at a time",
    "open-250": "100 all sending",
    "echo": "Echo",
    "join": "Connect and join",
    "join-browser": "Connect and join, browsers",
    "idle": "Memory, idle",
    "idle-browser": "Memory, idle browsers",
    "sse": "Event streams",
}
SERIES: Final = ("members", "payload bytes", "channels")
# Longer bars are cut; their label has the number.
LONGEST: Final = 6.0
OURS: Final = "#1f6f8b"
LANE: Final = "#0b3c49"
FLOORS: Final = "#9aa5a8"
OTHERS: Final = "#d8b26e"
# Text stays text in the SVG, and the same figures give the same file.
STYLE: Final = {"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9}


def color_of(key: str) -> str:
    """Return the colour for PondSocket, its fast lane, a floor, or another project."""
    if key.startswith("ours-lane"):
        return LANE
    if key.startswith("ours"):
        return OURS
    return FLOORS if key.startswith(("bare", "limit")) else OTHERS


def ratios(result: dict[str, Any]) -> dict[str, float]:
    """Return, by contender, the median of the rounds' ratios to the floor."""
    lines = result["lines"]
    floor = [sample["value"] for sample in lines.get(FLOOR, {"samples": []})["samples"]]
    found = {}
    for key, line in lines.items():
        own = [sample["value"] for sample in line["samples"]]
        pairs = [mine / least for mine, least in zip(own, floor, strict=False) if least]
        if pairs:
            found[key] = statistics.median(pairs)
    return found


def bars(kept: dict[str, Any], path: Path) -> None:
    """Draw a panel for each scenario, with a bar for each contender: multiples of the bare app."""
    results = {result["key"]: result for result in kept["results"]}
    shown = [(title, ratios(results[key])) for key, title in BARS.items() if key in results]
    shown = [(title, found) for title, found in shown if found]
    if not shown:
        return
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    tallest = max(len(found) for _, found in shown)
    figure, panels = plt.subplots(
        rows, columns, figsize=(5.4 * columns, (0.26 * tallest + 0.8) * rows), squeeze=False
    )
    for panel in panels.flat[len(shown) :]:
        panel.set_visible(False)
    for panel, (title, found) in zip(panels.flat, shown, strict=False):
        keys = list(found)[::-1]
        lengths = [min(found[key], LONGEST) for key in keys]
        drawn = panel.barh(keys, lengths, color=[color_of(key) for key in keys])
        panel.bar_label(drawn, [f"{found[key]:.2f}" for key in keys], padding=3)
        panel.axvline(1, color="black", linewidth=0.8)
        panel.set_xlim(0, LONGEST * 1.15)
        panel.set_title(f"{title}: multiples of the bare ASGI app", fontsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def growth(kept: dict[str, Any], path: Path) -> None:
    """Draw a panel for each growing quantity: us per delivery."""
    points = [result for result in kept["results"] if result["kind"] == "growth"]
    shown = [name for name in SERIES if any(point["series"] == name for point in points)]
    if not shown:
        return
    figure, panels = plt.subplots(1, len(shown), figsize=(3.8 * len(shown), 3.2), squeeze=False)
    for panel, name in zip(panels.flat, shown, strict=True):
        own = [point for point in points if point["series"] == name]
        for key in dict.fromkeys(key for point in own for key in point["lines"]):
            pairs = [
                (point["x"], statistics.median(sample["value"] for sample in line["samples"]))
                for point in own
                if (line := point["lines"].get(key)) and line["samples"]
            ]
            panel.plot(*zip(*pairs, strict=True), marker="o", label=key, color=color_of(key))
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_xlabel(name)
        panel.set_ylabel("us per delivery")
        panel.grid(visible=True, alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels.flat[0].legend()
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write it without a date, so that the same figures give the same file."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # matplotlib leaves blanks at the ends of lines.
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n")


def main() -> None:
    """Draw both plots."""
    source, folder = map(Path, sys.argv[1:3])
    kept = json.loads(source.read_text())
    with plt.rc_context(STYLE):
        bars(kept, folder / "benchmarks.svg")
        growth(kept, folder / "growth.svg")


if __name__ == "__main__":
    main()
