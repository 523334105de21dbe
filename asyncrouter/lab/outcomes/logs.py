"""Outcomes of the router's own log: who answered, and how well by feedback or by the judge."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np

from asyncrouter.lab.outcomes.files import BATCH_ROWS
from asyncrouter.lab.outcomes.table import Floats, Outcomes, identity
from asyncrouter.telemetry.outcomes import LoggedCall, read_calls
from asyncrouter.types.errors import ConfigError

MAGIC = b"SQLite format 3\x00"
"""How an outcome log begins."""


def reward_of(call: LoggedCall) -> float | None:
    """Return how well *call* went, in [0, 1]: the caller's feedback, else the judge's score; a failed call is worth 0.

    ``None`` where nobody has said.
    """
    if call.feedback is not None:
        return call.feedback
    if call.judged is not None:
        return call.judged
    return 0.0 if call.outcome == "failed" else None


@attrs.define
class Answers:
    """One request: what is known of the answers of each deployment, shadows and rejected answers among them."""

    call: LoggedCall
    scores: dict[str, float] = attrs.field(factory=dict)
    costs: dict[str, float] = attrs.field(factory=dict)
    lengths: dict[str, float] = attrs.field(factory=dict)

    def learn(self, call: LoggedCall) -> None:
        """Take what *call*, the request's own or a shadow of it, tells of deployments."""
        for attempt in call.attempts:
            if attempt.score is not None:
                self.scores[attempt.deployment] = attempt.score
            if attempt.cost_usd is not None:
                self.costs[attempt.deployment] = attempt.cost_usd
            if attempt.output_tokens:
                self.lengths[attempt.deployment] = attempt.output_tokens
        reward = reward_of(call)
        if call.deployment is not None and reward is not None:
            self.scores[call.deployment] = reward


def answers_in(path: Path) -> list[Answers]:
    """Return the requests in the log at *path* of which somebody has said how well they went.

    Raises :class:`~asyncrouter.types.errors.ConfigError` when it is another file.
    """
    rows: dict[str, Answers] = {}
    shadows: list[LoggedCall] = []
    for call in read_calls(path):
        if call.shadow_of is None:
            rows[call.id] = Answers(call)
            rows[call.id].learn(call)
        else:
            shadows.append(call)
    for shadow in shadows:
        if shadow.shadow_of in rows:
            rows[shadow.shadow_of].learn(shadow)
    return [row for row in rows.values() if row.scores]


def logged_prompts(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the prompts of the calls in the log at *path*, some thousands at a time, whatever is known of the answers.

    Raises :class:`~asyncrouter.types.errors.ConfigError` when it holds none.
    """
    prompts = filter(None, (call.prompt for call in read_calls(path, shadows=False)))
    some = tuple(itertools.islice(prompts, BATCH_ROWS))
    check_prompts(path, some)
    while some:
        yield some
        some = tuple(itertools.islice(prompts, BATCH_ROWS))


def check_prompts(path: Path, prompts: Sequence[str]) -> None:
    """Raise :class:`~asyncrouter.types.errors.ConfigError` when *prompts*, of the file at *path*, hold no text."""
    if not any(prompts):
        raise ConfigError(f"{path}: holds no prompts; an outcome log does with [outcomes] prompts = true")


def read_log(path: Path) -> Outcomes:
    """Return the outcomes in the log at *path*: a row a request, a model for each deployment, ``nan`` where unasked.

    Requests of which nobody has said how well they went are left out.  Where prompts are not logged they are empty,
    and ``features`` hold the estimators' vectors.  Rows of one session are one group.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` when it is another file.
    """
    return table_of(answers_in(path), path.name)


def table_of(rows: list[Answers], source: str) -> Outcomes:
    """Return *rows* as outcomes of the file *source*."""
    models = tuple(dict.fromkeys(name for row in rows for name in (*row.call.ranking, *row.scores)))
    prompts = tuple(row.call.prompt or "" for row in rows)
    has_costs, has_lengths = any(row.costs for row in rows), any(row.lengths for row in rows)
    return Outcomes(
        ids=tuple(identity(prompt) if prompt else row.call.id for row, prompt in zip(rows, prompts, strict=True)),
        prompts=prompts,
        groups=tuple(row.call.session or row.call.id for row in rows),
        sources=(source,) * len(rows),
        models=models,
        scores=_wide([row.scores for row in rows], models),
        costs=_wide([row.costs for row in rows], models) if has_costs else None,
        lengths=_wide([row.lengths for row in rows], models) if has_lengths else None,
        features=features_of([row.call for row in rows]),
    )


def _wide(rows: list[dict[str, float]], models: tuple[str, ...]) -> Floats:
    return np.array([[row.get(model, np.nan) for model in models] for row in rows]).reshape(len(rows), len(models))


def features_of(calls: list[LoggedCall]) -> Floats | None:
    """Return the vectors of *calls*, shape (calls, any): ``nan`` where one has none, ``None`` where all have none."""
    width = max((len(call.features) for call in calls), default=0)
    if width == 0:
        return None
    return np.array([call.features if len(call.features) == width else (np.nan,) * width for call in calls])


def known_before(calls: list[LoggedCall]) -> Floats:
    """Return what is known of each call before it is decided: complexity, length, and the vector where logged."""
    complexities = np.array([0.5 if call.complexity is None else call.complexity for call in calls])
    lengths = np.log1p([call.expected_input_tokens for call in calls])
    hand = np.stack([complexities, complexities**2, lengths], axis=1)
    vectors = features_of(calls)
    return hand if vectors is None else np.hstack([hand, np.nan_to_num(vectors)])
