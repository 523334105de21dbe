"""The run as a picture: every attempt a bar in its deployment's band, the outage shaded, the answers counted below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs

from asyncrouter.examples.demo.record import Run, Way
from asyncrouter.types.trace import Outcome

# The palette of Okabe and Ito ("Color Universal Design", 2008), which colour-blind readers can tell apart.
COLOURS = {Way.CHOSEN: "#0072B2", Way.STEERED: "#56B4E9", Way.FELL_BACK: "#E69F00"}
FAILED = "#D55E00"
LINES = ("#CC79A7", "#009E73")
"""Of the deployments, in the lower half."""
OUTAGE = "#999999"
FAINT = (1.0, 1.0, 1.0, 0.4)
SIZE_INCHES = (12.0, 7.0)
DOTS_PER_INCH = 120
BAR_HEIGHT = 0.78
"""Of a lane, which is 1."""
GAP = 1.1
"""Between two bands, in lanes."""
LABELLED = 0.015
"""Share of the run from which a bar is wide enough for its number."""


@attrs.frozen(kw_only=True)
class Bar:
    """One attempt for the prompt of that ``number``; ``way`` is ``None`` when it failed or was cut off."""

    number: int
    deployment: str
    begin_s: float
    end_s: float
    way: Way | None
    stream: bool


@attrs.frozen(kw_only=True)
class Band:
    """One deployment's part of the picture: the lanes from ``bottom`` up, and a lane for each of its ``bars``."""

    deployment: str
    bottom: float
    lanes: tuple[int, ...]
    bars: tuple[Bar, ...]

    @property
    def height(self) -> int:
        """In lanes."""
        return max(self.lanes, default=0) + 1


def bars_of(run: Run) -> list[Bar]:
    """Return a bar for every attempt, in the order in which they began."""
    bars = [
        Bar(
            number=call.task.number,
            deployment=attempt.deployment,
            begin_s=run.seconds(attempt.started_at),
            end_s=run.seconds(attempt.started_at) + attempt.duration_s,
            way=call.way if attempt.outcome is Outcome.OK else None,
            stream=call.task.stream,
        )
        for call in run.calls
        for attempt in call.attempts
    ]
    return sorted(bars, key=lambda bar: (bar.begin_s, bar.end_s))


def lanes_of(bars: Iterable[Bar]) -> tuple[int, ...]:
    """Return for each of *bars*, sorted by their begin, the lowest lane where it overlaps no other."""
    free_from: list[float] = []
    lanes = []
    for bar in bars:
        lane = next((index for index, until in enumerate(free_from) if until <= bar.begin_s), len(free_from))
        free_from[lane : lane + 1] = [bar.end_s]
        lanes.append(lane)
    return tuple(lanes)


def bands_of(run: Run) -> list[Band]:
    """Return the bands from the bottom up, the deployment whose server was stopped first."""
    bars = bars_of(run)
    names = sorted({bar.deployment for bar in bars} | {run.outage.deployment}, key=lambda n: n != run.outage.deployment)
    bands: list[Band] = []
    bottom = 0.0
    for name in names:
        own = tuple(bar for bar in bars if bar.deployment == name)
        band = Band(deployment=name, bottom=bottom, lanes=lanes_of(own), bars=own)
        bottom += band.height + GAP
        bands.append(band)
    return bands


