"""``lab train``: the head, learned from outcomes; what the prior model says is one more view that it blends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter_semantic.model import DEFAULT, NAME, NO_PRIOR, Model
from asyncrouter_semantic.packing import Pack, packed
from asyncrouter_semantic.text import parse, sampled
from asyncrouter_semantic.training.blend import mix
from asyncrouter_semantic.training.boosting import Bins
from asyncrouter_semantic.training.panel import ease, panel
from asyncrouter_semantic.training.sights import look
from asyncrouter_semantic.training.subjects import find_subjects
from asyncrouter_semantic.training.tasks import Tasks, find_tasks
from asyncrouter_semantic.training.vectors import from_vectors
from asyncrouter_semantic.training.view import FOREST, GROWN, OWN_PENALTIES, Lesson, Said, View, beside_others

if TYPE_CHECKING:
    from asyncrouter.lab.outcomes import Outcomes

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Progress = Callable[[float], None]

FOLDS = 3
LEAST_ROWS = 20
LEAST_SPREAD = 1e-3
BEFORE = np.array([0.0, *[1 / len(OWN_PENALTIES)] * len(OWN_PENALTIES), 0.5, 0.5, 0.3, 1.0])
"""What is thought of the shared weights, the kinds' own, subjects, length, forest and prior before a row was seen.

