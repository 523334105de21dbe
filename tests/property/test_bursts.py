"""With everything down, upstreams get at most 1.2 calls a request and a floor: whatever fails, however many come.

The floor is three extra attempts (five once a request is alone), one in every two seconds that nobody answers, and one
look at each deployment after the third, for each layer of routers.  ``BURSTS=1000`` tries more of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from hypothesis import example, given, settings
from hypothesis import strategies as st
from routed import Nested

from asyncrouter import (
    AsyncRouterError,
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    MalformedResponse,
    Overloaded,
    RateLimited,
    Router,
    ServerError,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Slow, Stream, VirtualClockLoop

BURSTS = int(os.environ.get("BURSTS", "25"))
FAILURES = {
    "500": Fail(ServerError),
    "503": Fail(Overloaded),
    "refused": Fail(ConnectionFailed),
    "malformed": Fail(MalformedResponse),
    "connect": Fail(AttemptTimedOut),
    "401": Fail(AuthenticationFailed),
    "429": Fail(RateLimited),
    "429 with a time": Fail(RateLimited, retry_after_s=2.0),
    "silent": Hang(),
    "cut": Stream(["one"], cut_after=0),
}


def layered(provider, layers, count):
    """Return routers before one another, the innermost first; only that one has upstreams."""
    routers = []
    for seed in range(layers):
        names = [f"{chr(97 + number)}" for number in range(count)]
        config = {
            "providers": {"below": Nested(routers[-1]) if routers else provider},
            "deployments": {name: {"provider": "below", "model": "m"} for name in names},
            "groups": {"chat": {"deployments": names}},
        }
        routers.append(Router.from_config(config, seed=seed))
    return routers


async def burst(routers, many, deadline_s, *, streamed):
    """Make so many calls at once of the outermost router; none is answered."""

    async def one():
        try:
            if streamed:
                async with routers[-1].stream("hi", deadline_s=deadline_s) as stream:
                    async for _chunk in stream:
                        pass
            else:
                await routers[-1].generate("hi", deadline_s=deadline_s)
        except AsyncRouterError:
            return
        raise AssertionError("answered")

    async with contextlib.AsyncExitStack() as opened:
        for router in routers:
            await opened.enter_async_context(router)
        await asyncio.gather(*(one() for _ in range(many)))


def calls_of(*burst_of, latency_s, failure, layers, count, **options):
    step = FAILURES[failure]
    provider = FakeProvider(Slow(latency_s, then=step) if latency_s else step)
    loop = VirtualClockLoop()
    try:
        loop.run_until_complete(burst(layered(provider, layers, count), *burst_of, **options))
    finally:
        loop.close()
    assert provider.in_flight == 0
    return len(provider.calls)


@settings(max_examples=BURSTS, deadline=None)
@example(many=100, deadline_s=9.0, latency_s=1.0, failure="500", layers=1, count=3, streamed=False)
@example(many=100, deadline_s=60.0, latency_s=0.05, failure="500", layers=3, count=3, streamed=True)
@example(many=1000, deadline_s=2.0, latency_s=0.05, failure="500", layers=3, count=2, streamed=False)
@example(many=100, deadline_s=60.0, latency_s=0.0, failure="silent", layers=1, count=3, streamed=True)
@given(
    many=st.sampled_from([1, 2, 3, 10, 30, 100, 300]),
    deadline_s=st.sampled_from([2.0, 9.0, 60.0]),
    latency_s=st.sampled_from([0.0, 0.05, 1.0, 5.0]),
    failure=st.sampled_from(sorted(FAILURES)),
    layers=st.sampled_from([1, 1, 2, 3]),
    count=st.integers(1, 4),
    streamed=st.booleans(),
)
def test_calls_of_a_burst_with_everything_down(*, many, deadline_s, latency_s, failure, layers, count, streamed):
    calls = calls_of(
        many, deadline_s, latency_s=latency_s, failure=failure, layers=layers, count=count, streamed=streamed
    )
    assert calls <= 1.2 * many + layers * (5 + deadline_s // 2.0 + max(0, count - 3))
