"""Outcomes of files, a batch at a time or whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from asyncrouter.lab.outcomes.columns import Columns
from asyncrouter.lab.outcomes.files import Batch, Progress, ignored, read_batches
from asyncrouter.lab.outcomes.logs import MAGIC, logged_prompts, read_log
from asyncrouter.lab.outcomes.pairs import with_pair
from asyncrouter.lab.outcomes.prices import CHARACTERS_PER_TOKEN, load_prices, prices_beside
from asyncrouter.lab.outcomes.table import Outcomes, concat, identity
from asyncrouter.types.deployments import Price
from asyncrouter.types.errors import ConfigError


@attrs.frozen
class Prompts:
    """Some rows of a file of prompts: what ``lab score`` needs, of files with outcomes and without."""

    ids: tuple[str, ...]
    prompts: tuple[str, ...] = attrs.field(repr=False)


def read_prompts(path: Path, progress: Progress = ignored) -> Iterator[Prompts]:
    """Yield the prompts of the file at *path*, some thousands at a time, telling *progress* the share that is read.

    Raises :class:`ConfigError` naming file, row and column.
    """
    if is_log(path):
        for some in logged_prompts(path):
            yield Prompts(tuple(map(identity, some)), some)
        progress(1.0)
        return
    columns, first = Columns(path), 1
    for batch in read_batches(path, progress):
        prompts = columns.prompts(batch, first)
        yield Prompts(columns.ids(batch, prompts), prompts)
        first += len(prompts)


def read(
    path: Path, models: tuple[str, ...] = (), prices: Path | None = None, progress: Progress = ignored
) -> Iterator[Outcomes]:
    """Yield the outcomes of the file at *path*, some thousands of rows at a time; those of a router's log all at once.

    *models* are the columns to read, by default all that hold scores; *prices* is a file of prices, by default the
    one that lies beside *path*, if any.  Raises :class:`ConfigError` naming file, row and column.
    """
    if is_log(path):
        yield read_log(path)
        progress(1.0)
        return
    prices = prices or prices_beside(path)
    price_of = load_prices(prices) if prices else {}
    columns, first = Columns(path, models), 1
    for batch in read_batches(path, progress):
        outcomes = _outcomes(columns, batch, first, price_of)
        yield outcomes
        first += len(outcomes)


def is_log(path: Path) -> bool:
    """Whether the file at *path* is an SQLite file, as outcome logs are."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def load(path: Path, *, strong: str | None = None, weak: str | None = None, prices: Path | None = None) -> Outcomes:
    """Return all outcomes of the file at *path*.

    *strong* and *weak* name the pair; :func:`~asyncrouter.lab.outcomes.pairs.with_pair` says what it is by default.
    Raises :class:`ConfigError` naming file, row and column.
    """
    return whole(path, read(path, prices=prices), strong=strong, weak=weak)


def whole(path: Path, batches: Iterator[Outcomes], *, strong: str | None = None, weak: str | None = None) -> Outcomes:
    """Return the outcomes of the file at *path*, whose *batches* were read, as one table with its pair."""
    tables = list(batches)
    if not tables:
        raise ConfigError(f"{path}: holds no row")
    table = concat(tables)
    if not table.models:
        missing = "no call with feedback or a judge's score" if is_log(path) else "no column of scores from 0 to 1"
        raise ConfigError(f"{path}: {missing}; two models' scores are needed")
    return with_pair(table, strong, weak, str(path))


def _outcomes(columns: Columns, batch: Batch, first: int, price_of: Mapping[str, Price]) -> Outcomes:
    prompts = columns.prompts(batch, first)
    scores = columns.scores(batch, first)
    rows = len(prompts)
    return Outcomes(
        ids=columns.ids(batch, prompts),
        prompts=prompts,
        groups=columns.groups(batch, rows),
        sources=(columns.path.name,) * rows,
        models=tuple(scores),
        scores=np.column_stack([*scores.values()]) if scores else np.empty((rows, 0)),
        **_of_answers(columns, batch, prompts, tuple(scores), price_of),
    )


def _of_answers(
    columns: Columns, batch: Batch, prompts: tuple[str, ...], models: tuple[str, ...], price_of: Mapping[str, Price]
) -> dict[str, Any]:
    """Return how long each answer was and what it cost; where its length is not told, its prompt alone counts."""
    shape = (len(prompts), len(models))
    lengths, costs, answer_costs = (np.full(shape, np.nan) for _ in range(3))
    sent = columns.input_lengths(batch, prompts) / CHARACTERS_PER_TOKEN
    for place, model in enumerate(models):
        lengths[:, place] = columns.lengths(batch, model, len(prompts)) / CHARACTERS_PER_TOKEN
        price = price_of.get(model)
        if price is not None:
            answer_costs[:, place] = np.nan_to_num(lengths[:, place]) * price.output / 1e6
            costs[:, place] = sent * price.input / 1e6 + answer_costs[:, place]
    found = {} if np.isnan(lengths).all() else {"lengths": lengths}
    return {**found, "costs": costs, "answer_costs": answer_costs} if price_of.keys() & set(models) else found
