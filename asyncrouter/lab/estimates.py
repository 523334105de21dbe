"""What estimators say of prompts: asked through their ordinary hook, as the router asks them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from asyncrouter.assembler import builtin_registry
from asyncrouter.config.specs import StrategySpec
from asyncrouter.hooks.manager import HookManager
from asyncrouter.hooks.markers import PROJECT
from asyncrouter.hooks.pipeline import compile_pipeline, must_wait
from asyncrouter.hooks.registry import Registry
from asyncrouter.lab.outcomes.table import Floats, digest
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment, ModelGroup
from asyncrouter.types.errors import ConfigError, PluginContractError
from asyncrouter.types.model_file import FORMAT, ModelFile, is_model_file
from asyncrouter.types.request import Request


@attrs.frozen
class Estimates:
    """What an estimator said of some prompts.

    ``complexities`` has the shape (prompts,); ``qualities`` the shape (prompts, models), ``nan`` where it said nothing
    of a model; ``output_tokens`` the shape (prompts,), ``nan`` where it forecast no length.
    """

    complexities: Floats
    qualities: Floats
    output_tokens: Floats

    @classmethod
    def none(cls, rows: int, models: int) -> Estimates:
        """Return what is known before anything was said."""
        return cls(np.full(rows, np.nan), np.full((rows, models), np.nan), np.full(rows, np.nan))


@attrs.frozen(kw_only=True)
class NamedEstimator:
    """An estimator under the ``name`` that was given for it.

    ``learned_from`` are the digests of the prompts that it was trained on, ``None`` where it does not tell: those of
    its model file, or what its attribute of that name holds.
    """

    name: str
    instance: Any = attrs.field(repr=False)
    learned_from: frozenset[bytes] | None = attrs.field(default=None, repr=False)

    def seen(self, prompts: Sequence[str]) -> int | None:
        """Return how many of *prompts* it has learned from, ``None`` where it does not tell."""
        return None if self.learned_from is None else sum(digest(prompt) in self.learned_from for prompt in prompts)

    def ask(self, prompts: Sequence[str], models: Sequence[str] = ()) -> Estimates:
        """Return what it says of *prompts*, as of requests to a group of *models*.

        Raises :class:`~asyncrouter.types.errors.PluginError` when it fails.
        """
        answers = self.estimates(prompts, models)
        qualities = [[one.qualities.get(model, np.nan) for model in models] for one in answers]
        return Estimates(
            np.array([one.complexity for one in answers], dtype=float),
            np.array(qualities, dtype=float).reshape(len(answers), len(models)),
            np.array([one.output_tokens for one in answers], dtype=float),
        )

    def estimates(self, prompts: Sequence[str], models: Sequence[str] = ()) -> list[Estimate]:
        """Return its estimate of each of *prompts*; otherwise as :meth:`ask`."""
        return asyncio.run(_answers(self.instance, self.name, prompts, _group(models)))


def estimate_spec(name: str) -> StrategySpec:
    """Return how a group is configured to have the estimator *name*: a registered name, or a trained model's path."""
    path = Path(name)
    if not path.is_file():
        return StrategySpec(use=name)
    return StrategySpec(use=ModelFile.read(path).estimator, options={"model": str(path)})


def find_estimator(name: str, registry: Registry | None = None) -> NamedEstimator:
    """Return the estimator that *name* stands for: a registered name, or the path of a model that was trained.

    Raises :class:`ConfigError` with the nearest names.
    """
    registry = registry or builtin_registry()
    path = Path(name)
    if path.is_file():
        with path.open("rb") as file:
            is_model = is_model_file(file.read(len(FORMAT)))
        if not is_model:
            raise ConfigError(f"{path}: is no model file; `lab train` writes them")
        return trained_estimator(name, path, registry)
    if path.suffix or path.parent != Path():
        raise ConfigError(f"{path}: no such file; give an estimator's name, or a model that `lab train` wrote")
    instance = registry.make("estimator", name, {}, "--estimator")
    is_ours = registry.find("estimator", name).distribution == PROJECT  # those are rules, which learn from nothing
    learned_from = getattr(instance, "learned_from", () if is_ours else None)
    return NamedEstimator(
        name=name, instance=instance, learned_from=None if learned_from is None else frozenset(learned_from)
    )


def trained_estimator(name: str, path: Path, registry: Registry) -> NamedEstimator:
    """Return the estimator that the model file at *path* names, with that file as its option ``model``."""
    model, options = ModelFile.read(path), {"model": str(path)}
    instance = registry.make("estimator", model.estimator, options, str(path))
    return NamedEstimator(name=name, instance=instance, learned_from=frozenset(model.learned_from))


async def _answers(instance: Any, name: str, prompts: Iterable[str], group: ModelGroup) -> list[Estimate]:
    manager = HookManager()
    manager.register(instance, name)
    estimate = compile_pipeline(manager, _raise).estimate
    answers = []
    for prompt in prompts:
        answer = estimate(Request(messages=({"role": "user", "content": prompt},)), group)
        answer = await answer if must_wait(answer) else answer
        if answer is None:
            raise PluginContractError(f"estimator {name!r} has no estimate of a prompt; the lab needs one of each")
        answers.append(answer)
    return answers


def _group(models: Sequence[str]) -> ModelGroup:
    deployments = tuple(Deployment(name=model, provider="lab", model=model) for model in models)
    return ModelGroup(name="lab", deployments=deployments)


def _raise(error: PluginContractError) -> None:
    raise error
