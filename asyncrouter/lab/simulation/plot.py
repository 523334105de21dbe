"""The course of a simulation as a picture: a column for each run, what callers saw above what the upstreams saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from asyncrouter.lab.simulation.run import Outcome
from asyncrouter.lab.simulation.schema import Phase, UpstreamSettings

# The palette of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers can tell apart.
ARRIVED, ANSWERED, FAILED = "#999999", "#0072B2", "#D55E00"
UPSTREAMS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
STYLES = ("-", "--", "-.", ":")
P50, P95, SLOWEST = "#0072B2", "#CC79A7", "#777777"
OPEN, HALF_OPEN, TROUBLE = "#D55E00", "#E69F00", "#999999"
WIDTH_INCHES = 9.0
"""Of one run's column; of several, each is narrower."""
NARROW_INCHES = 6.2
HEIGHT_INCHES = 9.0
LANE_INCHES = 0.32
DOTS_PER_INCH = 120
MOST_OCCURRENCES = 2000
"""Of one repeated phase: more cannot be told apart."""


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the picture of *outcomes* to *path*, as PNG.  Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lanes = max(len(one.upstreams) for one in outcomes)
    width = WIDTH_INCHES if len(outcomes) == 1 else NARROW_INCHES * len(outcomes)
    lowest = 0.7 + LANE_INCHES * lanes
    figure = Figure(figsize=(width, HEIGHT_INCHES + lowest), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    heights = (2.4, 2.4, 2.4, lowest)
    grid = figure.subplots(4, len(outcomes), sharex=True, sharey="row", squeeze=False, height_ratios=heights)
    for column, outcome in enumerate(outcomes):
        _column(grid[:, column], outcome, is_first=column == 0)
    for axes in (*grid[0], *grid[1]):  # all is drawn: the columns share their scales
        axes.set_ylim(bottom=0)
    figure.savefig(path, format="png")


def _column(panels: Any, outcome: Outcome, *, is_first: bool) -> None:
    requests, upstreams, latency, breakers = panels
    _title(requests, outcome)
    _requests(requests, outcome)
    _upstreams(upstreams, outcome)
    _latency(latency, outcome)
    _breakers(breakers, outcome)
    if is_first:
        requests.set_ylabel("requests per second")
        upstreams.set_ylabel("upstream calls per second")
        latency.set_ylabel("seconds to the answer")
    breakers.set_xlabel("virtual seconds")
    breakers.set_xlim(0, outcome.steps * outcome.scenario.settings.interval_s)
    for axes in (requests, upstreams, latency):
        _shade(axes, outcome)
        axes.grid(visible=True, axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        _legend(axes)


def _title(axes: Any, outcome: Outcome) -> None:
    requests = outcome.requests
    answered = requests.answered / requests.begun if requests.begun else 0.0
    calls = outcome.upstream_calls / requests.begun if requests.begun else 0.0
    text = f"{outcome.scenario.name}: {answered:.2%} of {requests.begun:,} answered, {calls:.3f} calls a request"
    axes.set_title(text, loc="left", fontweight="bold", fontsize=11, pad=26)


def _requests(axes: Any, outcome: Outcome) -> None:
    record = outcome.requests
    _line(axes, outcome, record.arrivals.counts(outcome.steps), color=ARRIVED, linewidth=4, alpha=0.5, label="arrived")
    _line(axes, outcome, record.answers.counts(outcome.steps), color=ANSWERED, label="answered")
    _line(axes, outcome, record.failures.counts(outcome.steps), color=FAILED, linestyle="--", label="failed")


def _upstreams(axes: Any, outcome: Outcome) -> None:
    for index, (name, record) in enumerate(outcome.upstreams.items()):
        style = STYLES[index % len(STYLES)]
        colour = UPSTREAMS[index % len(UPSTREAMS)]
        _line(axes, outcome, record.steps.counts(outcome.steps), color=colour, linestyle=style, label=name)


def _line(axes: Any, outcome: Outcome, counts: Sequence[int], **style: Any) -> None:
    interval_s = outcome.scenario.settings.interval_s
    rates = [count / interval_s for count in counts]
    axes.plot([(step + 0.5) * interval_s for step in range(len(counts))], rates, **{"linewidth": 1.5, **style})


def _latency(axes: Any, outcome: Outcome) -> None:
    interval_s, requests = outcome.scenario.settings.interval_s, outcome.requests
    nothing = float("nan")
    lines = (
        ("slowest", requests.slowest_s, {"color": SLOWEST, "linestyle": "", "marker": ".", "markersize": 4}),
        ("p95", requests.p95_s, {"color": P95, "linestyle": "--"}),
        ("p50", requests.p50_s, {"color": P50}),
    )
    for label, values, style in lines:
        seconds = [nothing if value is None else value for value in values]
        moments = [(step + 0.5) * interval_s for step in range(len(seconds))]
        axes.plot(moments, seconds, linewidth=1.5, label=label, **style)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.yaxis.set_minor_formatter("")


def _shade(axes: Any, outcome: Outcome) -> None:
    for name in outcome.upstreams:
        for begin, end, phase in _troubles(outcome, name):
            axes.axvspan(begin, end, color=TROUBLE, alpha=0.18 if phase.down else 0.1, linewidth=0, zorder=0)


def _breakers(axes: Any, outcome: Outcome) -> None:
    from matplotlib.patches import Patch

    names = list(outcome.upstreams)
    for lane, name in enumerate(names):
        axes.axhline(lane, color=ARRIVED, linewidth=0.8, zorder=0)
        for begin, end, phase in _troubles(outcome, name):
            hatch = None if phase.down else "////"
            axes.barh(
                lane,
                end - begin,
                left=begin,
                height=0.8,
                facecolor=TROUBLE,
                alpha=0.35,
                hatch=hatch,
                linewidth=0,
                zorder=1,
            )
        for begin, end, state in _set_aside(outcome, name):
            colour = OPEN if state == "open" else HALF_OPEN
            axes.barh(lane, end - begin, left=begin, height=0.34, color=colour, linewidth=0, zorder=2)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    legend = [
        Patch(color=OPEN, label="breaker open"),
        Patch(color=HALF_OPEN, label="half open"),
        Patch(facecolor=TROUBLE, alpha=0.35, label="down"),
        Patch(facecolor=TROUBLE, alpha=0.35, hatch="////", label="slow or flaky"),
    ]
    _legend(axes, handles=legend)


def _legend(axes: Any, **given: Any) -> None:
    """Put the legend above the axes, where it hides nothing."""
    place = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.1}
    axes.legend(**place, ncols=6, columnspacing=1.2, handlelength=1.8, fontsize=9, frameon=False, **given)


def _troubles(outcome: Outcome, name: str) -> Iterator[tuple[float, float, Phase]]:
    """Yield when the upstream *name* was in trouble, and how."""
    settings = outcome.scenario.settings.upstreams
    until = outcome.steps * outcome.scenario.settings.interval_s
    for phase in (settings.get(name) or settings.get("*") or UpstreamSettings()).phases:
        for number in range(MOST_OCCURRENCES):
            shift = number * (phase.every_s or 0.0)
            if phase.from_s + shift >= until or (number and not phase.every_s):
                break
            yield phase.from_s + shift, min(until, phase.to_s + shift), phase


def _set_aside(outcome: Outcome, name: str) -> Iterator[tuple[float, float, str]]:
    """Yield when the breaker of *name* was not closed, and what it was."""
    changes = [(one.at_s, one.state) for one in outcome.watch.changes if one.deployment == name]
    ends = [at for at, _state in changes[1:]] + [outcome.steps * outcome.scenario.settings.interval_s]
    for (begin, state), end in zip(changes, ends, strict=False):
        if state != "closed":
            yield begin, end, state
