"""The plots of the benchmarks: bars beside each other, and lines over a scale.  matplotlib is loaded here alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

OURS, OTHERS, BASE = "#d1495b", "#8d99ae", "#2f6690"
COLOURS = ("#d1495b", "#2f6690", "#edae49", "#66a182", "#5f0f40", "#8d99ae", "#00798c", "#b08968")
MARKERS = "osD^"

Draw = Callable[[Mapping[str, Any], Path], None]


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def bars(label: str, value: str, panel: str, unit: str) -> Draw:
    """Return what draws a bar for each row, named by *label* and as long as *value*, in a panel for each of *panel*."""

    def draw(document: Mapping[str, Any], path: Path) -> None:
        rows = [row for row in document["rows"] if row.get(panel) is not None] or document["rows"]
        panels = list(dict.fromkeys(row.get(panel) for row in rows))
        labels = list(dict.fromkeys(row[label] for row in rows))
        plt = _pyplot()
        width, height = 3.2 + 3.4 * len(panels), 1.4 + 0.34 * len(labels)
        figure, axes = plt.subplots(1, len(panels), figsize=(width, height), squeeze=False, layout="constrained")
        for axis, one in zip(axes[0], panels, strict=True):
            own = {row[label]: row[value] for row in rows if row.get(panel) == one}
            _panel(axis, own, labels, is_first=axis is axes[0][0])
            axis.set_title("" if one is None else f"{panel} {one}", fontsize=10)
            axis.set_xlabel(unit)
        figure.suptitle(document["title"], fontsize=11)
        figure.savefig(path, dpi=130)
        plt.close(figure)

    return draw


def _panel(axis: Any, values: Mapping[str, float], labels: Sequence[str], *, is_first: bool) -> None:
    places = range(len(labels))[::-1]
    lengths = [values.get(name) or 0.0 for name in labels]
    axis.barh(places, lengths, color=[_colour(name) for name in labels], height=0.7)
    longest = max(lengths) or 1.0
    for place, length in zip(places, lengths, strict=True):
        if length:
            axis.text(
                length + 0.01 * longest,
                place,
                f"{length:,.3g}" if length < 1000 else f"{length:,.0f}",
                va="center",
                fontsize=8,
            )
    axis.set_xlim(0, 1.2 * longest)
    axis.set_yticks(list(places), labels if is_first else [""] * len(labels), fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    if "asyncrouter" in name or "router of" in name:
        return OURS
    return BASE if "aiohttp" in name else OTHERS


def lines(x: str, y: str, series: str, labels: tuple[str, str], *, decades: bool) -> Draw:
    """Return what draws a line over *x* for each of *series*; *labels* are those of the axes.

    *decades*: every tenfold of *x* gets the same width.
    """

    def draw(document: Mapping[str, Any], path: Path) -> None:
        rows: Iterable[Mapping[str, Any]] = document["rows"]
        plt = _pyplot()
        figure, axis = plt.subplots(figsize=(8.5, 4.8), layout="constrained")
        for place, one in enumerate(dict.fromkeys(row[series] for row in rows)):
            own = [row for row in rows if row[series] == one]
            points = [row[x] for row in own], [row[y] for row in own]
            axis.plot(
                *points,
                marker=MARKERS[place // len(COLOURS)],
                ms=5,
                color=COLOURS[place % len(COLOURS)],
                label=str(one),
            )
        axis.set_xscale("log" if decades else "linear")
        axis.set_ylim(bottom=0)
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
        axis.grid(visible=True, which="major", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        axis.set_title(document["title"], fontsize=11)
        figure.savefig(path, dpi=130)
        plt.close(figure)

    return draw
