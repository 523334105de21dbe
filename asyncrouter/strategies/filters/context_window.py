"""The filter for prompts that a deployment's context window cannot hold."""

from __future__ import annotations

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import input_tokens, message_tokens, requested_output_tokens


@attrs.frozen(kw_only=True, eq=False)
class ContextWindowFilter:
    """Drop deployments whose window is smaller than the estimated prompt with the answer that the caller asked for.

    An unknown window holds anything.  The count is only an estimate, and the upstream is the judge: when no window is
    large enough, the deployments with the largest stay, so this filter never leaves none.
    """

    _windows: OncePerCandidates[list[int]] = attrs.field(
        init=False, repr=False, factory=lambda: OncePerCandidates(_known_windows)
    )

    @hookimpl(trylast=True)
    def asyncrouter_filter(self, request: Request, candidates: tuple[Deployment, ...]) -> tuple[Deployment, ...] | None:
        """Return the candidates that hold the request; ``None`` when all do."""
        windows = self._windows.of(candidates)
        if not windows:
            return None
        smallest = windows[0]
        needed = message_tokens(request)
        if request.params:
            needed = input_tokens(request) + (requested_output_tokens(request) or 0)
        if needed <= smallest:
            return None
        if len(windows) == len(candidates):
            needed = min(needed, windows[-1])
        return tuple(one for one in candidates if one.context_window is None or one.context_window >= needed)


def _known_windows(candidates: Candidates) -> list[int]:
    return sorted(one.context_window for one in candidates if one.context_window is not None)
