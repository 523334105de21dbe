"""The clock on the wall jumps: nothing that waits, counts or sets aside has ever looked at it."""

from __future__ import annotations

import time

import pytest

from asyncrouter import DeadlineExceeded, RateLimited, ServerError
from asyncrouter.testing import Fail, Hang, Reply, Slow
from asyncrouter.testing import http_script as http

HOUR_S = 3600.0
REAL = time.time


@pytest.fixture
def jumping(monkeypatch):
    """Return a function that lets the wall's clock jump by so many seconds."""

    def jump(seconds):
        monkeypatch.setattr(time, "time", lambda: REAL() + seconds)

    return jump


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
@pytest.mark.parametrize("streamed", [False, True])
async def test_t07_a_jump_of_the_wall_clock_has_no_effect(faults, jumping, jump_s, streamed):
    """The same story as without the jump: backoffs, cooldowns, timeouts, breakers, deadline."""

    async def story():
        script = {
            "a": [Fail(ServerError), Slow(0.5, then=Fail(RateLimited, retry_after_s=7.0)), Hang(), Reply("a")],
            "b": lambda request, deployment, number: jump() if number == 1 else Fail(ServerError),
        }
        retry = {"use": "exponential", "jitter": False}
        timeouts = {"attempt_s": 3.0, "first_token_s": 3.0}
        async with faults(script, retry=retry, timeouts=timeouts, breaker={"failures": 2}, deadline_s=50) as f:
            started = f.now()
            answers = [await f.caught((f.read if streamed else f.ask)()) for _ in range(3)]
            times = [(name, round(moment - started, 5)) for name, moment in f.timeline]
            return times, [type(one).__name__ for one in answers]

    def jump():
        jumping(jump_s)
        return Fail(ServerError)

    after = await story()
    jump_s = 0.0
    jumping(0.0)
    assert after == await story()
    assert after[0][-1][1] > 10.0, "there was something to wait for"


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
async def test_t07_over_sockets_the_deadline_is_kept_all_the_same(wall, jumping, jump_s):
    def answer(_request):
        jumping(jump_s)
        return http.Hang()

    async with wall({"a": answer}) as f:
        error = await f.fails(DeadlineExceeded, deadline_s=0.3)
        assert [one.deployment for one in error.trace.attempts] == ["a"]
