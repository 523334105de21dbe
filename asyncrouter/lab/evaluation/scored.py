"""Outcomes with what estimators and baselines say of each prompt; the prompts themselves are let go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from asyncrouter.lab.estimates import Estimates, NamedEstimator
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.outcomes.loading import read, whole
from asyncrouter.lab.outcomes.logs import check_prompts
from asyncrouter.lab.outcomes.table import Floats, Indices, Outcomes, spread
from asyncrouter.types.request import EMPTY

RANDOM, LENGTH, ORACLE = "random", "length", "oracle"
"""Baselines: chance, the prompt's characters, and the true gain, which no router can know."""
AS_IT_CAME = "as it came"
"""What an estimator was trained on that is measured without being trained here."""
ONLINE = "each row after it was decided"
"""What a selector learns from."""


@attrs.frozen(kw_only=True)
class Played:
    """What a selector did with the rows at ``rows`` of a file, at each of its ``settings``.

    ``qualities`` and ``costs`` (USD) have the shape (settings, rows); costs are 0 where no price is known.
    ``strong`` tells where the strong model answered, of the same shape; ``None`` where others than the pair may answer.
    """

    rows: Indices
    settings: tuple[str, ...]
    qualities: Floats
    costs: Floats
    strong: Floats | None


@attrs.frozen
class Scored:
    """Outcomes without their prompts, and what was said of these.

    ``scores`` holds for each name the shape (rows,): the higher, the rather the strong model.  ``qualities`` holds
    the shape (rows, models) for those estimators that expect a quality of each model, and ``output_tokens`` what
    each estimator foretells of lengths, shape (rows,).  ``learned`` says what each of them was trained on, and ``seen``
    of how many of these prompts: ``None`` where it does not tell.  ``played`` holds what selectors did.
    """

    outcomes: Outcomes
    scores: Mapping[str, Floats]
    qualities: Mapping[str, Floats]
    learned: Mapping[str, str]
    seen: Mapping[str, int | None]
    played: Mapping[str, Played] = EMPTY
    output_tokens: Mapping[str, Floats] = EMPTY

    def also(self, name: str, said: Estimates, learned: str, seen: int | None) -> Scored:
        """Return the same with what another estimator has said."""
        expects = not np.isnan(said.qualities).all()
        return attrs.evolve(
            self,
            scores={**self.scores, name: said.complexities},
            qualities={**self.qualities, name: said.qualities} if expects else self.qualities,
            output_tokens={**self.output_tokens, name: said.output_tokens},
            learned={**self.learned, name: learned},
            seen={**self.seen, name: seen},
        )


@attrs.frozen(kw_only=True)
class Reading:
    """How files of outcomes are read: the pair, and the file of prices, each found by itself where it is ``None``."""

    strong: str | None = None
    weak: str | None = None
    prices: Path | None = None


def score_file(
    path: Path, estimators: Sequence[NamedEstimator], reading: Reading, progress: Progress = ignored
) -> Scored:
    """Return the outcomes of the file at *path* with what *estimators* and the baselines say.

    Memory holds the prompts of some thousands of rows at a time.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` naming file, row and column.
    """
    tables: list[Outcomes] = []
    lengths: list[int] = []
    said = [_Collected() for _ in estimators]
    for batch in read(path, prices=reading.prices, progress=progress):
        if len(batch):
            check_prompts(path, batch.prompts)
        tables.append(attrs.evolve(batch, prompts=()))
        lengths += map(len, batch.prompts)
        for collected, estimator in zip(said, estimators, strict=True):
            collected.add(batch, estimator)
    table = whole(path, iter(tables), strong=reading.strong, weak=reading.weak)
    scores = {RANDOM: np.zeros(len(table)), LENGTH: np.array(lengths, dtype=np.float64)}
    scored = Scored(table, scores, {}, {}, {})
    for collected, estimator in zip(said, estimators, strict=True):
        scored = scored.also(estimator.name, collected.estimates(table.models), AS_IT_CAME, collected.seen)
    return scored


@attrs.define
class _Collected:
    """What one estimator says, batch by batch; a batch may know other models than the one before."""

    complexities: list[Floats] = attrs.field(factory=list)
    qualities: list[tuple[tuple[str, ...], Floats]] = attrs.field(factory=list)
    output_tokens: list[Floats] = attrs.field(factory=list)
    seen: int | None = 0

    def add(self, batch: Outcomes, estimator: NamedEstimator) -> None:
        answers = estimator.ask(batch.prompts, batch.models)
        self.complexities.append(answers.complexities)
        self.qualities.append((batch.models, answers.qualities))
        self.output_tokens.append(answers.output_tokens)
        seen = estimator.seen(batch.prompts)
        self.seen = None if seen is None or self.seen is None else self.seen + seen

    def estimates(self, models: Sequence[str]) -> Estimates:
        expected = [spread(values, known, models) for known, values in self.qualities]
        return Estimates(
            np.concatenate(self.complexities), np.concatenate(expected), np.concatenate(self.output_tokens)
        )
