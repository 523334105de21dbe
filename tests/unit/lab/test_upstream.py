"""One simulated upstream: how long it takes, when it refuses, and what is counted of it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import anyio
import pytest

from asyncrouter.lab.simulation.draws import Constant
from asyncrouter.lab.simulation.record import UpstreamRecord
from asyncrouter.lab.simulation.schema import Phase, UpstreamSettings
from asyncrouter.lab.simulation.upstream import PIECES, SIZE, Rate, SimulatedProvider, Size, Upstream
from asyncrouter.testing import virtual_backend
from asyncrouter.types.allowances import Allowance, Allowances
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ConnectionFailed, Overloaded, ProviderError, RateLimited, StreamInterrupted
from asyncrouter.types.request import Request

DEPLOYMENT = Deployment(name="a", provider="simulated", model="m")
TIMEOUTS = Timeouts()
REQUEST = Request(messages=[{"role": "user", "content": "x"}], metadata={SIZE: Size(10, 80)})


@pytest.fixture
def anyio_backend():
    return virtual_backend


class Tried:
    """An upstream with its provider and what each call met: when it ended, and how."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("latency_s", Constant(value=1.0))
        self.now = asyncio.get_running_loop().time
        self.record = UpstreamRecord(self.now, 1.0)
        upstream = Upstream(UpstreamSettings(**settings), random.Random(1), self.now, self.record)  # noqa: S311 - no secret
        self.provider = SimulatedProvider({"a": upstream})

    async def call(self) -> tuple[float, ProviderError | None]:
        try:
            response = await self.provider.complete(REQUEST, DEPLOYMENT, TIMEOUTS)
        except ProviderError as error:
            return self.now(), error
        assert response.usage.input_tokens == 10
        assert response.usage.output_tokens == 80
        return self.now(), None

    async def calls(self, count: int) -> list[tuple[float, ProviderError | None]]:
        return await asyncio.gather(*(self.call() for _ in range(count)))


async def test_an_answer_takes_the_latency_and_its_tokens():
    tried = Tried(tokens_per_s=40.0)
    assert await tried.call() == (3.0, None)
    assert (tried.record.calls, tried.record.in_flight, tried.record.ends) == (1, 0, {"ok": 1})


async def test_a_stream_comes_in_pieces_that_hold_its_tokens():
    tried = Tried(tokens_per_s=40.0)
    moments, text, usage = [], "", None
    async for chunk in tried.provider.stream(REQUEST, DEPLOYMENT, TIMEOUTS):
        moments += [tried.now()] * bool(chunk.text)
        text += chunk.text
        usage = chunk.raw.get("usage", usage)
    assert moments == pytest.approx([1.0 + 0.25 * piece for piece in range(PIECES)])
    assert len(text) / 4 == 80
    assert usage == {"prompt_tokens": 10, "completion_tokens": 80}
    assert tried.record.ends == {"ok": 1}


