"""The panel: models whose answers to kinds of task are known, and what is expected of them and of others.

The quality expected of a model for a prompt is its mean score on the kinds of task that the prompt is like, and more or
less than that as the prompt is easier or harder than is usual for its kind.  Models that are not of the panel are
placed by their strength: the logit of their mean score, as in Rasch's model of tests (1960), where that of a score is
the strength of the model less the difficulty of the task.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter import Deployment
from asyncrouter_semantic.packing import Pack

Floats = npt.NDArray[np.float32]

TYPICAL_INPUT, TYPICAL_OUTPUT = 100, 250
"""Tokens of a call by which prices are compared."""
DATED = re.compile(r"(-20\d\d-?\d\d-?\d\d|-latest|:free|@.*)$")
LEAST_COST = 1e-7


def plain(name: str) -> str:
    """Return *name* as models are compared: without provider, vendor's prefix, date, case and signs."""
    name = DATED.sub("", name.lower().rpartition("/")[2]).removeprefix("meta-")
    return re.sub(r"[^a-z0-9]", "", name)


@attrs.frozen(eq=False)
class Placed:
    """Some deployments: their mean qualities by task, shape (deployments, tasks), and how they follow the ease."""

    names: tuple[str, ...]
    means: Floats
    slopes: Floats

    def qualities(self, likeness: Floats, ease: float) -> Mapping[str, float]:
        """Return the qualities expected for a prompt, of which *ease* tells how much easier it is than is usual."""
        expected = np.clip(self.means @ likeness + self.slopes * ease, 0.0, 1.0)
        return dict(zip(self.names, expected.tolist(), strict=True))


@attrs.frozen(eq=False)
class Panel:
    """``models`` are plain names; ``strengths`` and ``difficulties`` are logits of scores."""

    models: tuple[str, ...]
    means: Floats
    slopes: Floats
    strengths: Floats
    difficulties: Floats
    by_price: tuple[float, float] | None

    @classmethod
    def of(cls, pack: Pack, tasks: int) -> Panel:
        """Read the panel; raise :class:`~asyncrouter.ConfigError` when an array is missing or misshaped."""
        models = tuple(map(str, pack.facts["models"]))
        line = pack.facts["by_price"]
        return cls(
            models,
            pack.array("means", "<f4", len(models), tasks),
            pack.array("slopes", "<f4", len(models)),
            pack.array("strengths", "<f4", len(models)),
            pack.array("difficulties", "<f4", tasks),
            None if line is None else (float(line[0]), float(line[1])),
        )

    def place(self, deployments: Sequence[Deployment], told: Mapping[str, str | float]) -> Placed:
        """Return what is expected of those *deployments* of which anything is known.

        *told* maps names of deployments or models to a model of the panel, or to the mean quality over all tasks.
        """
        rows = [(one.name, *row) for one in deployments if (row := self._row(one, told)) is not None]
        width = self.means.shape[1]
        return Placed(
            tuple(name for name, _, _ in rows),
            np.array([means for _, means, _ in rows], dtype=np.float32).reshape(len(rows), width),
            np.array([slope for _, _, slope in rows], dtype=np.float32),
        )

    def _row(self, one: Deployment, told: Mapping[str, str | float]) -> tuple[Floats, float] | None:
        said = told.get(one.name, told.get(one.model, one.model))
        if not isinstance(said, str):
            return self._of_strength(_logit(said) + float(self.difficulties.mean()))
        name = plain(said)
        if name in self.models:
            place = self.models.index(name)
            return self.means[place], float(self.slopes[place])
        if one.price is None or self.by_price is None:
            return None
        cost = max(one.price.cost_usd(TYPICAL_INPUT, TYPICAL_OUTPUT), LEAST_COST)
        return self._of_strength(self.by_price[0] + self.by_price[1] * math.log(cost))

    def _of_strength(self, strength: float) -> tuple[Floats, float]:
        means: Floats = 1 / (1 + np.exp(self.difficulties - np.float32(strength)))
        return means, float(self.slopes.mean()) if len(self.slopes) else 0.0


def _logit(share: float) -> float:
    kept = min(max(share, 0.01), 0.99)
    return math.log(kept / (1 - kept))
