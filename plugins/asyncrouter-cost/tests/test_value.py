"""The best value is chosen: qualities told, configured, presumed and learned; costs forecast and learned."""

from __future__ import annotations

import math
import random

import anyio
import attrs
import pytest
from asyncrouter_cost import cost
from asyncrouter_cost.forecast import Forecast
from asyncrouter_cost.quality import Qualities, presumed_ability

from asyncrouter import hookimpl
from asyncrouter.testing import FakeProvider, Reply, Slow, fake_router
from asyncrouter.types.decisions import Estimate
from asyncrouter.types.deployments import Deployment, Price
from asyncrouter.types.request import Request
from asyncrouter.types.response import Usage

SMALL = Deployment(name="small", provider="p", model="m", price=Price(input=1.0, output=4.0))
LARGE = Deployment(name="large", provider="p", model="m", price=Price(input=10.0, output=40.0))
FREE = Deployment(name="free", provider="p", model="m", price=Price(input=0.0, output=0.0))
UNPRICED = Deployment(name="unpriced", provider="p", model="m")
ASK = Request(messages=[{"role": "user", "content": "hi"}])
QUALITIES = {"small": 0.6, "large": 0.9}


def estimate(complexity=0.5, **more):
    return Estimate(complexity=complexity, input_tokens=1000, **more)


def order(selector, *candidates, **more):
    selection = selector.asyncrouter_select(ASK, estimate(**more), candidates or (SMALL, LARGE))
    return [one.name for one in selection.deployments], selection.reason


# The answers of both are expected to take 256 tokens: 0.002024 and 0.02024 USD, 0.0182 USD apart.


@pytest.mark.parametrize(("usd_per_quality", "first"), [(0.05, "small"), (0.07, "large")])
def test_what_quality_is_worth_decides(usd_per_quality, first):
    """0.3 of quality are worth 0.0182 USD from 0.0607 USD a quality on."""
    names, reason = order(cost(usd_per_quality=usd_per_quality, qualities=QUALITIES))
    assert names[0] == first
    assert reason == {"small": "quality 0.60 for 0.002 USD", "large": "quality 0.90 for 0.02 USD"}[first]


def test_what_the_estimator_tells_comes_first():
    selector = cost(usd_per_quality=0.07, qualities=QUALITIES)
    assert order(selector, qualities={"small": 0.95})[0] == ["small", "large"]
    assert order(selector, qualities={"small": 0.2, "large": 0.3})[0] == ["small", "large"]
    assert order(selector, qualities={"small": 0.0, "large": 1.0})[0] == ["large", "small"]


def test_the_strong_is_worth_its_price_in_the_middle_only():
    """Where the weak one is good already, and where both fail, there is less to gain."""
    selector = cost(usd_per_quality=0.07, qualities=QUALITIES, difficulty=12.0)
    assert [order(selector, complexity=c)[0][0] for c in (0.0, 0.5, 1.0)] == ["small", "large", "small"]


def test_without_a_price_it_comes_last():
    assert order(cost(), UNPRICED, LARGE, SMALL)[0][-1] == "unpriced"
    assert order(cost(), UNPRICED)[0] == ["unpriced"]


def test_curve():
    """Rasch's: the logit falls by the difficulty from complexity 0 to 1."""
    qualities = Qualities({"a": 0.8}, 3.0)
    a = attrs.evolve(SMALL, name="a")
    logits = [math.log(q / (1 - q)) for q in (qualities.expected(a, c) for c in (0.0, 0.5, 1.0))]
    assert logits == pytest.approx([math.log(4) + 1.5, math.log(4), math.log(4) - 1.5])


def test_quality_is_presumed_by_price():
    assert presumed_ability(Price(input=1.0, output=1.0)) == pytest.approx(0.80)
    assert presumed_ability(Price(input=5.0, output=15.0)) == pytest.approx(1.25)
    assert presumed_ability(FREE.price) == presumed_ability(Price(input=0.05, output=0.05))
    assert order(cost(usd_per_quality=10.0))[0] == ["large", "small"]


