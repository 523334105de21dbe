"""What the selector ``adaptive`` learns of recorded outcomes, and what learning costs: simulated calls, regret curves.

Every call is a row of a file of outcomes (a prompt, its category, how well each model answered), drawn at random; the
selector sees the prompt and learns only how well the model that it chose has answered.  Kinds of prompts are "named"
(the row's category comes as metadata), "found" (only the text), or those of "some" calls are named.  After the calls of
the first part the best model falls to the level of the worst one, or the two change places.  Run it as ``python
benchmarks/adaptive.py FILE... [--calls N] [--after N] [--change fall|swap] [--seeds N] [--kinds named;found;some]
[--some SHARE] [--cost SHARE] [--regret SHARE] [--estimate NAME_OR_MODEL | --learn N] [--others FILE...] [--bound]
[--json] [--plot F.png]``; it needs ``asyncrouter[lab]`` and ``asyncrouter-adaptive``, and for what learns
``asyncrouter-semantic``.

With ``--learn N`` the estimator is one that has learned from the ``--others`` and from N rows of the file, drawn by
lot: those rows are then no calls.  ``--bound`` tells instead what share of the gap choosing by a classifier of the text
reaches that was trained on all other rows, with every model's score on each of them known, and what choosing by the
form of the text alone does.

Two measures, both of the gap between the best fixed model (0) and the best model of each category (1), by the mean
scores over all rows: what the selector *knows*, when its expectation chooses, over rows that it was never given; and
what its calls *earn*, exploring included, over the last 500.  Where "some" are named, what is known is that from texts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptive_estimators import bound, learned
from adaptive_report import document, plot, table
from adaptive_simulation import Plan, Trial, World, play
from rich.console import Console
from rich.progress import track

from asyncrouter.lab.estimates import find_estimator
from asyncrouter.lab.outcomes import load

SEEDS = 10
FIRST_SEED = 1_000
"""Not one of those with which the selector's constants were chosen."""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="outcomes of several models")
    parser.add_argument("--calls", type=int, default=5_000, help="calls before the change")
    parser.add_argument("--after", type=int, default=2_000, help="calls after it; 0: no change")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--kinds", default="named;found", help='of "named", "found" and "some"')
    parser.add_argument("--some", type=float, default=0.1, help="the share of calls that names its kind, with some")
    parser.add_argument("--change", choices=("fall", "swap"), default="fall", help="what changes")
    parser.add_argument("--cost", type=float, default=0.0, help="what a call of the dearest model is worth, in quality")
    parser.add_argument(
        "--regret", type=float, default=1.0, help="the guard's option, the best fixed model being the incumbent"
    )
    parser.add_argument("--estimate", default="heuristic", metavar="NAME_OR_MODEL", help="whose estimates it gets")
    parser.add_argument("--learn", type=int, metavar="N", help="train the estimator on N rows of the file")
    parser.add_argument("--others", nargs="*", default=[], type=Path, metavar="FILE", help="and on these files")
    parser.add_argument("--bound", action="store_true", help="what a classifier of the text would reach")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="F.png")
    return parser.parse_args(arguments)


def world(path: Path, options: argparse.Namespace) -> World:
    table, estimator = load(path), find_estimator(options.estimate)
    if options.learn is not None:
        table, estimator = learned(table, options.learn, [load(other) for other in options.others])
    return World.of(table, path.stem, options.cost, estimator)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    if options.bound:
        for path in options.files:
            by_form, by_text = (bound(load(path), forms=forms) for forms in (True, False))
            print(f"{path.stem}: {by_text:.3f} of the gap, {by_form:.3f} by the form of the text alone")
        return 0
    trials: list[Trial] = []
    runs = [(path, kinds) for path in options.files for kinds in options.kinds.split(";")]
    worlds = {path: world(path, options) for path in options.files}
    plays = [(path, kinds, seed) for path, kinds in runs for seed in range(FIRST_SEED, FIRST_SEED + options.seeds)]
    plan = Plan(
        calls=options.calls,
        after=options.after,
        change=options.change,
        some=options.some,
        options={"regret": options.regret},
    )
    console = Console(stderr=True)
    for path, kinds, seed in track(plays, "playing", console=console, disable=not sys.stderr.isatty()):
        trials.append(play(worlds[path], plan, seed, kinds))
    found: dict[str, Any] = document(trials, options.calls, options.after)
    if options.plot is not None:
        plot(trials, options.calls, options.plot)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        Console().print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
