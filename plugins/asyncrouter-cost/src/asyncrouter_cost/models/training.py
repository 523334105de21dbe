"""Learning the qualities of many models from outcomes.

Scores are parted in two: how well a prompt is answered on average, and what each model does better or worse than that.
The choice between models hangs on the second alone, which is the smaller and noisier one, so it has a penalty of its
own, which draws each model to its own mean: where nothing can be told of a prompt, the choice is one between the means,
which is the frontier of single models.  Of a log, where few models or one has answered each prompt, what a prompt's
average is has to be foretold as well.

The average is the easier to learn, and tells of the second: models are set apart by prompts that are in doubt, not by
those that all solve or none.  So what sets them apart is scaled by that doubt, as those foretell it who have not seen
the row, to the power that is best in cross-validation; 0 is no scale.  Where costs are known, one more factor says how
far what sets models apart is to be trusted; see :mod:`asyncrouter_cost.models.trust`.

Lengths of answers are one number a prompt: by how much, in logarithms, they are longer than the models' usual ones, on
average over the models.  A forecast for each model by itself, and one by the wording too, foretell better and chose no
better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter_cost.models.content import written
from asyncrouter_cost.models.likeness import Likeness, PerModel, doubt
from asyncrouter_cost.models.regression import FOLDS, Linear, View
from asyncrouter_cost.models.traits import Traits, traits
from asyncrouter_cost.models.trust import trust
from asyncrouter_cost.models.wording import Wording

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Progress = Callable[[float], None]

WIDTHS = (0.15, 0.5, 1.5)
"""Of kernels, for traits of unit variance: from broad to narrow by about three each."""
LANDMARKS = 400
LEAST_MODELS = 2
POWERS = (0.0, 0.5, 1.0)
"""Of the doubt; of equals the first is taken."""


class Table(Protocol):
    """What is learned from: prompts, and the scores of models, shape (rows, models), ``nan`` where unknown."""

    @property
    def prompts(self) -> Sequence[str]:
        """The prompts."""
        ...

    @property
    def models(self) -> Sequence[str]:
        """The models' names."""
        ...

    @property
    def scores(self) -> Floats:
        """Qualities in [0, 1]."""
        ...

    @property
    def lengths(self) -> Floats | None:
        """Tokens of the answers, of the shape of the scores."""
        ...

    @property
    def costs(self) -> Floats | None:
        """US dollars for the answers, of the shape of the scores."""
        ...


class ModelTrainer:
    """Trains the estimator ``cost`` on outcomes of two models or more."""

    def train(self, outcomes: Table, *, seed: int, progress: Progress) -> bytes:
        """Return the bytes of a model file; raise :class:`ConfigError` when there is too little to learn from."""
        is_known = ~np.isnan(outcomes.scores)
        kept = np.flatnonzero(is_known.any(axis=0)).tolist()
        rows = np.flatnonzero(is_known.any(axis=1)).tolist()
        if len(kept) < LEAST_MODELS or len(rows) < 2 * FOLDS or not any(outcomes.prompts):
            raise ConfigError(f"too little to learn from: give two models or more, and {2 * FOLDS} prompts or more")
        models = tuple(outcomes.models[place] for place in kept)
        known = Known(
            scores=outcomes.scores[rows][:, kept],
            lengths=None if outcomes.lengths is None else outcomes.lengths[rows][:, kept],
            costs=None if outcomes.costs is None else outcomes.costs[rows][:, kept],
        )
        learned = learn([outcomes.prompts[row] for row in rows], known, models, seed=seed, progress=progress)
        return bytes(ModelFile("cost", written(learned)))


@attrs.frozen(eq=False, kw_only=True)
class Known:
    """What is known of answers: ``scores``, shape (rows, models), ``lengths`` in tokens, and ``costs``; or ``nan``."""

    scores: Floats
    lengths: Floats | None = None
    costs: Floats | None = None


