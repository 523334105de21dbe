"""Cost beside the strongest and the weakest of the group: what is compared, and what is not."""

from __future__ import annotations

import attrs
import pytest
from hooked import Cache

from asyncrouter import ServerError, Verdict, hookimpl
from asyncrouter.testing import Fail, Reply, fake_router
from asyncrouter.types.events import RequestFinished
from asyncrouter.types.metrics import Savings
from asyncrouter.types.response import Usage

PRICES = {
    "a": {"price": {"input": 1, "output": 2}},
    "b": {"price": {"input": 10, "output": 20, "cached_input": 1}},
}
SCRIPT = Reply(usage=Usage(input_tokens=1000, output_tokens=100))
WEAK, STRONG = 0.0012, 0.012


async def savings(*complexities, script=SCRIPT, deployments=PRICES, **group):
    group.setdefault("select", {"use": "complexity", "threshold": 0.5})
    async with fake_router(script, deployments=deployments, retry="none", **group) as router:
        for complexity in complexities:
            await router.generate("hi", complexity=complexity)
        return router.metrics().total.savings


def same(found, **expected):
    assert attrs.asdict(found) == pytest.approx(attrs.asdict(Savings(**expected)))


async def test_each_answer_is_priced_at_both_ends_of_the_group():
    found = await savings(0.1, 0.1, 0.9)
    same(found, calls=3, cost_usd=2 * WEAK + STRONG, strong_usd=3 * STRONG, weak_usd=3 * WEAK)
    assert found.saved_usd == pytest.approx(2 * (STRONG - WEAK))
    assert found.saved_share == pytest.approx(found.saved_usd / (3 * STRONG))


async def test_rejected_answers_are_paid_for():
    class Strict:
        @hookimpl
        async def asyncrouter_judge(self, response):
            return Verdict(accept=response.deployment == "b", score=0.5)

    same(await savings(0.1, judge=Strict()), calls=1, cost_usd=WEAK + STRONG, strong_usd=STRONG, weak_usd=WEAK)


async def test_a_fallback_costs_what_it_costs():
    script = {"a": Fail(ServerError), "b": SCRIPT}
    same(await savings(0.1, script=script), calls=1, cost_usd=STRONG, strong_usd=STRONG, weak_usd=WEAK)


async def test_cached_tokens_are_cheaper_where_the_price_says_so():
    script = Reply(usage=Usage(input_tokens=1000, output_tokens=100, cached_input_tokens=500))
    same(await savings(0.1, script=script), calls=1, cost_usd=WEAK, strong_usd=0.0075, weak_usd=WEAK)


@pytest.mark.parametrize("unpriced", ["a", "b"])
async def test_without_both_prices_nothing_is_compared(unpriced):
    found = await savings(0.1, 0.9, deployments={**PRICES, unpriced: {}})
    same(found)
    assert found.saved_share is None


async def test_an_answer_without_an_attempt_saves_nothing_by_routing():
    async with fake_router(SCRIPT, deployments=PRICES, plugins=[Cache()]) as router:
        for _ in range(3):
            await router.generate("hi")
        assert router.metrics().total.savings.calls == 1


async def test_agents_and_observers_are_told_too():
    class Seen:
        savings = ()

        @hookimpl
        def asyncrouter_observe(self, event):
            if isinstance(event, RequestFinished):
                self.savings += (event.savings,)

    seen = Seen()
    async with fake_router(SCRIPT, deployments=PRICES, plugins=[seen]) as router:
        await router.generate("hi")
        async with router.stream("hi") as stream:
            assert [chunk async for chunk in stream]
    for one in seen.savings:
        same(one, calls=1, cost_usd=WEAK, strong_usd=STRONG, weak_usd=WEAK)
    assert len(seen.savings) == 2
