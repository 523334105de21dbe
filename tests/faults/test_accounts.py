"""What is counted and billed when an answer took more than one attempt."""

from __future__ import annotations

import pytest

from asyncrouter import AllAttemptsFailed, ServerError, StreamInterrupted
from asyncrouter.testing import Fail, Reply, Slow, Stream
from asyncrouter.types.response import Usage

PRICES = {
    "a": {"price": {"input": 100.0, "output": 1000.0}},
    "b": {"price": {"input": 1.0, "output": 10.0}},
}
"""US dollars per million tokens: what "a" would cost can be told from what "b" does."""
USED = Usage(input_tokens=200, output_tokens=30)
B_USD = (200 * 1.0 + 30 * 10.0) / 1e6


@pytest.mark.parametrize("streamed", [False, True])
async def test_a01_the_fallbacks_model_and_usage_are_told_and_the_failure_is_not_billed(faults, streamed):
    script = {"a": Fail(ServerError), "b": Reply("b", usage=USED)}
    async with faults(script, deployments=PRICES) as f:
        reply = (await f.read())[1] if streamed else await f.ask()
        assert (reply.deployment, reply.model, reply.usage) == ("b", "model-b", USED)
        assert reply.cost_usd == pytest.approx(B_USD)
        metrics = f.router.metrics()
        failed, answered = metrics.deployments["a"], metrics.deployments["b"]
        assert (failed.calls, failed.failures, failed.input_tokens, failed.output_tokens) == (1, 1, 0, 0)
        assert failed.cost_usd == 0.0
        assert (answered.calls, answered.failures, answered.fallbacks) == (1, 0, 1)
        assert metrics.total.cost_usd == pytest.approx(B_USD)


async def test_a01_when_nobody_answers_nothing_is_billed(faults):
    async with faults(Fail(ServerError), deployments=PRICES, retry="none") as f:
        await f.fails(AllAttemptsFailed)
        assert f.router.metrics().total.cost_usd == 0.0
        assert f.router.metrics().total.failures == 1


async def test_a01_a_stream_that_fails_after_its_first_words_is_not_billed_either(faults):
    """Nobody got an answer of it; what went before the failure, its upstream did not say."""
    async with faults({"a": Stream(["o", "k"], cut_after=1), "b": Reply("b")}, deployments=PRICES) as f:
        async with f.stream() as stream:
            with pytest.raises(StreamInterrupted):
                [chunk async for chunk in stream]
        assert f.router.metrics().total.cost_usd == 0.0


async def test_a01_a_restarted_answer_is_billed_at_who_gave_it(faults):
    script = {"a": Stream(["o", "k"], cut_after=1), "b": Reply("b", usage=USED)}
    async with faults(script, deployments=PRICES, on_interrupt="restart") as f:
        _chunks, reply = await f.read()
        assert (reply.text, reply.model, reply.usage) == ("b", "model-b", USED)
        assert reply.cost_usd == pytest.approx(B_USD)


async def test_a01_a_stream_left_by_its_reader_is_billed_for_what_came(faults):
    pieces = ["word "] * 8
    async with faults({"a": Stream(pieces, pause_s=1.0), "b": Reply()}, deployments=PRICES) as f:
        async with f.stream() as stream:
            for _ in range(4):
                await anext(stream)
        one = f.router.metrics().deployments["a"]
        assert one.cancelled == 1
        assert one.input_tokens > 0
        assert 0 < one.output_tokens < 8
        assert one.cost_usd == pytest.approx((one.input_tokens * 100 + one.output_tokens * 1000) / 1e6)


async def test_a01_the_winner_of_a_hedge_is_the_one_that_is_told(faults):
    script = {"a": Slow(9.0, then=Reply("a")), "b": Reply("b", usage=USED)}
    hedge = {"at": 1.0, "max_extra_load": 1.0}
    async with faults(script, deployments=PRICES, hedge=hedge) as f:
        reply = await f.ask()
        assert (reply.model, reply.usage) == ("model-b", USED)
        assert reply.cost_usd == pytest.approx(B_USD)
        loser = f.router.metrics().deployments["a"]
        assert (loser.cancelled, loser.output_tokens) == (1, 0)
        assert loser.input_tokens == reply.trace.estimate.input_tokens > 0, "it has read the prompt at least"
        assert loser.cost_usd == pytest.approx(loser.input_tokens * 100.0 / 1e6)
        assert f.router.metrics().total.cost_usd == pytest.approx(B_USD + loser.cost_usd)