def learn(prompts: Sequence[str], known: Known, models: tuple[str, ...], *, seed: int, progress: Progress) -> PerModel:
    """Return what is learned from what is *known* of the answers to *prompts*.

    Of each model and of each row at least one score is known.
    """
    rng = np.random.default_rng(seed)
    seen, wording = np.array([traits(prompt) for prompt in prompts]), Wording.of(prompts)
    chosen = np.sort(rng.choice(len(prompts), min(LANDMARKS, len(prompts)), replace=False))
    likeness = _likeness(seen, chosen)
    worded = wording.matrix([prompts[row] for row in chosen])
    by_traits = likeness.to_landmarks(seen)
    by_both = by_traits + wording.products(prompts, worded)
    progress(0.2)
    folds = rng.permutation(len(prompts)) % FOLDS
    plain, whole = (View.of(alike, alike[chosen], folds) for alike in (by_traits, by_both))
    common = _Common.of(known.scores, whole)
    progress(0.4)
    apart = _Apart.of(known, common, plain)
    progress(0.8)
    columns = [apart.linear, common.linear, *_lengths(known.lengths, by_traits, plain)]
    progress(1.0)
    return PerModel(
        models=models,
        likeness=likeness,
        wording=wording,
        weights=np.hstack([one.weights for one in columns]).astype(np.float32),
        words=(worded @ common.linear.weights[:, 0]).astype(np.float32),
        offsets=np.hstack([one.offsets for one in columns]).astype(np.float32),
        power=apart.power,
    )


def _likeness(seen: Traits, chosen: Indices) -> Likeness:
    means, spread = seen.mean(axis=0), seen.std(axis=0)
    scales = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    plain = Likeness(means, scales, seen[:0], WIDTHS)
    return attrs.evolve(plain, landmarks=plain.scaled(seen[chosen]))


@attrs.frozen(eq=False)
class _Common:
    """What models have in common: how well prompts are answered.

    ``ease`` is that as foretold by who has not seen the row, and ``level`` as well as it is known: the more scores of a
    row are, the less is foretold.  Both have the shape (rows, 1).
    """

    linear: Linear
    ease: Floats
    level: Floats

    @classmethod
    def of(cls, scores: Floats, view: View) -> _Common:
        usual = np.nanmean(scores, axis=0)
        average = np.nanmean(scores - usual, axis=1, keepdims=True) + usual.mean()
        linear = view.regress(average)
        ease = view.held_out(average, linear.penalty)
        known = (~np.isnan(scores)).sum(axis=1, keepdims=True)
        return cls(linear, ease, average + (ease - average) / known)


@attrs.frozen(eq=False)
class _Apart:
    """What sets models apart, to be scaled by the doubt to the ``power``."""

    linear: Linear
    power: float

    @classmethod
    def of(cls, known: Known, common: _Common, view: View) -> _Apart:
        targets = known.scores - common.level
        views = {power: view.scaled(doubt(common.ease[:, 0], power)) for power in POWERS}
        found = {power: one.regress(targets) for power, one in views.items()}
        power = min(found, key=lambda one: found[one].error)
        linear, view = found[power], views[power]
        if known.costs is None or np.isnan(known.costs + targets).any():
            return cls(linear, power)
        usual = view.scale @ targets / (view.scale @ view.scale)
        plain = view.scale[:, None] * usual
        factor = trust(known.scores, known.costs, plain, view.held_out(targets, linear.penalty) - plain)
        return cls(linear.drawn(usual, factor), power)


def _lengths(lengths: Floats | None, likenesses: Traits, view: View) -> list[Linear]:
    """Return what foretells the logarithm of the length, if any is known: its mean is that of the models' means."""
    stretch = None if lengths is None else _stretch(lengths)
    if lengths is None or stretch is None:
        return []
    linear = view.regress(stretch)
    foretold = np.exp(likenesses @ linear.weights + linear.offsets).mean()
    tokens = np.nanmean(_known_mean(np.maximum(lengths, 1.0), axis=0))
    return [attrs.evolve(linear, offsets=linear.offsets + np.log(tokens / foretold))]


def _stretch(lengths: Floats) -> Floats | None:
    """Return by how much answers to a prompt are longer than their models' usual ones, shape (rows, 1).

    In logarithms, ``nan`` where no length is known; ``None`` where none is at all.
    """
    logarithms = np.log(np.maximum(lengths, 1.0))
    known = ~np.isnan(logarithms)
    if not known.any():
        return None
    usual = _known_mean(logarithms, axis=0)
    return _known_mean(logarithms - usual, axis=1)[:, None]


def _known_mean(values: Floats, axis: int) -> Floats:
    """Return the means of what is known, ``nan`` where nothing is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=axis)
    means: Floats = np.where(known, values, 0.0).sum(axis=axis) / np.where(counts == 0, np.nan, counts)
    return means
