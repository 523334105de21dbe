"""Fallbacks for the two errors that forbid any other: ``larger_context`` and ``content_filter`` (opt-in)."""

from __future__ import annotations

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.fallbacks.onward import after, group_names, to_group
from asyncrouter.types.decisions import Fallback, GiveUp
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import ContentFiltered, ContextWindowExceeded
from asyncrouter.types.trace import Attempt, TraceView


@attrs.frozen(kw_only=True, eq=False)
class LargerContextFallback:
    """After a prompt too long, the remaining deployment with the largest window.

    It must be larger than the window of the one that failed; an unknown window counts as not larger, and nothing is
    known to be larger than an unknown one.  ``groups``: group names to ask when there is none.
    """

    groups: tuple[str, ...] = attrs.field(default=(), converter=group_names)

    @hookimpl(trylast=True)
    def asyncrouter_fallback(
        self, attempt: Attempt, trace: TraceView, remaining: tuple[Deployment, ...]
    ) -> Fallback | GiveUp | None:
        """Return where the prompt may fit, or give up; decline any other error."""
        error = attempt.error
        if not isinstance(error, ContextWindowExceeded):
            return None
        failed = _window_of(attempt.deployment, trace)
        largest = max(remaining, key=_window, default=None)
        if failed is not None and largest is not None and _window(largest) > failed:
            return Fallback(deployment=largest, reason=f"window {largest.context_window} instead of {failed} tokens")
        return to_group(self.groups, trace, after(error)) or GiveUp("no larger context window")


@attrs.frozen(kw_only=True, eq=False)
class ContentFilterFallback:
    """After a refusal by a content policy, the next deployment, then a group of a list.  Only where it is asked for.

    ``groups``: group names to ask when no deployment remains.
    """

    groups: tuple[str, ...] = attrs.field(default=(), converter=group_names)

    @hookimpl(trylast=True)
    def asyncrouter_fallback(
        self, attempt: Attempt, trace: TraceView, remaining: tuple[Deployment, ...]
    ) -> Fallback | GiveUp | None:
        """Return who may judge the prompt otherwise, or give up; decline any other error."""
        error = attempt.error
        if not isinstance(error, ContentFiltered):
            return None
        if remaining:
            return Fallback(deployment=remaining[0], reason=after(error))
        return to_group(self.groups, trace, after(error)) or GiveUp("no other content policy to ask")


def _window(deployment: Deployment) -> int:
    return deployment.context_window or 0


def _window_of(name: str, trace: TraceView) -> int | None:
    known = trace.selection.deployments if trace.selection else ()
    return next((one.context_window for one in known if one.name == name), None)
