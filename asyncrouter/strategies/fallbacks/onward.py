"""Fallbacks for any failure that permits one: the next deployment (``next``), then the next group (``group_chain``).

The first answer wins, and built-in strategies run in the order in which they were registered: register ``next`` before
``group_chain``.  Both decline where they have nothing to offer, and for errors whose disposition is RAISE.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Fallback
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import Disposition, ProviderError
from asyncrouter.types.trace import Attempt, Outcome, TraceView


def group_names(value: Any) -> tuple[str, ...]:
    """Convert the option ``groups``: a list of different group names."""
    return options.names(value, "groups")


@attrs.frozen(kw_only=True, eq=False)
class NextFallback:
    """The next deployment of the selection."""

    @hookimpl(trylast=True)
    def asyncrouter_fallback(self, attempt: Attempt, remaining: tuple[Deployment, ...]) -> Fallback | None:
        """Return the first of *remaining*; decline when none remains or the error forbids it."""
        error = attempt.error
        if not remaining or error is None or error.disposition is Disposition.RAISE:
            return None
        return Fallback(deployment=remaining[0], reason=after(error))


@attrs.frozen(kw_only=True, eq=False)
class GroupChainFallback:
    """The next group of a list, each once per request.

    ``groups``: group names in the order in which to ask them.
    """

    groups: tuple[str, ...] = attrs.field(converter=group_names)

    @hookimpl(trylast=True)
    def asyncrouter_fallback(self, attempt: Attempt, trace: TraceView) -> Fallback | None:
        """Return the first group not yet visited; decline when all were or the error forbids it.

        It answers, too, when the group had no deployment ready and nothing was called.
        """
        error = attempt.error
        if error is None:
            skipped = attempt.outcome is Outcome.SKIPPED
            return to_group(self.groups, trace, attempt.reason) if skipped else None
        if error.disposition is Disposition.RAISE:
            return None
        return to_group(self.groups, trace, after(error))


def to_group(groups: Sequence[str], trace: TraceView, reason: str) -> Fallback | None:
    """Return a fallback to the first of *groups* not yet visited, ``None`` when there is none."""
    for group in groups:
        if group not in trace.groups:
            return Fallback(group=group, reason=reason)
    return None


def after(error: ProviderError) -> str:
    """Return the reason for a fallback: the error's class only, as its message may be long."""
    return f"after {type(error).__name__}"