def draw(run: Run, path: Path) -> None:
    """Write the picture of *run* to *path*, as PNG.  Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1.0))
    bands = bands_of(run)
    _draw_outage(upper, lower, run, bands[0])
    for band in bands:
        _draw_band(upper, band, run.duration_s)
    _draw_breaker(upper, run, bands)
    _finish_upper(upper, run, bands)
    _draw_answers(lower, run, [band.deployment for band in bands])
    figure.savefig(path)


def _draw_outage(upper: Any, lower: Any, run: Run, band: Band) -> None:
    outage = run.outage
    below, above = band.bottom - 0.6, band.bottom + band.height - 0.4
    spans = ((outage.stopped_s, outage.told_to_start_s, 0.35), (outage.told_to_start_s, outage.ready_s, 0.18))
    for begin, end, alpha in spans:
        upper.fill_between([begin, end], below, above, color=OUTAGE, alpha=alpha, linewidth=0, zorder=0)
        lower.axvspan(begin, end, color=OUTAGE, alpha=alpha, linewidth=0, zorder=0)
    labels = (
        (outage.stopped_s, "stopped", 2),
        (outage.told_to_start_s, "told to start", -2),
        (outage.ready_s, "ready", 2),
    )
    for at, text, shift in labels:
        upper.plot([at, at], [below, above], color="#444444", linewidth=1, linestyle=":", zorder=1)
        upper.annotate(text, (at, above), xytext=(shift, 2), textcoords="offset points", fontsize=8, color="#444444",
                       horizontalalignment="left" if shift > 0 else "right")  # fmt: skip


def _draw_band(axes: Any, band: Band, duration_s: float) -> None:
    for bar, lane in zip(band.bars, band.lanes, strict=True):
        y, width = band.bottom + lane, bar.end_s - bar.begin_s
        if bar.way is None:
            axes.barh(y, width, left=bar.begin_s, height=BAR_HEIGHT / 3, color=FAILED, alpha=0.6, zorder=2)
            axes.plot(bar.end_s, y, marker="x", markersize=7, markeredgewidth=2, color=FAILED, zorder=4)
            continue
        (patch,) = axes.barh(y, width, left=bar.begin_s, height=BAR_HEIGHT, color=COLOURS[bar.way],
                             edgecolor="white", linewidth=0.8, zorder=2)  # fmt: skip
        if bar.stream:
            patch.set(hatch="////", edgecolor=FAINT)
        if width > LABELLED * duration_s:
            axes.text(bar.begin_s + width / 2, y, str(bar.number), color="white", fontsize=8, fontweight="bold",
                      horizontalalignment="center", verticalalignment="center_baseline", zorder=3)  # fmt: skip


def _draw_breaker(axes: Any, run: Run, bands: Sequence[Band]) -> None:
    bottoms = {band.deployment: band.bottom for band in bands}
    for name, begin, end in run.set_aside:
        axes.plot([begin, end], [bottoms[name] - 0.75] * 2, color=FAILED, linewidth=3, solid_capstyle="butt", zorder=3)


def _finish_upper(axes: Any, run: Run, bands: Sequence[Band]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axes.set_title(
        f"{len(run.tasks)} prompts over {len(bands)} servers of a local model, one of them stopped midway: "
        f"{len(run.lost)} lost",
        loc="left",
        fontweight="bold",
    )
    axes.set_yticks([band.bottom + (band.height - 1) / 2 for band in bands])
    axes.set_yticklabels([band.deployment for band in bands], fontsize=11, fontweight="bold")
    axes.tick_params(left=False)
    axes.set_ylim(-1.1, bands[-1].bottom + bands[-1].height - 0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    legend = [
        *(Patch(color=colour, label=f"{way} ({run.count(way)})") for way, colour in COLOURS.items()),
        Patch(facecolor="#777777", hatch="////", edgecolor=FAINT, label="streamed"),
        Line2D([], [], marker="x", markersize=7, markeredgewidth=2, linestyle="", color=FAILED,
               label=f"failed attempt ({len(run.failed_attempts)})"),
        Line2D([], [], color=FAILED, linewidth=3, label="breaker not closed"),
        Patch(color=OUTAGE, alpha=0.35, label="server stopped"),
        Patch(alpha=0, label="a bar is an attempt, its number the prompt's"),
    ]  # fmt: skip
    axes.legend(handles=legend, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=4, fontsize=9, frameon=False)


def _draw_answers(axes: Any, run: Run, deployments: Sequence[str]) -> None:
    ends = sorted((call.ended_s, call.response.deployment) for call in run.calls if call.response is not None)
    for name, colour in zip(deployments, LINES, strict=False):
        moments = [at for at, deployment in ends if deployment == name]
        axes.step([0.0, *moments, run.duration_s], [*range(len(moments) + 1), len(moments)], where="post",
                  color=colour, linewidth=2, label=name)  # fmt: skip
    axes.set_ylabel("answers")
    axes.set_xlabel("seconds since the first call")
    axes.set_xlim(0, run.duration_s * 1.01)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", fontsize=9, frameon=False)
