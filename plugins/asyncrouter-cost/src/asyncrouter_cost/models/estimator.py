"""The estimator ``cost``: expected quality of each deployment's answer, and length, by a model trained on outcomes."""

from __future__ import annotations

from pathlib import Path

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import ModelGroup
from asyncrouter.types.errors import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import input_tokens, requested_output_tokens
from asyncrouter_cost.models.content import read
from asyncrouter_cost.models.likeness import Floats
from asyncrouter_cost.models.traits import prompt_of

NAME = "cost"


class ModelEstimator:
    """Expects a quality of each deployment that the model knows, by the deployment's name or its model's.

    The complexity is 1 less the mean of these qualities: how likely the group is to fail.  Where it has learned from
    lengths, it foretells that of an answer as a mean over the models, no more than was asked for.
    """

    def __init__(self, path: Path) -> None:
        file = ModelFile.read(path)
        if file.estimator != NAME:
            raise ConfigError(f"{path}: is a model of the estimator {file.estimator!r}; write use = {file.estimator!r}")
        self._model = read(file.content, str(path))
        self._places = {model: place for place, model in enumerate(self._model.models)}
        self.learned_from = file.learned_from

    @hookimpl
    def asyncrouter_estimate(self, request: Request, group: ModelGroup) -> Estimate:
        """Return the expected qualities of the group's deployments."""
        found = self._model.expected((prompt_of(request.messages),))
        (expected,) = found.qualities
        qualities = {}
        for one in group.deployments:
            place = self._places.get(one.name, self._places.get(one.model))
            if place is not None:
                qualities[one.name] = float(expected[place])
        mean = sum(qualities.values()) / len(qualities) if qualities else float(expected.mean())
        return Estimate(
            complexity=min(max(1.0 - mean, 0.0), 1.0),
            input_tokens=input_tokens(request),
            output_tokens=_output_tokens(requested_output_tokens(request), found.lengths),
            source=NAME,
            qualities=qualities,
            reason=f"{len(qualities)} models expected to reach {mean:.2f} on average",
        )


def _output_tokens(asked: int | None, expected: Floats | None) -> int | None:
    if expected is None:
        return asked
    tokens = max(round(float(expected[0])), 1)
    return tokens if asked is None else min(tokens, asked)
