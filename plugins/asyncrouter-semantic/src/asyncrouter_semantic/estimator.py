"""The estimator ``semantic``: complexity as the gain that a stronger model is expected to bring."""

from __future__ import annotations

import math

from asyncrouter import Estimate, Request, hookimpl
from asyncrouter.types import tokens
from asyncrouter_semantic.head import PARTS
from asyncrouter_semantic.model import DEFAULT, Model
from asyncrouter_semantic.text import conversation, parse

LOGISTIC = math.pi / math.sqrt(3)
"""The standard deviation of the logistic distribution."""
ENOUGH_WORDS = 20
"""With so many words a message says as much of its task as the conversation before it."""
LEAST = 0.005
"""Contributions below this are left out, in the gain's own scale."""


class SemanticEstimator:
    """Complexity learned from outcomes: how much better a strong model's answer is expected to be; needs numpy.

    ``model`` is the path of a model file that ``lab train`` wrote, or "default" for the one that comes with the plugin;
    ``learned_from`` holds the digests of the prompts that it was trained on.
    Raises :class:`~asyncrouter.ConfigError` when there is no such model, or a damaged one.
    """

    def __init__(self, *, model: str = DEFAULT) -> None:
        self._model = Model.load(model)
        self.learned_from = self._model.learned_from

    @hookimpl
    def asyncrouter_estimate(self, request: Request) -> Estimate:
        """Return the complexity, the share of typical prompts that gain less, with the parts that made it."""
        last, others, length = conversation(request.messages)
        text = parse(last, length if not others else None)
        gain, added, kinds = self._model.gain(text)
        if others:
            before, earlier, _ = self._model.gain(parse(f"{others}\n{last}", length))
            share = ENOUGH_WORDS / (ENOUGH_WORDS + len(text.words))
            gain += share * (before - gain)
            added = added + share * (earlier - added)
        return Estimate(
            complexity=_share_below((gain - self._model.centre) / self._model.spread),
            input_tokens=tokens.input_tokens(request),
            output_tokens=tokens.requested_output_tokens(request),
            contributions=_told(added.tolist()),
            source="semantic",
            reason=f"a strong model is expected to gain {gain:+.2f}; most like {kinds[0][1]} ({kinds[0][0]:.0%})",
        )


def _share_below(deviations: float) -> float:
    """Return the share of typical prompts with a smaller gain, were gains distributed logistically."""
    return 1.0 / (1.0 + math.exp(-max(-500.0, min(500.0, LOGISTIC * deviations))))


def _told(added: list[float]) -> tuple[tuple[float, str], ...]:
    told = [(points, name) for points, name in zip(added, PARTS, strict=True) if abs(points) >= LEAST]
    return tuple(sorted(told, key=lambda one: -abs(one[0])))
