"""The figures of ``adaptive.py``: a table, a document and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from adaptive_simulation import Trial
from rich.table import Table

GOAL = 0.8
COLOURS = {"named": "#1b6ca8", "found": "#d1603d", "some": "#5b8c3e"}


def document(trials: Sequence[Trial], calls: int, after: int) -> dict[str, Any]:
    """Return the means over the seeds, and their standard errors, for each file and way to know kinds."""
    rows = []
    for (world, kinds), group in groupby(trials, key=lambda trial: (trial.world, trial.kinds)):
        same = list(group)
        row = {
            "file": world,
            "kinds": kinds,
            "seeds": len(same),
            "gap": same[0].gap,
            "knows": _at(same, calls, "known"),
            "earns": _at(same, calls, "earned"),
            "regret": _mean([float(trial.regret[calls - 1]) for trial in same]),
            "decision_us": round(float(np.median(np.concatenate([trial.decisions_us for trial in same]))), 1),
            "regret_of_the_best_fixed": _mean([float(trial.fixed_regret[calls - 1]) for trial in same]),
        }
        if after:
            row["knows_1000_after_the_change"] = _at(same, min(calls + 1_000, calls + after), "known")
            row["earns_1000_after_the_change"] = _at(same, min(calls + 1_000, calls + after), "earned")
            row["recovered_after"] = _recovered(same, calls)
        row["curves"] = {
            measure: [[at, _mean([dict(getattr(trial, measure))[at] for trial in same])["mean"]]
                      for at, _ in getattr(same[0], measure)]
            for measure in ("known", "earned")
        }  # fmt: skip
        rows.append(row)
    return {"calls": calls, "calls_after_the_change": after, "goal": GOAL, "rows": rows}


def _at(trials: Sequence[Trial], calls: int, measure: str) -> dict[str, float]:
    return _mean([max((at, share) for at, share in getattr(trial, measure) if at <= calls)[1] for trial in trials])


def _mean(values: Sequence[float]) -> dict[str, float]:
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
    return {"mean": round(float(np.mean(values)), 4), "standard_error": round(error, 4)}


def _recovered(trials: Sequence[Trial], calls: int) -> int | None:
    """Return how many calls after the change the mean of what is known is at the goal again, ``None`` if never."""
    for at in [at for at, _ in trials[0].known if at > calls]:
        if float(np.mean([dict(trial.known)[at] for trial in trials])) >= GOAL:
            return at - calls
    return None


def table(found: dict[str, Any]) -> Table:
    """Return the table; shares of the gap with their standard errors."""
    shown = Table(title=f"after {found['calls']} calls; 0 is the best fixed model, 1 the best of each category")
    headings = ("outcomes", "kinds", "gap", "knows", "earns", "regret", "best fixed's", "knows later", "earns later",
                "recovered after", "decision, µs")  # fmt: skip
    for heading in headings:
        shown.add_column(heading, justify="left" if heading in {"outcomes", "kinds"} else "right")
    for row in found["rows"]:
        shown.add_row(
            row["file"], row["kinds"], f"{row['gap']:.4f}",
            *(_told(row[measure]) if row["gap"] else "nothing to win" for measure in ("knows", "earns")),
            f"{row['regret']['mean']:.0f}", f"{row['regret_of_the_best_fixed']['mean']:.0f}",
            *(_told(row[measure]) if measure in row else ""
              for measure in ("knows_1000_after_the_change", "earns_1000_after_the_change")),
            str(row.get("recovered_after") or "-"), f"{row['decision_us']:.0f}",
        )  # fmt: skip
    return shown


def _told(value: dict[str, float]) -> str:
    return f"{value['mean']:.2f} ± {value['standard_error']:.2f}"


def plot(trials: Sequence[Trial], calls: int, path: Path) -> None:
    """Draw, for each file, what is known and earned over the calls, and the cumulative regret."""
    from matplotlib.figure import Figure

    worlds = list(dict.fromkeys(trial.world for trial in trials))
    figure = Figure(figsize=(12, 3.6 * len(worlds)), layout="constrained")
    axes = figure.subplots(len(worlds), 2, squeeze=False)
    for (shares, regrets), world in zip(axes, worlds, strict=True):
        of_world = [trial for trial in trials if trial.world == world]
        for kinds in dict.fromkeys(trial.kinds for trial in of_world):
            same = [trial for trial in of_world if trial.kinds == kinds]
            _draw(shares, regrets, same, kinds, COLOURS[kinds])
        regrets.plot(np.mean([trial.fixed_regret for trial in of_world], axis=0), "k:", label="best fixed model")
        for axis in (shares, regrets):
            axis.axvline(calls, color="grey", linewidth=0.8)
            axis.set_xlabel("calls")
            axis.legend(fontsize=8)
        shares.axhline(GOAL, color="green", linewidth=0.8, linestyle=":")
        shares.axhline(0.0, color="black", linewidth=0.8, linestyle=":")
        shares.set_ylim(-1.5, 1.1)
        shares.set_ylabel("share of the gap")
        shares.set_title(f"{world}: 0 best fixed model, 1 best of each category")
        regrets.set_ylabel("cumulative regret, in answers")
        regrets.set_title(f"{world}: against the best of each category")
    figure.savefig(path, dpi=110)


def _draw(shares: Any, regrets: Any, trials: Sequence[Trial], label: str, colour: str) -> None:
    for measure, style, word in (("known", "-", "knows"), ("earned", "--", "earns")):
        curves = np.array([[share for _, share in getattr(trial, measure)] for trial in trials])
        at = [number for number, _ in getattr(trials[0], measure)]
        shares.plot(at, curves.mean(axis=0), style, color=colour, label=f"kinds {label}: {word}")
    regret = np.array([trial.regret for trial in trials])
    regrets.plot(regret.mean(axis=0), color=colour, label=f"kinds {label}")
    regrets.fill_between(range(regret.shape[1]), regret.min(axis=0), regret.max(axis=0), color=colour, alpha=0.15)
