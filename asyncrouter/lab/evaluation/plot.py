"""The cost-quality curves as a picture: a panel for each file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asyncrouter.lab.evaluation.curves import pair_curve
from asyncrouter.lab.evaluation.evaluating import Evaluated
from asyncrouter.lab.evaluation.many import ManyModels, line_of
from asyncrouter.lab.evaluation.points import points_curve
from asyncrouter.lab.evaluation.scored import LENGTH, ORACLE, RANDOM

# The palette of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers can tell apart.
BASELINES = {RANDOM: ("#999999", "--"), LENGTH: ("#777777", ":"), ORACLE: ("#000000", "-.")}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")
MOST_COLUMNS = 3
PANEL_INCHES = (4.6, 4.0)
DOTS_PER_INCH = 120
CALLS = 1000
"""Costs are told for so many calls."""
POINT = {"linestyle": "", "marker": "D", "markersize": 5}
"""What a selector came to."""
STEPS = 200
"""Points of a line."""
ABOVE = 0.15
"""How far above all lines but the oracle's a panel reaches, in parts of the models' range: that one is out of reach."""


def draw(evaluated: Sequence[Evaluated], path: Path) -> None:
    """Write the curves of *evaluated* to *path*, as PNG.  Needs matplotlib.

    A file of a pair shows quality over the share of strong calls, one of many models with prices over what the calls
    cost; there each model alone is a dot.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(MOST_COLUMNS, math.isqrt(len(evaluated) - 1) + 1)
    rows = -(-len(evaluated) // columns)
    size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.7)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(panels, evaluated, strict=False):
        axes.set_title(f"{Path(one.file).name}, {len(one.scored.outcomes):,} rows", loc="left", fontsize=10)
        if one.many is None:
            _pair(axes, one)
        else:
            _many(axes, one, one.many)
        axes.grid(visible=True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(evaluated) :]:
        axes.set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 * columns), frameon=False)
    figure.savefig(path, format="png")


def _pair(axes: Any, one: Evaluated) -> None:
    rows, played = one.rows, one.scored.played
    for name, style in _styles(one.measures).items():
        if name in rows.scores:
            curve = pair_curve(rows.scores[name], rows.strong, rows.weak)
        else:
            curve = points_curve(played[name], rows.weak, rows.strong, np.ones(len(rows)))
            axes.plot(100 * curve.shares[1:-1], curve.qualities[1:-1], **{**style, **POINT})
        axes.plot(100 * curve.shares, curve.qualities, label=name, **style)
    _limit(axes, float(rows.weak.mean()), float(rows.strong.mean()))
    axes.set_xlabel(f"% of calls to {one.scored.outcomes.strong}")
    axes.set_ylabel("mean quality")


def _many(axes: Any, one: Evaluated, many: ManyModels) -> None:
    from matplotlib.ticker import LogLocator

    costs, qualities = (side.mean(axis=1) for side in many.singles)
    axes.plot(CALLS * costs, qualities, linestyle="", marker="o", markersize=4, color="#999999")
    for name, style in _styles(one.measures).items():
        line, played = line_of(many, name), one.scored.played.get(name)
        if played is not None:
            axes.plot(CALLS * played.costs.mean(axis=1), played.qualities.mean(axis=1), **{**style, **POINT})
        at = np.geomspace(line.costs[0], line.costs[-1], STEPS)  # a mix is straight in cost, so not on this scale
        axes.plot(CALLS * at, np.interp(at, line.costs, line.qualities), label=name, **style)
    alone = line_of(many, RANDOM)
    _limit(axes, float(alone.qualities[0]), float(alone.qualities[-1]))
    axes.set_xscale("log")
    axes.set_xlim(CALLS * costs.min() * 0.8, CALLS * costs.max() * 1.25)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel(f"USD for {CALLS:,} calls; a dot is a model alone")
    axes.set_ylabel("mean quality")


def _limit(axes: Any, low: float, high: float) -> None:
    spare = ABOVE * (high - low)
    drawn = [np.max(line.get_ydata()) for line in axes.get_lines() if line.get_label() != ORACLE]
    axes.set_ylim(low - spare, max(high + 2 * spare, float(max(drawn)) + spare))


def _styles(names: Any) -> dict[str, dict[str, Any]]:
    """Return how each of *names* is drawn: baselines thin, in grey and black, the others in colours."""
    styles = {}
    others = [name for name in names if name not in BASELINES]
    for name in names:
        if name in BASELINES:
            colour, dashes = BASELINES[name]
            styles[name] = {"color": colour, "linestyle": dashes, "linewidth": 1.2}
        else:
            place = others.index(name)
            dashes = STYLES[place // len(COLOURS) % len(STYLES)]
            styles[name] = {"color": COLOURS[place % len(COLOURS)], "linestyle": dashes, "linewidth": 1.7}
    return styles
