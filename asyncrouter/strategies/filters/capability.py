"""The filter for what a request needs and a deployment cannot do."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.strategies.candidates import Candidates, OncePerCandidates
from asyncrouter.types.deployments import ALL_CAPABILITIES, Capability, Deployment
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import has_image, tool_count


@attrs.frozen(kw_only=True, eq=False)
class CapabilityFilter:
    """Drop deployments that lack what the request needs: tools, vision, JSON schema, streaming.

    When it leaves none, no deployment of the group has all the ``capabilities`` that the request needs.
    """

    _lacking: OncePerCandidates[Candidates] = attrs.field(
        init=False, repr=False, factory=lambda: OncePerCandidates(_without_everything)
    )

    @hookimpl(trylast=True)
    def asyncrouter_filter(self, request: Request, candidates: tuple[Deployment, ...]) -> tuple[Deployment, ...] | None:
        """Return the candidates that have every capability needed; ``None`` when all have."""
        lacking = self._lacking.of(candidates)
        if not lacking:
            return None
        needed = needed_capabilities(request)
        if all(one.capabilities >= needed for one in lacking):
            return None
        return tuple(one for one in candidates if one.capabilities >= needed)


def _without_everything(candidates: Candidates) -> Candidates:
    return tuple(one for one in candidates if not one.capabilities >= ALL_CAPABILITIES)


def needed_capabilities(request: Request) -> frozenset[str]:
    """Return the names of what a deployment must be able to do to serve *request*."""
    needed = []
    if tool_count(request):
        needed.append(Capability.TOOLS)
    if request.stream:
        needed.append(Capability.STREAMING)
    response_format = request.params.get("response_format")
    if isinstance(response_format, Mapping) and response_format.get("type") == "json_schema":
        needed.append(Capability.JSON_SCHEMA)
    if any(isinstance(message, Mapping) and has_image(message.get("content")) for message in request.messages):
        needed.append(Capability.VISION)
    return frozenset(needed)
