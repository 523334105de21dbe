"""Estimators learned from outcomes, by the trainers that plugins bring."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from asyncrouter.hooks.registry import Registry
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.outcomes.table import Outcomes, digest
from asyncrouter.types.errors import ConfigError, PluginContractError
from asyncrouter.types.model_file import ModelFile, is_model_file
from asyncrouter.types.request import EMPTY

PRIOR = "prior"
"""The option of trainers that start from an earlier model: the path of its file, or :data:`NO_PRIOR`."""
NO_PRIOR = "none"


class Trainer(Protocol):
    """What the factory of a registered trainer makes."""

    def train(self, outcomes: Outcomes, *, seed: int, progress: Progress) -> bytes:
        """Return the bytes of a model file learned from *outcomes*, the same for the same outcomes and seed."""


@attrs.frozen
class NamedTrainer:
    """A registered trainer: its ``name``, and the ``options`` that its factory gets."""

    name: str
    options: Mapping[str, Any] = EMPTY
    registry: Registry = attrs.field(factory=Registry, repr=False)

    @property
    def takes_prior(self) -> bool:
        """Whether it can start from an earlier model."""
        return PRIOR in inspect.signature(self.registry.find("trainer", self.name).factory).parameters

    def train(
        self, outcomes: Outcomes, *, seed: int, prior: str | Path | None = None, progress: Progress = ignored
    ) -> ModelFile:
        """Return the model learned from *outcomes*, starting from *prior* where that is given.

        The model tells the prompts of *outcomes* and those that its prior has learned from.  Raises
        :class:`ConfigError` when there is nothing to learn from, :class:`PluginContractError` when the trainer returns
        what is no model file.
        """
        if not len(outcomes):
            raise ConfigError("no outcomes to learn from: give a file with rows")
        if outcomes.features is None and not any(outcomes.prompts):
            raise ConfigError(
                "no prompts to learn from: let the router log them, [outcomes] prompts = true, or vectors"
            )
        options = dict(self.options) if prior is None else {**self.options, PRIOR: str(prior)}
        trainer: Trainer = self.registry.make("trainer", self.name, options, f"trainer {self.name!r}")
        written = trainer.train(outcomes, seed=seed, progress=progress)
        if not isinstance(written, bytes) or not is_model_file(written):
            raise PluginContractError(f"trainer {self.name!r}: train returned no model file", plugin=self.name)
        made = ModelFile.parse(written, f"trainer {self.name!r}")
        before = ModelFile.read(prior).learned_from if prior not in (None, NO_PRIOR) else ()
        prompts = map(digest, filter(None, outcomes.prompts))
        return attrs.evolve(made, learned_from=(*made.learned_from, *before, *prompts))
