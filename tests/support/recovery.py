"""What tests of the recovery share: two groups to go through, and what a reply tells of the way that was taken."""

from __future__ import annotations

from typing import Any

from routed import EXACT

TWO_GROUPS = {
    "chat": {"deployments": ["a", "b"], "retry": EXACT, "fallbacks": ["other"]},
    "other": {"deployments": ["x", "y"]},
}


def kinds(reply: Any) -> list[tuple[str, str]]:
    """Return the deployments called, in order, each with what the call was."""
    return [(one.deployment, str(one.kind)) for one in reply.trace.attempts]
