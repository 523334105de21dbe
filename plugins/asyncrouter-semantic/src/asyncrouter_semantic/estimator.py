"""The estimator ``semantic``: complexity as the gain that a stronger model is expected to bring."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import attrs

from asyncrouter import ConfigError, Deployment, Estimate, ModelGroup, Request, hookimpl
from asyncrouter.types import tokens
from asyncrouter.types.errors import ConfigFault
from asyncrouter_semantic.head import PARTS, Judgement
from asyncrouter_semantic.model import DEFAULT, Model
from asyncrouter_semantic.panel import Panel, Placed, plain
from asyncrouter_semantic.text import conversation
from asyncrouter_semantic.vectors import vector_of

LOGISTIC = math.pi / math.sqrt(3)
"""The standard deviation of the logistic distribution."""
ENOUGH_WORDS = 20
"""With so many words a message says as much of its task as the conversation before it."""
LEAST = 0.005
"""Contributions below this are left out, in the gain's own scale."""

OWN_VECTORS = "own outcomes"
"""What contributions call that which was learned from vectors."""
MOST_GROUPS = 256
"""Groups whose deployments are kept placed."""


class SemanticEstimator:
    """Complexity learned from outcomes: how much better a strong model's answer is expected to be; needs numpy.

    ``model`` is the path of a model file that ``lab train`` wrote, or "default" for the one that comes with the plugin.
    ``qualities`` tells of deployments, or of models, by their names, which known model they are like, or which quality
    they have on average, from 0 to 1.  ``learned_from`` holds the digests of the prompts that
    the model was trained on.  Raises :class:`~asyncrouter.ConfigError` naming what is wrong.
    """

    def __init__(self, *, model: str = DEFAULT, qualities: Mapping[str, str | float] | None = None) -> None:
        self._model = Model.load(model)
        self.learned_from = self._model.learned_from
        self._told = dict(qualities or {})
        self._placed: dict[tuple[tuple[str, str], ...], Placed] = {}
        for name, said in self._told.items():
            _check(name, said, self._model.panel)

    @hookimpl
    def asyncrouter_estimate(self, request: Request, group: ModelGroup) -> Estimate:
        """Return the complexity, the share of typical prompts that gain less, with the parts that made it."""
        last, whole = conversation(request.messages)
        judged = self._model.judge(last)
        if whole is not None:
            share = ENOUGH_WORDS / (ENOUGH_WORDS + len(last.words))
            judged = _between(judged, self._model.judge(whole), share)
        kind = int(judged.likeness.argmax())
        task, features = self._model.head.tasks[kind], vector_of(judged)
        gain = self._gain(judged.gain, features)
        return Estimate(
            complexity=self._complexity(gain),
            input_tokens=tokens.input_tokens(request),
            output_tokens=tokens.requested_output_tokens(request),
            contributions=_told([*judged.added.tolist(), gain - judged.gain]),
            source="semantic",
            qualities=self._place(group.deployments).qualities(judged.likeness, judged.ease),
            features=features,
            reason=f"a strong model is to gain {gain:+.2f}; most like {task} ({judged.likeness[kind]:.0%})",
        )

    def revise(self, logged: Estimate) -> Estimate:
        """Return what this model says of a prompt that is not kept, of which *logged* tells the vector.

        Raises :class:`~asyncrouter.ConfigError` when it is the vector of another model, or there is none.
        """
        top = self._model.top
        if top is None:
            return logged
        gain = top.gain(logged.features)
        return attrs.evolve(
            logged, complexity=self._complexity(gain), reason=f"a strong model is to gain {gain:+.2f}, by its vector"
        )

    def _gain(self, judged: float, features: Sequence[float]) -> float:
        return judged if self._model.top is None else self._model.top.gain(features)

    def _complexity(self, gain: float) -> float:
        return _share_below((gain - self._model.centre) / self._model.spread)

    def _place(self, deployments: tuple[Deployment, ...]) -> Placed:
        key = tuple([(one.name, one.model) for one in deployments])
        placed = self._placed.get(key)
        if placed is None:
            if len(self._placed) >= MOST_GROUPS:
                self._placed.clear()
            placed = self._placed[key] = self._model.panel.place(deployments, self._told)
        return placed


def _between(one: Judgement, other: Judgement, share: float) -> Judgement:
    """Return what lies *share* of the way from *one* to *other*."""
    return Judgement(
        one.gain + share * (other.gain - one.gain),
        one.added + share * (other.added - one.added),
        one.likeness + share * (other.likeness - one.likeness),
        one.ease + share * (other.ease - one.ease),
        one.traits + share * (other.traits - one.traits),
    )


def _check(name: str, said: str | float, panel: Panel) -> None:
    if isinstance(said, str):
        if plain(said) not in panel.models:
            near = difflib.get_close_matches(plain(said), panel.models, n=1)
            cure = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(panel.models)}"
            raise ConfigError(faults=[ConfigFault(f"qualities.{name}", f"no model {said!r} is known", cure)])
    elif isinstance(said, bool) or not isinstance(said, (int, float)) or not 0.0 <= said <= 1.0:
        fault = ConfigFault(f"qualities.{name}", "expected a known model's name, or a quality from 0 to 1")
        raise ConfigError(faults=[fault])


def _share_below(deviations: float) -> float:
    """Return the share of typical prompts with a smaller gain, were gains distributed logistically."""
    return 1.0 / (1.0 + math.exp(-max(-500.0, min(500.0, LOGISTIC * deviations))))


def _told(added: list[float]) -> tuple[tuple[float, str], ...]:
    told = [(points, name) for points, name in zip(added, (*PARTS, OWN_VECTORS), strict=True) if abs(points) >= LEAST]
    return tuple(sorted(told, key=lambda one: -abs(one[0])))