async def test_a_stream_that_is_cut_breaks_off_midway():
    tried = Tried(cut_rate=1.0)
    chunks = tried.provider.stream(REQUEST, DEPLOYMENT, TIMEOUTS)
    for _ in range(PIECES // 2):
        assert (await anext(chunks)).text
    with pytest.raises(StreamInterrupted):
        await anext(chunks)
    assert tried.record.ends == {"cut": 1}


async def test_a_call_that_is_left_counts_as_cancelled():
    tried = Tried()
    with anyio.move_on_after(0.5):
        await tried.call()
    assert (tried.record.in_flight, tried.record.ends) == (0, {"cancelled": 1})


async def test_beyond_its_concurrency_it_refuses():
    tried = Tried(concurrency=2)
    ends = await tried.calls(3)
    assert [type(error) for _, error in ends] == [type(None), type(None), Overloaded]
    assert ends[2][0] == 0.0
    assert tried.record.ends == {"ok": 2, "503": 1}


async def test_or_beyond_its_concurrency_it_slows_down():
    tried = Tried(concurrency=2, when_full="slow")
    assert [at for at, _ in await tried.calls(4)] == [1.0, 1.0, 1.5, 2.0]
    assert tried.record.most_in_flight == 4


async def test_over_its_rate_it_says_when_to_come_back():
    tried = Tried(rpm=4)
    errors = [error for _, error in await tried.calls(5)]
    assert errors[:4] == [None] * 4
    assert isinstance(errors[4], RateLimited)
    assert (errors[4].status, errors[4].retry_after_s) == (429, 15.0)
    await asyncio.sleep(7.3)
    assert (await tried.call())[1].retry_after_s == 7.0  # in whole seconds: 6.7 s are left
    await asyncio.sleep(6.7)
    assert (await tried.call())[1] is None


async def test_over_its_tokens_too():
    tried = Tried(tpm=120, retry_after=False)
    (_, first), (_, second) = await tried.calls(2)
    assert first is None
    assert isinstance(second, RateLimited)
    assert second.retry_after_s is None


async def test_it_may_tell_what_is_left_of_its_limits():
    tried = Tried(rpm=60, tpm=1000, tells_limits=True)
    response = await tried.provider.complete(REQUEST, DEPLOYMENT, TIMEOUTS)
    assert response.allowances == Allowances(
        requests=Allowance(remaining=60, reset_s=0.0, limit=60.0),
        tokens=Allowance(remaining=926, reset_s=pytest.approx(4.4), limit=pytest.approx(1000.0)),
    )
    chunks = [chunk async for chunk in tried.provider.stream(REQUEST, DEPLOYMENT, TIMEOUTS)]
    assert chunks[0].allowances.requests.remaining == 60
    assert {chunk.allowances for chunk in chunks[1:]} == {None}
    silent = Tried(rpm=60)
    assert (await silent.provider.complete(REQUEST, DEPLOYMENT, TIMEOUTS)).allowances is None
    without = Tried(tells_limits=True)
    assert (await without.provider.complete(REQUEST, DEPLOYMENT, TIMEOUTS)).allowances == Allowances()


def test_a_rate_lets_a_minutes_worth_through_and_then_as_it_refills():
    rate = Rate(60)
    for _ in range(60):
        assert rate.missing_s(1, 100.0) == 0.0
        rate.take(1, 100.0)
    assert rate.missing_s(1, 100.0) == pytest.approx(1.0)
    assert rate.missing_s(1, 101.0) == pytest.approx(0.0, abs=1e-9)
    assert rate.missing_s(60, 160.0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("down", "kind", "status", "at"),
    [("refuse", ConnectionFailed, None, 0.0), ("503", Overloaded, 503, 0.1), ("429", RateLimited, 429, 0.1)],
)
async def test_while_it_is_down_every_call_fails(down, kind, status, at):
    tried = Tried(failure_s=0.1, phases=(Phase(from_s=0.0, to_s=10.0, down=down),))
    ended, error = await tried.call()
    assert (type(error), error.status, ended) == (kind, status, at)
    assert tried.record.while_down == 1
    await asyncio.sleep(10.0)
    assert (await tried.call())[1] is None
    assert tried.record.ends == {"refuse" if status is None else str(status): 1, "ok": 1}


async def test_while_it_hangs_it_never_answers():
    tried = Tried(phases=(Phase(to_s=10.0, down="hang"),))
    with anyio.move_on_after(1000.0) as scope:
        await tried.call()
    assert scope.cancelled_caught


async def test_while_it_is_slow_everything_takes_longer():
    tried = Tried(tokens_per_s=80.0, phases=(Phase(to_s=10.0, slow=10.0),))
    assert (await tried.call())[0] == 20.0
    assert (await tried.call())[0] == 22.0


async def test_a_share_of_its_calls_fails():
    tried = Tried(failure_rate=0.25, phases=(Phase(to_s=5.0, failure_rate=1.0),))
    assert all(error is not None and error.status == 500 for _, error in await tried.calls(20))
    await asyncio.sleep(5.0)
    await tried.calls(1000)
    assert tried.record.ends["500"] - 20 == pytest.approx(250, rel=0.15)


def test_a_phase_repeats():
    phase = Phase(from_s=60.0, to_s=70.0, every_s=20.0, down="503")
    on = [at for at in range(0, 140, 5) if phase.covers(at)]
    assert on == [60, 65, 80, 85, 100, 105, 120, 125]
    assert not Phase(from_s=60.0, to_s=70.0, down="503").covers(85)


def test_the_first_phase_that_covers_a_moment_is_on():
    settings = UpstreamSettings(phases=(Phase(from_s=1.0, to_s=2.0, slow=2.0), Phase(to_s=5.0, slow=3.0)))
    assert [settings.phase_at(at).slow for at in (0.0, 1.0, 2.0, 5.0)] == [3.0, 2.0, 3.0, 1.0]
