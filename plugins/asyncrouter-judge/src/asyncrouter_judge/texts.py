"""Checks of the text alone: empty, refused, cut, repeating itself."""

from __future__ import annotations

import re

from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter.types.tokens import requested_output_tokens
from asyncrouter_judge.findings import Finding
from asyncrouter_judge.refusals import is_refusal

SHORT_ON_PURPOSE = 32
"""A caller's own bound of so many tokens or fewer wants an answer that is cut: a label, a yes or no."""
GRAM = 4
"""Words in a row that are compared: rep-4 of Welleck et al. 2020, "Neural text generation with unlikelihood
training"."""
FEWEST_GRAMS = 50
"""Below so many, a text cannot be told to repeat itself."""
ORDINARY_REPETITION = 0.3
"""The share of repeated 4-grams that a long list or table may have; people's prose has under 0.1 (Welleck et al.)."""
LONGEST_SAMPLE = 20_000
"""Characters at the end that are looked at for repetition: it sets in and does not end."""
_WORD = re.compile(r"[^\W\d_]{1,40}|\d+|[^\w\s]")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")


def empty(_request: Request, response: Response) -> Finding | None:
    """Find an answer without a text and without a tool call."""
    has_text = any(not character.isspace() for character in response.text)
    if has_text or response.tool_calls or response.message.get("refusal"):
        return None
    return Finding(0.0, "the answer is empty")


def refusal(_request: Request, response: Response) -> Finding | None:
    """Find an answer that declines: by the upstream's own mark, or in words."""
    if response.message.get("refusal") or response.finish_reason == "content_filter":
        return Finding(0.1, "refused, as the upstream says")
    if not response.tool_calls and is_refusal(response.text):
        return Finding(0.1, "refused in words")
    return None


def truncated(request: Request, response: Response) -> Finding | None:
    """Find an answer that was cut by its length, unless the caller's own bound wants just that."""
    if response.finish_reason != "length":
        return None
    bound = requested_output_tokens(request)
    if bound is not None and bound <= SHORT_ON_PURPOSE:
        return None
    return Finding(0.3, "cut by its length")


def repeated(_request: Request, response: Response) -> Finding | None:
    """Find a text that says the same again and again, by the share of its 4-grams that came before."""
    share = repetition(response.text[-LONGEST_SAMPLE:])
    if share <= ORDINARY_REPETITION:
        return None
    return Finding(max(0.0, 1.0 - share), f"{share:.0%} of it is repeated")


def repetition(text: str) -> float:
    """Return rep-4: the share of 4-grams that came before, 0 for a short text; linear in its length."""
    words = _WORD.findall(_UNSPACED.sub(lambda found: f" {found[0]} ", text))
    grams = [tuple(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1)]
    if len(grams) < FEWEST_GRAMS:
        return 0.0
    return 1.0 - len(set(grams)) / len(grams)
