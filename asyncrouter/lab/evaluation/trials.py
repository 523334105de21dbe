"""Trainers put to the test: each row is scored by a model that has not learned from it.

What a model may learn from decides what its figure means, so there are four ways:

``own``
    other rows of the same file: a router that learns from your traffic alone.
``others``
    the other files alone: a router that was trained elsewhere.
``others+own``
    the other files first, then other rows of the same file: one that was trained elsewhere and goes on learning.
``together``
    other rows of all files at once: one model for everything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import attrs
import numpy as np

from asyncrouter.lab.estimates import Estimates, NamedEstimator, trained_estimator
from asyncrouter.lab.evaluation.folds import folds, folds_together, some, without_prompts_of
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.outcomes.table import Indices, Outcomes, concat
from asyncrouter.lab.training import NO_PRIOR, NamedTrainer
from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile

LearnFrom = Literal["own", "others", "others+own", "together"]
LEARN_FROM: tuple[LearnFrom, ...] = ("own", "others", "others+own", "together")


@attrs.frozen(kw_only=True)
class Trial:
    """One way to put a trainer to the test: what it learns from, and how many labels of its own it gets at most.

    ``folds`` parts of a file are tested one after the other; with ``by_group`` its groups are kept whole.
    """

    learn_from: LearnFrom
    own_labels: int | None = None
    folds: int = 5
    by_group: bool = False
    seed: int = 0

    @property
    def label(self) -> str:
        """What the trial is called beside the trainer's name."""
        return self.learn_from if self.own_labels is None else f"{self.learn_from}:{self.own_labels}"

    @property
    def learned(self) -> str:
        """Which rows were trained on, in words."""
        kept = "groups" if self.by_group else "prompts"
        rest = f"{self.folds - 1} of {self.folds} parts of the same file, {kept} apart"
        if self.own_labels is not None:
            rest = f"{self.own_labels:,} rows at most out of {rest}"
        return {
            "own": rest,
            "others": "all other files",
            "others+own": f"all other files, then {rest}",
            "together": f"{self.folds - 1} of {self.folds} parts of all files, {kept} apart",
        }[self.learn_from]


def run_trial(
    trainer: NamedTrainer, trial: Trial, tables: Sequence[Outcomes], progress: Progress = ignored
) -> list[Said]:
    """Return what models of *trainer* say of each row of each of *tables*, one for each file; none has learned it.

    Raises :class:`ConfigError` when there are too few files or rows for *trial*.
    """
    if trial.learn_from in {"others", "others+own"} and len(tables) == 1:
        raise ConfigError(f"learning from {trial.learn_from}: give two files or more")
    splits = _splits(trial, tables)
    for table, split in zip(tables, splits, strict=True):
        if trial.learn_from != "others" and len(np.unique(split)) < trial.folds:
            what = "groups" if trial.by_group else "prompts"
            raise ConfigError(f"{table.sources[0]}: too few {what} for {trial.folds} folds; give a smaller --folds")
    said = [Said(Estimates.none(len(table), len(table.models))) for table in tables]
    steps = list(_steps(trial, tables, splits))
    with tempfile.TemporaryDirectory(prefix="asyncrouter-lab-") as folder:
        workshop = _Workshop(trainer, trial, Path(folder))
        for done, step in enumerate(steps, start=1):
            model = workshop.model(step, tables)
            for file, rows in step.tested.items():
                said[file].add(model, tables[file], rows)
            progress(done / len(steps))
    return said


def _splits(trial: Trial, tables: Sequence[Outcomes]) -> list[Indices]:
    if trial.learn_from == "together":  # a prompt of two files is tested in both at once, so that neither lacks rows
        return folds_together(tables, trial.folds, trial.seed, by_group=trial.by_group)
    return [folds(table, trial.folds, trial.seed, by_group=trial.by_group) for table in tables]