def test_feedback_finds_the_ability_whatever_was_asked():
    """Who gets hard questions only is known as well as who gets easy ones only."""
    draw = random.Random(1).random  # noqa: S311
    for hardness in (0.2, 0.9):
        qualities = Qualities({"a": 0.3}, 4.0)
        for _ in range(3000):
            truth = 1 / (1 + math.exp(-(1.0 - 4.0 * (hardness - 0.5))))
            qualities.learn("a", hardness, float(draw() < truth))
        assert qualities.expected(attrs.evolve(SMALL, name="a"), 0.5) == pytest.approx(0.731, abs=0.06)


def test_one_score_moves_little_and_what_is_not_known_not_at_all():
    qualities = Qualities({"a": 0.5}, 4.0)
    qualities.learn("a", 0.5, 1.0)
    qualities.learn("never seen", 0.5, 1.0)
    assert 0.5 < qualities.expected(attrs.evolve(SMALL, name="a"), 0.5) < 0.53


async def test_the_router_learns_from_feedback():
    tables = {one.name: {"price": {"input": one.price.input, "output": one.price.output}} for one in (SMALL, LARGE)}
    select = {"use": "cost", "usd_per_quality": 0.1, "qualities": {"small": 0.5, "large": 0.9}}
    async with fake_router(deployments=tables, select=select, estimate={"use": "constant"}) as router:
        assert (await router.generate("hi")).deployment == "large"
        for _ in range(60):
            reply = await router.generate("hi")
            await router.feedback(reply, {"small": 0.5, "large": 0.1}[reply.deployment])
        assert (await router.generate("hi")).deployment == "small"


# ------------------------------------------------------------------ forecasts


def expected_output(forecast, deployment, request=ASK, *, most=False):
    """The forecast of output tokens, read off a cost of one dollar a million output tokens."""
    priced = attrs.evolve(deployment, price=Price(input=0.0, output=1.0))
    return forecast.cost_usd(priced, request, estimate(), most=most) * 1e6


def in_session(name):
    return attrs.evolve(ASK, session=name)


def test_output_starts_at_the_prior_and_is_learned():
    forecast = Forecast(100)
    assert expected_output(forecast, SMALL) == pytest.approx(100)
    assert expected_output(forecast, SMALL, most=True) == pytest.approx(300)
    for _ in range(400):
        forecast.learn("small", ASK, None, Usage(10, 1000))
    assert expected_output(forecast, SMALL) == pytest.approx(1000, rel=0.02)
    assert expected_output(forecast, SMALL, most=True) == pytest.approx(1000, rel=0.25)
    assert expected_output(forecast, LARGE) == pytest.approx(1000, rel=0.02)  # of the group


def test_a_deployment_is_drawn_to_its_group():
    forecast = Forecast(100)
    for _ in range(100):
        forecast.learn("small", ASK, None, Usage(10, 1000))
    forecast.learn("large", ASK, None, Usage(10, 0))
    assert 600 < expected_output(forecast, LARGE) < 900


def test_the_callers_bound_bounds_it():
    bounded = attrs.evolve(ASK, params={"max_tokens": 30})
    assert expected_output(Forecast(100), SMALL, bounded) == pytest.approx(30)
    assert expected_output(Forecast(100), SMALL, bounded, most=True) == pytest.approx(30)


def test_a_change_is_followed():
    forecast = Forecast(100)
    for tokens in [1000] * 5000 + [100] * 1500:
        forecast.learn("small", ASK, None, Usage(10, tokens))
    assert expected_output(forecast, SMALL) < 160


def foretelling(tokens):
    return Estimate(complexity=0.5, output_tokens=tokens)


def test_what_the_estimator_foretells_stretches_it():
    """Answers are three times as long as they are foretold to be, of whatever length."""
    forecast, priced = Forecast(100), attrs.evolve(SMALL, price=Price(input=0.0, output=1.0))
    for tokens in [50, 200, 800] * 200:
        forecast.learn("small", ASK, foretelling(tokens), Usage(10, 3 * tokens))
    for tokens in (50, 200, 800):
        assert forecast.cost_usd(priced, ASK, foretelling(tokens)) * 1e6 == pytest.approx(3 * tokens, rel=0.05)
        most = forecast.cost_usd(priced, ASK, foretelling(tokens), most=True) * 1e6
        assert 3 * tokens < most < 4 * tokens
    usual = forecast.cost_usd(priced, ASK, estimate()) * 1e6
    assert usual == pytest.approx(3 * 350, rel=0.05)


