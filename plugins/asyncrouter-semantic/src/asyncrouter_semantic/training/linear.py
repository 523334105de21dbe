"""Ridge regression on wide sparse matrices, by conjugate gradients."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TOLERANCE, MOST_STEPS = 1e-5, 400


@attrs.frozen(eq=False)
class Ridge:
    """Weights of the shape (features, targets) and offsets (targets,)."""

    weights: Floats
    offsets: Floats

    def predict(self, matrix: Any) -> Floats:
        """Return what is expected of each row of *matrix*, shape (rows, targets)."""
        return np.asarray(matrix @ self.weights) + self.offsets


def ridge(matrix: Any, targets: Floats, penalty: float) -> Ridge:
    """Return the weights that minimise ``|targets - matrix @ w - c|² + penalty |w|²`` for each column of *targets*.

    Conjugate gradients on the normal equations (Hestenes and Stiefel 1952), the columns side by side; the offset *c* is
    taken out by centring.
    """
    targets = targets.reshape(len(targets), -1)
    rows = matrix.shape[0]
    means = np.asarray(matrix.mean(axis=0)).ravel()
    transposed = matrix.T.tocsr()

    def normal(weights: Floats) -> Floats:
        shown = matrix @ weights - means @ weights
        image: Floats = transposed @ shown - np.outer(means, shown.sum(axis=0)) + penalty * weights
        return image

    centre = targets.mean(axis=0)
    rest = targets - centre
    residual = transposed @ rest - np.outer(means, rest.sum(axis=0))
    weights = np.zeros_like(residual)
    direction, size = residual.copy(), (residual**2).sum(axis=0)
    enough = TOLERANCE**2 * size
    for _ in range(min(MOST_STEPS, 2 * rows)):
        if (size <= enough).all():
            break
        image = normal(direction)
        bend = (direction * image).sum(axis=0)
        step = np.divide(size, bend, out=np.zeros_like(size), where=bend > 0)
        weights += step * direction
        residual -= step * image
        before, size = size, (residual**2).sum(axis=0)
        direction = residual + np.divide(size, before, out=np.zeros_like(size), where=before > 0) * direction
    return Ridge(weights, centre - means @ weights)
