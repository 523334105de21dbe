"""Selectors as they are named for a test, and the points that they come to on the files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from asyncrouter.config.specs import StrategySpec
from asyncrouter.hooks.registry import Registry
from asyncrouter.lab.estimates import NamedEstimator, estimate_spec
from asyncrouter.lab.evaluation.many import comparable
from asyncrouter.lab.evaluation.playing import Course, Trial, play
from asyncrouter.lab.evaluation.scored import ONLINE, Played, Reading, Scored
from asyncrouter.lab.outcomes.files import Progress
from asyncrouter.lab.outcomes.loading import load
from asyncrouter.lab.outcomes.prices import load_prices, prices_beside
from asyncrouter.lab.outcomes.table import Indices, Outcomes
from asyncrouter.types.errors import ConfigError

SWEEP = "sweep"
"""The key of an option's table that lists the values at which it is tried: ``threshold = {sweep = [0.3, 0.6]}``."""


@attrs.frozen(kw_only=True)
class NamedSelector:
    """A selector under the ``name`` that the tables call it: each setting in words, and as it is configured."""

    name: str
    settings: Mapping[str, StrategySpec]


def find_selector(text: str, registry: Registry) -> NamedSelector:
    """Return the selector that *text* stands for: a name, or an inline table of TOML with ``use``.

    One option may be a table ``{sweep = [...]}``: the selector is tried at each of these values.  Raises
    :class:`ConfigError` when it is neither, or telling the nearest names.
    """
    use, options = _read(text)
    registry.find("selector", use, "--selector")
    swept = [name for name, value in options.items() if isinstance(value, dict) and set(value) == {SWEEP}]
    if len(swept) > 1:
        raise ConfigError(f"--selector {text}: {' and '.join(swept)} are swept; sweep one option at a time")
    fixed = {name: value for name, value in options.items() if name not in swept}
    told = " ".join(filter(None, (f"select={use}", _told(fixed), *(f"({name} swept)" for name in swept))))
    points = [{name: value} for name in swept for value in options[name][SWEEP]] or [{}]
    settings = {_told(point): StrategySpec(use=use, options={**fixed, **point}) for point in points}
    return NamedSelector(name=told, settings=settings)


def _read(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options in *text*."""
    if not text.lstrip().startswith("{"):
        return text, {}
    try:
        options: dict[str, Any] = tomllib.loads(f"select = {text}")["select"]
    except tomllib.TOMLDecodeError:
        options = {}
    use = options.pop("use", None)
    if not isinstance(use, str):
        cure = 'expected a name, or a table such as {use = "complexity", threshold = 0.5}'
        raise ConfigError(f"--selector {text}: {cure}")
    return use, options


def _told(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


@attrs.frozen(kw_only=True)
class Conditions:
    """What selectors are tried under: on the estimates of ``estimator``, with ``reading`` and ``seed``."""

    estimator: NamedEstimator
    reading: Reading
    seed: int

    @property
    def learned(self) -> str:
        """What a selector knows of a row, in words."""
        return f"{ONLINE}, on estimates of {self.estimator.name}"


def add_selector(
    scored: Mapping[Path, Scored], selector: NamedSelector, conditions: Conditions, progress: Progress
) -> dict[Path, Scored]:
    """Return *scored* with what *selector* does on each file.

    The fleet are the models with prices, and on files without prices the pair.  Raises :class:`ConfigError` where it
    cannot be made of its options, or a file tells too little.
    """
    told = {}
    for done, (file, one) in enumerate(scored.items()):
        rows, fleet = _fleet(file, one.outcomes)
        table = _table(file, conditions.reading).rows(rows).of_models(fleet)
        courses = _courses(file, table, selector, conditions, _part(progress, done, len(scored)))
        told[file] = attrs.evolve(
            one,
            played={**one.played, selector.name: _together(tuple(selector.settings), courses, table, rows)},
            learned={**one.learned, selector.name: conditions.learned},
            seen={**one.seen, selector.name: conditions.estimator.seen(table.prompts)},
        )
    return told


def _table(file: Path, reading: Reading) -> Outcomes:
    return load(file, strong=reading.strong, weak=reading.weak, prices=reading.prices)


def _courses(
    file: Path, table: Outcomes, selector: NamedSelector, conditions: Conditions, progress: Progress
) -> list[Course]:
    place = conditions.reading.prices or prices_beside(file)
    prices = load_prices(place) if place else {}
    fleets = [
        Trial(select=spec, estimate=estimate_spec(conditions.estimator.name), table=table, prices=prices)
        for spec in selector.settings.values()
    ]
    return [
        play(fleet, seed=conditions.seed, progress=_part(progress, done, len(fleets)))
        for done, fleet in enumerate(fleets)
    ]


def _part(progress: Progress, done: int, count: int) -> Progress:
    """Return the listener of one of *count* parts of some work, of which *done* are done."""
    return lambda share: progress((done + share) / count)


def _together(settings: tuple[str, ...], courses: Sequence[Course], table: Outcomes, rows: Indices) -> Played:
    pair = {table.strong, table.weak} == set(table.models)
    strong = [one.chosen == table.models.index(table.strong) for one in courses] if pair else None
    return Played(
        rows=rows,
        settings=settings,
        qualities=np.array([one.qualities for one in courses]),
        costs=np.array([one.costs for one in courses]),
        strong=None if strong is None else np.array(strong, dtype=float),
    )


def _fleet(file: Path, outcomes: Outcomes) -> tuple[Indices, Indices]:
    """Return the rows and the models that a selector is tried on."""
    found = comparable(outcomes)
    if found is None:
        rows = np.flatnonzero(~np.isnan(outcomes.gain))
        found = rows, np.array([outcomes.models.index(name) for name in (outcomes.weak, outcomes.strong)])
    if not found[0].size:
        raise ConfigError(f"{file}: no row has the scores of all models of a fleet; selectors cannot be tried")
    return found