@attrs.define
class Said:
    """What the models of a trial say of the rows of one file, and of how many of these they had ``seen`` the prompt."""

    estimates: Estimates
    seen: int = 0

    def add(self, model: NamedEstimator, table: Outcomes, rows: Indices) -> None:
        """Ask *model* of *rows* of *table*."""
        tested = table.rows(rows)
        answers = model.ask(tested.prompts, tested.models)
        self.estimates.complexities[rows] = answers.complexities
        self.estimates.qualities[rows] = answers.qualities
        self.estimates.output_tokens[rows] = answers.output_tokens
        self.seen += model.seen(tested.prompts) or 0


@attrs.frozen
class _Step:
    """One model: which files it learns from first, which rows it learns from then, and which it is tested on."""

    prior: tuple[int, ...]
    learned: Mapping[int, Indices]
    tested: Mapping[int, Indices]


def _steps(trial: Trial, tables: Sequence[Outcomes], splits: Sequence[Indices]) -> Iterator[_Step]:
    every = range(len(tables))
    if trial.learn_from == "together":
        for fold in range(trial.folds):
            learned = {file: np.flatnonzero(splits[file] != fold) for file in every}
            yield _Step((), learned, {file: np.flatnonzero(splits[file] == fold) for file in every})
        return
    for file in every:
        others = tuple(one for one in every if one != file) if trial.learn_from != "own" else ()
        if trial.learn_from == "others" or trial.own_labels == 0:
            yield _Step(others, {}, {file: np.arange(len(tables[file]))})
            continue
        for fold in range(trial.folds):
            learned = {file: np.flatnonzero(splits[file] != fold)}
            yield _Step(others, learned, {file: np.flatnonzero(splits[file] == fold)})


class _Workshop:
    """Makes the models of a trial; one that is learned from other files is kept for all folds of a file."""

    def __init__(self, trainer: NamedTrainer, trial: Trial, folder: Path) -> None:
        self._trainer = trainer
        self._trial = trial
        self._folder = folder
        self._priors: dict[tuple[int, ...], Path] = {}

    def model(self, step: _Step, tables: Sequence[Outcomes]) -> NamedEstimator:
        """Return the estimator that *step* asks for."""
        tested = concat([tables[file].rows(rows) for file, rows in step.tested.items()])
        own = [tables[file].rows(rows) for file, rows in step.learned.items()]
        if self._trial.own_labels is not None:
            own = [some(one, self._trial.own_labels, self._trial.seed) for one in own]
        if step.prior and (self._trainer.takes_prior or not own):
            prior = self._prior(step.prior, tables)
            return self._estimator(prior) if not own else self._learned(own, tested, prior)
        return self._learned([*(tables[file] for file in step.prior), *own], tested, NO_PRIOR)

    def _prior(self, files: tuple[int, ...], tables: Sequence[Outcomes]) -> Path:
        """Return the model learned from *files* alone; it is the same for each fold: no prompt of the file is in it."""
        if files not in self._priors:
            (file,) = set(range(len(tables))) - set(files)
            learned = without_prompts_of(concat([tables[one] for one in files]), tables[file])
            self._priors[files] = self._written(self._train(learned, NO_PRIOR), "-".join(map(str, files)))
        return self._priors[files]

    def _learned(self, parts: Sequence[Outcomes], tested: Outcomes, prior: Path | str) -> NamedEstimator:
        learned = without_prompts_of(concat(parts), tested)
        return self._estimator(self._written(self._train(learned, prior), "learned"))

    def _train(self, learned: Outcomes, prior: Path | str) -> ModelFile:
        given = prior if self._trainer.takes_prior else None
        return self._trainer.train(learned, seed=self._trial.seed, prior=given)

    def _written(self, model: ModelFile, name: str) -> Path:
        path = self._folder / f"{name}.model"
        path.write_bytes(bytes(model))
        return path

    def _estimator(self, path: Path) -> NamedEstimator:
        return trained_estimator(self._trainer.name, path, self._trainer.registry)
