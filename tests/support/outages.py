"""Upstreams that are down for a time, an even traffic to them, and when the calls of it began, in virtual time."""

from __future__ import annotations

import asyncio

from asyncrouter import ServerError
from asyncrouter.testing import Fail, Reply

ALONE = {"chat": {"deployments": ["a"], "retry": "none"}}
PROBES_A_MINUTE = 9
"""Of one breaker: 5, 10, 20, 20, … seconds apart, each drawn from its half to its whole."""


def now():
    return asyncio.get_running_loop().time()


def down(*times, step=Fail(ServerError), names="a", up=Reply("up")):  # noqa: B008 - they are frozen
    """Return the script of an upstream of which *names* do *step* within each of *times*, and else *up*."""

    def script(_request, deployment, _number):
        fails = deployment.name in names and any(begin <= now() < end for begin, end in times)
        return step if fails else up

    return script


async def traffic(f, per_s, until, **arguments):
    """Make calls at an even rate until a moment; return their answers and errors when all have ended."""
    tasks = []
    while now() < until - 1e-9:
        tasks.append(asyncio.create_task(f.caught(f.ask(**arguments))))
        await asyncio.sleep(1 / per_s)
    return await asyncio.gather(*tasks)


def began(f, name, since=0.0, until=1e9):
    """Return when the calls to *name* began, of those in a span of time."""
    return [one.started_at for one in f.sent if one.deployment == name and since <= one.started_at < until]