Half of length is a gain of 0.03 for each standard deviation by which the logarithm of characters is above the mean.
"""
HELD = np.array([*[3000.0] * (2 + len(OWN_PENALTIES)), 300.0, 3000.0, 50.0])
"""As how many rows that counts.  Some hundreds of rows tell whether length or a prior is of use, but not which of the
views that learned from the same rows is better: held by 50 rows too, these were worth 0.004 less of APGR from 1,500
rows of MMLU, and 0.015 less from 100 rows of nine pairs; between 1,000 and 10,000 there is little difference.
"""
READING, FOLDING = 0.1, 0.75
"""Shares of the work: reading the prompts, and the views that only choose the mix."""


@attrs.frozen(eq=False)
class SemanticTrainer:
    """Learns the semantic estimator from outcomes; ``prior`` is the model it starts from.

    ``prior`` is the path of a model file, "default" for the one that comes with the plugin, or "none".
    """

    prior: str = DEFAULT

    def train(self, outcomes: Outcomes, *, seed: int = 0, progress: Progress = lambda _share: None) -> bytes:
        """Return the model file that *outcomes* teach, the same for the same outcomes and seed.

        Where no prompt is kept, the vectors of the prior are learned from.  Raises
        :class:`~asyncrouter.types.errors.ConfigError` when fewer than 20 rows with a prompt, or with a vector, tell the
        gain.
        """
        prior = None if self.prior == NO_PRIOR else Model.load(self.prior)
        if prior is not None and outcomes.features is not None and not any(outcomes.prompts):
            return from_vectors(outcomes, prior, seed)
        known = np.flatnonzero(~np.isnan(outcomes.gain))
        told = outcomes.rows(known)
        with_prompt = sum(map(bool, told.prompts))
        if with_prompt < LEAST_ROWS:
            raise ConfigError(
                f"{with_prompt} rows with a prompt and with scores of both models: the semantic estimator learns from "
                f"{LEAST_ROWS} or more"
            )
        return _Course(told, prior, seed, progress).model()


@attrs.frozen(eq=False)
class _Course:
    outcomes: Outcomes
    prior: Model | None
    seed: int
    progress: Progress

    def model(self) -> bytes:
        """Return the model file."""
        gain = self.outcomes.gain
        sights = look(self.outcomes.prompts, lambda share: self.progress(READING * share))
        folds = _folds(self.outcomes.ids)
        tasks = find_tasks(self.outcomes, sights.matrix, folds)
        easier = beside_others(ease(self.outcomes), tasks.of_row)
        cells = _cells(tasks, self.outcomes.sources)
        bins, parts = Bins.of(sights.traits), find_subjects(self.outcomes, tasks)
        lesson = Lesson(sights, bins, tasks, parts, cells, _taught(self.outcomes), easier, self.seed)
        said = self._said(lesson, folds)
        grown = _grown(said.gains, beside_others(lesson.target, cells))
        gains = self._with_prior(said.gains[:, [*range(FOREST), FOREST + grown]])
        columns = gains.shape[1]
        weights = mix(beside_others(gains, cells), beside_others(gain, cells), BEFORE[:columns], HELD[:columns])[:-1]
        offsets = _means(gain - gains @ weights, tasks)
        expected = gains @ weights + said.likeness @ offsets
        view = self._learn(lesson, np.arange(len(gain)), FOLDING)
        pack = view.pack(sights, weights, offsets, GROWN[grown])
        facts = {
            "centre": _rounded(expected.mean()),
            "spread": _rounded(max(expected.std(), LEAST_SPREAD)),
            "rows": len(gain),
            "prior_weight": 0.0 if self.prior is None else _rounded(weights[-1]),
        }
        pack = Pack(pack.arrays, {**pack.facts, **facts})
        pack = pack.joined("panel", panel(self.outcomes, tasks.of_row, len(tasks.names), said.ease))
        if self.prior is not None:
            pack = pack.joined("prior", self.prior.pack)
        self.progress(1.0)
        return bytes(ModelFile(NAME, packed(pack)))

    def _said(self, lesson: Lesson, folds: Indices) -> Said:
        """Return what views that are learned from the other folds say of each row."""
        rows = len(folds)
        said = Said(np.zeros((rows, FOREST + len(GROWN))), np.zeros((rows, len(lesson.tasks.names))), np.zeros(rows))
        for fold in range(FOLDS):
            told = np.flatnonzero(folds == fold)
            start = READING + (FOLDING - READING) * fold / FOLDS
            one = self._learn(lesson, np.flatnonzero(folds != fold), start).predict(lesson.sights, told)
            said.gains[told], said.likeness[told], said.ease[told] = one.gains, one.likeness, one.ease
        return said

    def _with_prior(self, gains: Floats) -> Floats:
        if self.prior is None:
            return gains
        before = [self.prior.judge(parse(sampled(one), len(one))).gain for one in self.outcomes.prompts]
        return np.column_stack([gains, before])

    def _learn(self, lesson: Lesson, rows: Indices, start: float) -> View:
        share = (FOLDING - READING) / FOLDS
        return lesson.learn(rows, lambda done: self.progress(start + share * done))


def _cells(tasks: Tasks, sources: tuple[str, ...]) -> Indices:
    """Return a whole number for each row, the same for rows of one kind from one file."""
    files = np.unique(sources, return_inverse=True)[1]
    cells: Indices = tasks.of_row * (int(files.max()) + 1) + files
    return cells


def _grown(said: Floats, target: Floats) -> int:
    """Return with which of the shares :data:`GROWN` of its trees the forest tells other rows best."""
    errors = ((said[:, FOREST:] - target[:, None]) ** 2).sum(axis=0)
    return int(errors.argmin())


def _means(values: Floats, tasks: Tasks) -> Floats:
    means: Floats = np.bincount(tasks.of_row, values) / np.bincount(tasks.of_row)
    return means


def _rounded(value: float) -> float:
    return float(np.float32(value))


def _folds(ids: tuple[str, ...]) -> Indices:
    """Return a fold for each row, by its identity: the same prompt is always in the same one."""
    return np.array([int.from_bytes(hashlib.blake2b(one.encode(), digest_size=4).digest()) % FOLDS for one in ids])


def _taught(outcomes: Outcomes) -> Floats:
    """Return what the views learn: the mean of the gain over the weak model and that over all models of the row.

    A score of 0 or 1 says little of how hard a prompt is; those of other models say the rest.  How large the gain over
    the weak model is, the mix learns afterwards from the gain itself.
    """
    strong = outcomes.of(outcomes.strong)
    others = [place for place, name in enumerate(outcomes.models) if name != outcomes.strong]
    taught: Floats = strong - (outcomes.of(outcomes.weak) + np.nanmean(outcomes.scores[:, others], axis=1)) / 2
    return taught
