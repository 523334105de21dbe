"""The factories that the name ``cost`` stands for: of the selector, of the estimator, and of what trains that."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncrouter.types.errors import ConfigError, ConfigFault
from asyncrouter.types.request import EMPTY
from asyncrouter_cost.books import Books
from asyncrouter_cost.budgeted import BudgetedSelector
from asyncrouter_cost.offers import Expectations
from asyncrouter_cost.options import OnExceeded, checked_options
from asyncrouter_cost.selector import ValueSelector

if TYPE_CHECKING:
    from asyncrouter_cost.models.estimator import ModelEstimator
    from asyncrouter_cost.models.training import ModelTrainer


def cost(
    *,
    usd_per_quality: float = 0.01,
    qualities: Mapping[str, float] = EMPTY,
    difficulty: float = 4.0,
    output_tokens: int = 256,
    budgets: Sequence[Mapping[str, Any]] = (),
    on_exceeded: OnExceeded = "raise",
    state: str | os.PathLike[str] | None = None,
) -> ValueSelector | BudgetedSelector:
    """Choose the best expected quality for its money, within budgets.

    ``usd_per_quality``, above 0: what a quality of 1 instead of 0 is worth in US dollars, for one answer.
    ``qualities``: by deployment, from 0 to 1 at complexity 1/2, where the estimator tells none; otherwise presumed by
    price.  ``difficulty``, 0 or more: by how much the logit of the quality falls from complexity 0 to 1.
    ``output_tokens``: the length of an answer before any was seen.  ``budgets``: tables with ``usd`` and ``per``
    ("hour", "day" or "month"), and at will ``by`` ("agent" or "metadata.KEY") and ``only``.  ``on_exceeded``: "raise"
    :class:`~asyncrouter.types.errors.BudgetExceeded`, or "downgrade" to what the budgets have room for.  ``state``: the
    path of a file that keeps what was spent over restarts; it is for one process at a time.

    Raises :class:`~asyncrouter.types.errors.ConfigError` with every fault found.
    """
    options = checked_options(
        usd_per_quality=usd_per_quality,
        qualities=qualities,
        difficulty=difficulty,
        output_tokens=output_tokens,
        budgets=budgets,
        on_exceeded=on_exceeded,
        state=state,
    )
    expectations = Expectations(options)
    if not options.budgets:
        return ValueSelector(expectations)
    downgrades = options.on_exceeded == "downgrade"
    return BudgetedSelector(expectations, options.budgets, _books(options.state), downgrades=downgrades)


def _books(state: Path | None) -> Books:
    if state is None:
        return Books()
    from asyncrouter_cost.journal import Journal  # with it comes sqlite3

    return Books(Journal(state))


class CostFactory:
    """Choose the best expected quality for its money, within budgets.

    There is one factory for each router.  Groups of it that keep what they spend in the same ``state`` file have the
    same accounts, also across a reconfiguration.
    """

    def __init__(self) -> None:
        self._books: dict[Path, Books] = {}
        self.__signature__ = inspect.signature(cost)

    def __call__(self, **options: Any) -> ValueSelector | BudgetedSelector:
        """Return what :func:`cost` makes of *options*."""
        selector = cost(**options)
        if isinstance(selector, BudgetedSelector) and selector.books.journal is not None:
            selector.books = self._books.setdefault(selector.books.journal.path.resolve(), selector.books)
        return selector


def estimator(*, model: str | os.PathLike[str]) -> ModelEstimator:
    """Expect a quality of each deployment, by a model trained on outcomes: the estimator's name is ``cost`` too.

    ``model``: the path of a file that ``asyncrouter lab train --trainer cost`` wrote.  Needs numpy.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` when it is none.
    """
    from asyncrouter_cost.models.estimator import ModelEstimator

    if not isinstance(model, (str, os.PathLike)):
        raise ConfigError(faults=[ConfigFault("model", f"expected the path of a model file, not {model!r}")])
    return ModelEstimator(Path(model))


def trainer() -> ModelTrainer:
    """Learn the qualities of many models from outcomes, for the estimator ``cost``.  Needs numpy."""
    from asyncrouter_cost.models.training import ModelTrainer

    return ModelTrainer()
