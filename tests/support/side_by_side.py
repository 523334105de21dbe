"""What tests of attempts side by side share: a hedge, a race, and what a reply tells of who took part."""

from __future__ import annotations

from typing import Any

from asyncrouter import Selection, hookimpl

HEDGE = {"at": 0.5, "max_extra_load": 1.0}


class Racing:
    """Selects everything, the first so many at once."""

    def __init__(self, parallel: int) -> None:
        self.parallel = parallel

    @hookimpl
    def asyncrouter_select(self, candidates):
        return Selection(deployments=candidates, parallel=self.parallel, reason="race")


def racing(parallel: int, *names: str, **settings: Any) -> dict[str, Any]:
    """Return a group of these deployments, the first so many asked at once."""
    return {"chat": {"deployments": list(names), "select": Racing(parallel), **settings}}


def told(reply: Any) -> dict[str, tuple[str, str]]:
    """Return what each deployment was asked as, and how that ended."""
    return {one.deployment: (str(one.kind), str(one.outcome)) for one in reply.trace.attempts}


async def ask_or_read(r: Any, streamed: Any, **arguments: Any) -> Any:
    """Make one call, plain or streamed to its end; return the response."""
    return (await r.read(**arguments))[1] if streamed else await r.ask(**arguments)