def test_a_forecast_that_repeats_the_callers_bound_is_none():
    forecast, bounded = Forecast(100), attrs.evolve(ASK, params={"max_tokens": 1000})
    for _ in range(400):
        forecast.learn("small", bounded, foretelling(1000), Usage(10, 20))
        forecast.learn("small", ASK, foretelling(10), Usage(10, 20))
    priced = attrs.evolve(SMALL, price=Price(input=0.0, output=1.0))
    assert forecast.cost_usd(priced, bounded, foretelling(1000)) * 1e6 == pytest.approx(20, rel=0.05)
    assert forecast.cost_usd(priced, ASK, foretelling(20)) * 1e6 == pytest.approx(40, rel=0.05)


def test_cached_input_is_expected_where_a_session_goes_on():
    price = Price(input=10.0, output=0.0, cached_input=1.0)
    small, large = (attrs.evolve(one, price=price) for one in (SMALL, LARGE))
    forecast, turn = Forecast(100), in_session("s")
    for number in range(200):
        forecast.learn("small", in_session(f"t{number}"), None, Usage(1000, 1))
        forecast.learn("small", in_session(f"t{number}"), None, Usage(1000, 1, cached_input_tokens=900))
    forecast.learn("small", in_session("s"), None, Usage(1000, 1))
    assert forecast.cost_usd(small, turn, estimate()) == pytest.approx(0.0019, rel=0.05)
    assert forecast.cost_usd(large, turn, estimate()) == pytest.approx(0.01)
    assert forecast.cost_usd(small, ASK, estimate()) == pytest.approx(0.01)
    assert forecast.cost_usd(small, turn, estimate(), most=True) == pytest.approx(0.01)  # a cache may be gone


def test_tokens_of_reasoning_have_their_own_price():
    price = Price(input=0.0, output=1.0, reasoning=3.0)
    thinker, forecast = attrs.evolve(SMALL, price=price), Forecast(100)
    for _ in range(400):
        forecast.learn("small", ASK, None, Usage(10, 100, reasoning_tokens=50))
    assert forecast.cost_usd(thinker, ASK, estimate()) * 1e6 == pytest.approx(200, rel=0.02)


def test_sessions_are_bounded():
    forecast = Forecast(100)
    for number in range(10_050):
        forecast.learn("small", in_session(f"s{number}"), None, Usage(10, 10))
    assert len(forecast._sessions) == 10_000
    assert "s49" not in forecast._sessions
    assert "s50" in forecast._sessions


async def test_answers_teach_it():
    class Told:
        @hookimpl
        def asyncrouter_estimate(self):
            return Estimate(complexity=0.5, input_tokens=10, qualities={"small": 0.5, "large": 0.9}, source="told")

    tables = {one.name: {"price": {"input": one.price.input, "output": one.price.output}} for one in (SMALL, LARGE)}
    select = {"use": "cost", "usd_per_quality": 0.1}
    long = Reply(usage=Usage(10, 20_000))
    async with fake_router(long, deployments=tables, select=select, plugins=[Told()]) as router:
        homes = [(await router.generate("hi")).deployment for _ in range(5)]
    assert (homes[0], homes[-1]) == ("large", "small")


async def test_what_is_foretold_is_set_aside_for_the_call_too():
    """Long answers that are foretold: the attempt holds money for one, not for a usual answer."""

    class Told:
        tokens = 0

        @hookimpl
        def asyncrouter_estimate(self):
            return Estimate(complexity=0.5, input_tokens=10, output_tokens=self.tokens, source="told")

    async def ask(tokens):
        told.tokens = tokens
        provider.play(Slow(1.0, Reply(usage=Usage(10, tokens))))
        await router.generate("hi")

    told, provider = Told(), FakeProvider(Reply())
    tables = {"small": {"price": {"input": 0.0, "output": 1.0}}}
    select = {"use": "cost", "usd_per_quality": 1.0, "budgets": [{"usd": 100.0, "per": "day"}]}
    async with fake_router(provider, deployments=tables, select=select, plugins=[told]) as router:
        for tokens in [100, 4000] * 60:
            await ask(tokens)
        (books,) = (one.instance.books for one in router._assembler.instances() if hasattr(one.instance, "books"))
        (account,) = books._accounts.values()
        for tokens in (100, 4000):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, tokens)
                await anyio.sleep(0.5)
                assert 0.9 * tokens < account._reserved * 1e6 < 1.6 * tokens
        assert account._reserved == 0.0
