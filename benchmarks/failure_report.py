"""The figures of ``failures.py``: one row for each scenario and contestant, a table, a verdict and a picture."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
from failure_contestants import ATTEMPT_S, CONTESTANTS, DEADLINE_S, SILENCE_S, Outcome
from failure_scenarios import BY_NAME

PAIRS = (("asyncrouter", "LiteLLM"), ("asyncrouter, tuned", "LiteLLM, tuned"))
"""Who is compared with whom."""
NOISE_CALLS = 0.1
"""Upstream calls per request that differ by no more are even: two calls of twenty requests."""
NOISE_S = 0.02
"""Times that differ by less than this or by less than a tenth are even."""
COLOURS = {"asyncrouter": "#1b6ca8", "LiteLLM": "#d1603d"}


@attrs.define
class Row:
    """How a contestant fared in a scenario.  Times are of all requests, answered or not, in seconds."""

    scenario: str
    contestant: str
    outcomes: list[Outcome] = attrs.field(factory=list)
    calls: Counter[str] = attrs.field(factory=Counter)

    def add(self, outcomes: Sequence[Outcome], calls: dict[str, int]) -> None:
        """Add what one play gave."""
        self.outcomes.extend(outcomes)
        self.calls.update(calls)

    @property
    def answered(self) -> int:
        """Requests that got the whole answer."""
        return sum(not outcome.error for outcome in self.outcomes)

    @property
    def success(self) -> float:
        """Their share."""
        return self.answered / len(self.outcomes)

    @property
    def calls_per_request(self) -> float:
        """Calls that arrived at the servers, per request."""
        return self.calls.total() / len(self.outcomes)

    @property
    def p50_s(self) -> float:
        """The median time until the caller had an answer or an error."""
        return statistics.median(outcome.seconds for outcome in self.outcomes)

    @property
    def worst_s(self) -> float:
        """The longest of these times."""
        return max(outcome.seconds for outcome in self.outcomes)

    @property
    def first_token_s(self) -> float | None:
        """The median time to the first word of those streams that had one."""
        times = [outcome.first_s for outcome in self.outcomes if outcome.first_s is not None]
        return statistics.median(times) if times else None

    def as_json(self) -> dict[str, Any]:
        """Return all of it, the errors counted."""
        return {
            "scenario": self.scenario,
            "contestant": self.contestant,
            "requests": len(self.outcomes),
            "answered": self.answered,
            "upstream_calls": dict(self.calls),
            "upstream_calls_per_request": round(self.calls_per_request, 3),
            "p50_s": round(self.p50_s, 4),
            "worst_s": round(self.worst_s, 4),
            "first_token_p50_s": None if self.first_token_s is None else round(self.first_token_s, 4),
            "errors": dict(Counter(outcome.error.partition(":")[0] for outcome in self.outcomes if outcome.error)),
        }


def rival_is_better(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each scenario in which the rival does better: scenario, rival, and the columns.

    An answer is what matters: where one of the two answers more requests, that decides alone.  Where they answer
    equally many, the fewer upstream calls and the shorter times are better, if the difference is more than noise.
    """
    found = {(row.scenario, row.contestant): row for row in rows}
    for scenario in dict.fromkeys(row.scenario for row in rows):
        for own_name, rival_name in PAIRS:
            own, rival = found.get((scenario, own_name)), found.get((scenario, rival_name))
            if own is not None and rival is not None and (columns := _better_columns(own, rival)):
                yield scenario, rival_name, columns


def _better_columns(own: Row, rival: Row) -> list[str]:
    if own.success != rival.success:
        return ["success"] if rival.success > own.success else []
    columns = ["upstream calls"] if rival.calls_per_request < own.calls_per_request - NOISE_CALLS else []
    times = {"p50": (own.p50_s, rival.p50_s), "worst": (own.worst_s, rival.worst_s)}
    if own.first_token_s is not None and rival.first_token_s is not None:
        times["first token"] = (own.first_token_s, rival.first_token_s)
    return columns + [name for name, (ours, theirs) in times.items() if theirs < min(ours - NOISE_S, 0.9 * ours)]


def verdict(rows: Sequence[Row]) -> str:
    """Say where the rival does better, in lines."""
    if not {row.contestant for row in rows} & {rival for _own, rival in PAIRS}:
        return "No rival took part."
    found = [f"- {scenario}: {rival} ({', '.join(columns)})" for scenario, rival, columns in rival_is_better(rows)]
    return "\n".join(["The rival does better in:", "", *found]) if found else "The rival does better in no scenario."


def settings() -> dict[str, Any]:
    """Return how the contestants are set up."""
    common = {"attempt_s": ATTEMPT_S, "stream_silence_s": SILENCE_S, "deadline_s": DEADLINE_S}
    own = {name: {"options": dict(one.options), "why": one.why} for name, one in CONTESTANTS.items()}
    return {"common": common, "contestants": own}


