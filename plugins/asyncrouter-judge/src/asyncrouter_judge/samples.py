"""Checks of how sure the model was: samples that agree, and the probabilities of its tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from asyncrouter.types.agreement import normal_form
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter_judge.findings import Finding


def consistency(_request: Request, response: Response) -> Finding | None:
    """Find how many of the samples (the request's ``n``) say what the first one says, which is the one returned.

    Self-consistency: Wang et al. 2023, "Self-consistency improves chain of thought reasoning in language models".
    """
    said = [normal_form(message) for message in _messages(response)]
    if len(said) < 2:  # noqa: PLR2004 - one sample agrees with itself
        return None
    return agreement_of(said)


def agreement_of(said: Sequence[str]) -> Finding:
    """Return the finding for normal forms of which the first is the answer: the share that agrees with it."""
    agree = said.count(said[0])
    return Finding(agree / len(said), f"{agree} of {len(said)} samples agree")


def probability(_request: Request, response: Response) -> Finding | None:
    """Find the geometric mean of the probabilities of the answer's tokens, where the upstream tells them.

    As a sign for deferral: Gupta et al. 2024, "Language model cascades: token-level uncertainty and beyond".
    """
    logprobs = [value for value in map(_logprob, _tokens(response)) if value is not None]
    if not logprobs:
        return None
    mean = math.exp(min(0.0, math.fsum(logprobs) / len(logprobs)))
    return Finding(mean, f"tokens of probability {mean:.2f} on average")


def _messages(response: Response) -> list[Mapping[str, Any]]:
    choices = response.raw.get("choices")
    messages = [
        choice.get("message")
        for choice in (choices if isinstance(choices, (list, tuple)) else ())
        if isinstance(choice, Mapping)
    ]
    return [message for message in messages if isinstance(message, Mapping)]


def _tokens(response: Response) -> Sequence[Any]:
    choices = response.raw.get("choices")
    first = choices[0] if isinstance(choices, (list, tuple)) and choices else None
    logprobs = first.get("logprobs") if isinstance(first, Mapping) else None
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return tokens if isinstance(tokens, (list, tuple)) else ()


def _logprob(token: object) -> float | None:
    value = token.get("logprob") if isinstance(token, Mapping) else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    return float(value) if is_number else None  # type: ignore[arg-type]
