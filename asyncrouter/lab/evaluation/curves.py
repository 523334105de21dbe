"""The curve of a pair: quality over the share of calls that go to the strong model, and what is read off it.

The measures are those of RouteLLM (Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", 2024): the
performance gap recovered at a share *x* is PGR(x) = (quality(x) - weak) / (strong - weak); APGR is the area under it,
CPT(p) the smallest share with PGR >= p.

Prompts with the same score cannot be told apart, so a threshold that falls among them stands for a draw by lot.  The
curve is the mean over all such draws: straight within a tie, so that no order of the rows makes a router better.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter.lab.outcomes.table import Floats, Indices


@attrs.frozen
class PairCurve:
    """Corners of one curve, or of many: the last axis are the corners, those before it tell the curves apart.

    ``shares`` ascend from 0 to 1; ``qualities``, in [0, 1], are the mean at each.  A curve is straight between two
    corners.  The measures have the shape of the axes before the last, and are ``nan`` where the strong model is not
    better.
    """

    shares: Floats
    qualities: Floats

    @property
    def gap(self) -> Floats:
        """What the strong model is better by, for all calls."""
        gap: Floats = self.qualities[..., -1] - self.qualities[..., 0]
        return gap

    def recovered(self) -> Floats:
        """Return PGR at each corner."""
        gap = np.where(self.gap > 0, self.gap, np.nan)
        recovered: Floats = (self.qualities - self.qualities[..., :1]) / gap[..., None]
        return recovered

    def apgr(self) -> Floats:
        """Return the area under PGR over the share of strong calls: 0.5 is chance."""
        return np.asarray(np.trapezoid(self.recovered(), self.shares, axis=-1))

    def cpt(self, part: float) -> Floats:
        """Return the smallest share of strong calls that recovers *part*, in (0, 1], of the gap."""
        reached = np.where(np.isnan(self.gap)[..., None], False, self.recovered() >= part)
        after = np.maximum(np.argmax(reached, axis=-1), 1)[..., None]
        x0, x1 = _at(self.shares, after - 1), _at(self.shares, after)
        y0, y1 = _at(self.recovered(), after - 1), _at(self.recovered(), after)
        return np.where(reached.any(axis=-1), x0 + (part - y0) / (y1 - y0) * (x1 - x0), np.nan)

    def at(self, share: float) -> float:
        """Return the quality at *share* of strong calls, of one curve."""
        return float(np.interp(share, self.shares, self.qualities))


def pair_curve(scores: Floats, strong: Floats, weak: Floats, weights: Floats | None = None) -> PairCurve:
    """Return the curve of sending the prompts with the highest *scores* to the strong model first.

    *scores*, *strong* and *weak* have the shape (prompts,); there is at least one prompt, and no ``nan``.  *weights*,
    shape (..., prompts), say how often each prompt counts; each row of them makes a curve.
    """
    order, ends = ranks(scores)
    weights = np.ones(len(scores)) if weights is None else weights
    total = weights.sum(axis=-1, keepdims=True)
    ordered = weights[..., order]
    shares = np.cumsum(ordered, axis=-1)[..., ends] / total
    gains = np.cumsum(ordered * (strong - weak)[order], axis=-1)[..., ends] / total
    start = (weights @ weak)[..., None] / total
    return PairCurve(_from_zero(shares), start + _from_zero(gains))


def ranks(scores: Floats) -> tuple[Indices, Indices]:
    """Return the order of *scores*, highest first, and the places in it at which the runs of equal scores end."""
    order = np.argsort(-scores, kind="stable")
    is_end: npt.NDArray[np.bool_] = np.append(np.diff(scores[order]) != 0, True)
    return order, np.flatnonzero(is_end)


def _from_zero(values: Floats) -> Floats:
    return np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1)


def _at(values: Floats, places: Indices) -> Floats:
    picked: Floats = np.take_along_axis(values, places, axis=-1)[..., 0]
    return picked
