"""What a check returns."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from asyncrouter.types.request import Request
from asyncrouter.types.response import Response


@attrs.frozen
class Finding:
    """What one check found of an answer: a score from 0, useless, to 1, faultless, and the reason in a few words.

    The reason quotes neither prompt nor answer: it goes into traces and logs.
    """

    score: float
    reason: str


Check = Callable[[Request, Response], Finding | None]
"""Looks at an answer; ``None`` where the check does not apply."""