def machine() -> str:
    """Return what the figures hold for."""
    versions = []
    for name in ("asyncrouter", "litellm", "openai", "aiohttp", "httpx"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    load = f" at a load of {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    cores = f"{platform.machine()}, {os.cpu_count()} cores{load}"
    return f"{cores}, Python {platform.python_version()}, {', '.join(versions)}"


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """Return everything for ``--json``."""
    worse = [{"scenario": one, "rival": rival, "columns": columns} for one, rival, columns in rival_is_better(rows)]
    return {
        "machine": machine(),
        "settings": settings(),
        "rows": [row.as_json() for row in rows],
        "rival_is_better": worse,
    }


def markdown(rows: Sequence[Row]) -> str:
    """Return the table, how to read it, and the verdict."""
    lines = [
        "# Failing upstreams, side by side",
        "",
        f"`python benchmarks/failures.py` on {machine()}.",
        "",
        "| scenario | contestant | answered | calls per request | p50 ms | worst ms | first token ms |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for scenario, members in groupby(rows, key=lambda row: row.scenario):
        title = f"**{scenario}**: {BY_NAME[scenario].what}"
        for row in members:
            first = "" if row.first_token_s is None else f"{row.first_token_s * 1e3:.0f}"
            lines.append(
                f"| {title} | {row.contestant} | {row.answered} of {len(row.outcomes)} | {row.calls_per_request:.2f} "
                f"| {row.p50_s * 1e3:.0f} | {row.worst_s * 1e3:.0f} | {first} |"
            )
            title = ""
    lines += ["", *reading(), "", "## Verdict", "", verdict(rows), ""]
    return "\n".join(lines)


def reading() -> Iterator[str]:
    """Yield the lines that say what the columns mean and how the contestants are set up."""
    yield (
        "*Answered*: the whole answer came. *Calls*: counted at the servers. *p50*, *worst*: until the caller had an "
        "answer or an error, over all requests. *First token*: p50 of the streams that had one."
    )
    yield ""
    yield (
        f"All have the same order of preference, {ATTEMPT_S:g} s for an attempt, {SILENCE_S:g} s for a stream's "
        f"silence, and a caller who waits {DEADLINE_S:g} s. Where one answers more requests than the other, that "
        f"decides; otherwise the other columns do, beyond {NOISE_CALLS:g} calls a request, or 20 ms and a tenth. "
        "Beside that:"
    )
    yield ""
    for name, one in CONTESTANTS.items():
        said = ", ".join(f"`{key} = {value}`" for key, value in one.options.items())
        yield f"- {name}: {one.why}{': ' + said if said else ''}"


def plot(rows: Sequence[Row], target: Path) -> None:
    """Draw the four columns of the table, a line for each scenario."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    scenarios = list(dict.fromkeys(row.scenario for row in rows))[::-1]
    panels = (
        ("answered, %", lambda row: row.success * 100, "linear"),
        ("upstream calls per request", lambda row: row.calls_per_request, "linear"),
        ("p50, ms", lambda row: max(row.p50_s * 1e3, 1), "log"),
        ("worst, ms", lambda row: row.worst_s * 1e3, "log"),
    )
    figure, axes = plt.subplots(1, 4, sharey=True, figsize=(15, 1.6 + 0.32 * len(scenarios)), layout="constrained")
    for axis, (title, value, scale) in zip(axes, panels, strict=True):
        for name in dict.fromkeys(row.contestant for row in rows):
            router, _comma, tuned = name.partition(",")
            own = [row for row in rows if row.contestant == name]
            offset = 0.14 if router == "asyncrouter" else -0.14
            axis.scatter(
                [value(row) for row in own],
                [scenarios.index(row.scenario) + offset for row in own],
                s=46 if not tuned else 40,
                facecolors="none" if tuned else COLOURS[router],
                edgecolors=COLOURS[router],
                linewidths=1.4,
                label=name,
                zorder=3,
            )
        axis.set_title(title, fontsize=11)
        axis.set_xscale(scale)
        if scale == "log":
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
        axis.grid(axis="x", color="#dddddd", zorder=0)
        for position in range(0, len(scenarios), 2):
            axis.axhspan(position - 0.5, position + 0.5, color="#f4f4f4", zorder=0)
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_yticks(range(len(scenarios)), scenarios)
    axes[0].set_ylim(-0.5, len(scenarios) - 0.5)
    axes[0].set_xlim(-5, 105)
    axes[1].set_xlim(left=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.text(0.5, -0.01, machine(), ha="center", va="top", fontsize=8, color="#555555")
    figure.savefig(target, dpi=110, bbox_inches="tight")
    plt.close(figure)
