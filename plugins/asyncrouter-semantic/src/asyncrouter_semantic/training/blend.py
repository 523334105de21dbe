"""How much each view counts: chosen on rows that it has not learned from, and held to what was thought before."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def mix(said: Floats, gain: Floats, before: Floats, held: Floats) -> Floats:
    """Return weights of the columns of *said*, none negative, and the offset.

    Least squares with a penalty on leaving *before*, which counts as much as *held* rows in each column:
    ``|gain - said @ w - c|² + Σ held_j var(said_j) (w_j - before_j)²``.
    Each subset of columns is tried with the others at 0, so the answer is exact; there are eight columns at most.
    """
    means, centre = said.mean(axis=0), float(gain.mean())
    shown, rest = said - means, gain - centre
    spread = np.diag(held * shown.var(axis=0) + 1e-12)
    square, product = shown.T @ shown + spread, shown.T @ rest + spread @ before
    best, least = np.zeros(said.shape[1]), np.inf
    for chosen in itertools.chain.from_iterable(
        itertools.combinations(range(said.shape[1]), size) for size in range(1, said.shape[1] + 1)
    ):
        some = list(chosen)
        weights = np.zeros(said.shape[1])
        weights[some] = np.linalg.solve(square[np.ix_(some, some)], product[some])
        loss = float(weights @ square @ weights - 2 * weights @ product)
        if (weights >= 0).all() and loss < least:
            best, least = weights, loss
    return np.append(best, centre - means @ best)
