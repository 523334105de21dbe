"""A few requests, and nobody else: an outage of everything costs none of them, up to half of their time.

More requests find out for each other; these have only their own attempts.  ``LONE=1000`` tries more of them.
"""

from __future__ import annotations

import asyncio
import os

from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncrouter import AllAttemptsFailed, AsyncRouterError, Router, ServerError
from asyncrouter.testing import Fail, FakeProvider, Reply, Slow, Stream, VirtualClockLoop, run_virtual

LONE = int(os.environ.get("LONE", "60"))
DEADLINE_S = 60.0


def now():
    return asyncio.get_running_loop().time()


def router_of(provider, count, seed, **group):
    names = [chr(97 + number) for number in range(count)]
    config = {
        "providers": {"fake": provider},
        "deployments": {name: {"provider": "fake", "model": "m"} for name in names},
        "groups": {"chat": {"deployments": names, **group}},
    }
    return Router.from_config(config, seed=seed)


async def lone(router, many, gap_s, *, streamed):
    """Make *many* calls, one every *gap_s* seconds; return how each ended."""

    async def one(place):
        await asyncio.sleep(place * gap_s)
        try:
            if not streamed:
                return (await router.generate("hi", deadline_s=DEADLINE_S)).text
            async with router.stream("hi", deadline_s=DEADLINE_S) as stream:
                return "".join([chunk.text async for chunk in stream])
        except AsyncRouterError as error:
            return error

    async with router:
        return await asyncio.gather(*(one(place) for place in range(many)))


@settings(max_examples=LONE, deadline=None)
@example(many=1, count=2, outage_s=5.0, gap_s=0.0, fails_s=0.0, streamed=False, seed=0)
@example(many=2, count=2, outage_s=10.0, gap_s=0.0, fails_s=0.0, streamed=False, seed=0)
@example(many=2, count=3, outage_s=29.0, gap_s=0.0, fails_s=0.0, streamed=True, seed=1)
@example(many=3, count=3, outage_s=20.0, gap_s=0.0, fails_s=0.1, streamed=False, seed=2)
@given(
    many=st.sampled_from([1, 2, 3, 5, 8]),
    count=st.integers(1, 3),
    outage_s=st.floats(0.0, 29.0),
    gap_s=st.sampled_from([0.0, 0.1, 3.0]),
    fails_s=st.sampled_from([0.0, 0.1, 0.5]),
    streamed=st.booleans(),
    seed=st.integers(0, 100),
)
def test_an_outage_of_everything_costs_no_call(*, many, count, outage_s, gap_s, fails_s, streamed, seed):
    def script(_request, _deployment, _number):
        if now() < outage_s:
            return Slow(fails_s, then=Fail(ServerError)) if fails_s else Fail(ServerError)
        return Stream(["up"]) if streamed else Reply("up")

    provider = FakeProvider(script)
    loop = VirtualClockLoop()
    try:
        ends = loop.run_until_complete(lone(router_of(provider, count, seed), many, gap_s, streamed=streamed))
    finally:
        loop.close()
    assert ends == ["up"] * many
    assert len(provider.calls) <= 6 * many


EVEN = {"use": "exponential", "factor": 1.0, "jitter": False}
"""Waits of one second."""


def test_the_last_attempts_of_one_that_is_alone_are_spread_over_its_time():
    provider = FakeProvider(Fail(ServerError))

    async def main():
        return await lone(router_of(provider, 1, 0, retry=EVEN), 1, 0.0, streamed=False)

    (error,) = run_virtual(main)
    assert type(error) is AllAttemptsFailed
    moments = [call.started_at for call in provider.calls]
    assert moments[:4] == [0.0, 1.0, 2.0, 3.0]
    assert 3.0 + 57.0 / 8 <= moments[4] <= 3.0 + 57.0 / 8 + 1.0
    assert (moments[4] + 60.0) / 2 <= moments[5] <= (moments[4] + 60.0) / 2 + 1.0
    assert len(moments) == 6
    assert "the last attempts are kept for later" in error.trace.notes


def test_whoever_waits_with_its_last_attempt_goes_on_once_another_is_answered():
    provider = FakeProvider([Fail(ServerError)] * 5 + [Reply("up")])

    async def main():
        async with router_of(provider, 1, 0, retry=EVEN, breaker={"failures": 100, "min_calls": 100}) as router:
            waiting = asyncio.create_task(router.generate("hi", deadline_s=DEADLINE_S))
            await asyncio.sleep(20.0)
            assert len(provider.calls) == 5
            assert (await router.generate("another")).text == "up"
            assert (await waiting).text == "up"
            assert now() <= 21.0

    run_virtual(main)
