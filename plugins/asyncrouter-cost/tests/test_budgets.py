"""Budgets are kept in a real router: by calls at once, streams, retries, fallbacks, when cancelled, over time."""

from __future__ import annotations

import contextlib
import math
import random
from pathlib import Path

import anyio
import pytest
from asyncrouter_cost.budgeted import BudgetedSelector
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncrouter import AllAttemptsFailed, BudgetExceeded, Router, ServerError, Verdict, hookimpl
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, fake_router, run_virtual
from asyncrouter.types.errors import AsyncRouterError, AttemptTimedOut, StreamInterrupted
from asyncrouter.types.response import Usage

TOKENS = Usage(input_tokens=10, output_tokens=1000)
TABLES = {
    "small": {"price": {"input": 0.0, "output": 1.0}},
    "large": {"price": {"input": 0.0, "output": 10.0}},
}
"""A call of so many tokens costs 0.001 and 0.01 USD."""
QUALITIES = {"small": 0.5, "large": 0.9}
HOUR = 3600.0


def router(script, usd=1.0, *, tables=TABLES, on_exceeded="raise", budget=None, options=None, **group):
    select = {
        "use": "cost",
        "usd_per_quality": 1.0,
        "qualities": QUALITIES,
        "output_tokens": 1000,
        "budgets": [{"usd": usd, "per": "hour", **(budget or {})}],
        "on_exceeded": on_exceeded,
        **(options or {}),
    }
    return fake_router(script, deployments=tables, select=select, **group)


async def outcomes_of(router, calls, *, gap_s=0.0, **params):
    """Make so many calls, beginning *gap_s* apart; return their deployments, or the class of their errors."""
    outcomes = [None] * calls

    async def one(number):
        await anyio.sleep(number * gap_s)
        try:
            outcomes[number] = (await router.generate("hi", **params)).deployment
        except (BudgetExceeded, AllAttemptsFailed) as error:
            outcomes[number] = type(error).__name__

    async with anyio.create_task_group() as tasks:
        for number in range(calls):
            tasks.start_soon(one, number)
    return outcomes


def spent(router):
    return router.metrics().total.cost_usd


# ------------------------------------------------------------------ never overspent


@example(seed=1864, on_exceeded="raise", hedged=False)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), on_exceeded=st.sampled_from(["raise", "downgrade"]), hedged=st.booleans())
def test_never_overspent_by_more_than_the_calls_under_way(seed, on_exceeded, hedged):
    """Random lengths, durations, failures, retries and hedges at once: over by one call in flight each at most."""
    rng = random.Random(seed)  # noqa: S311
    usd, most_tokens = rng.choice([0.05, 0.1, 0.5]), rng.choice([200, 2000, 8000])

    peak = 0

    def script(_request, _deployment, _number):
        nonlocal peak
        peak = max(peak, provider.in_flight + 1)  # the call that asks is not yet counted
        if rng.random() < 0.2:
            return Slow(rng.random(), Fail(ServerError))
        return Slow(rng.expovariate(1.0), Reply(usage=Usage(10, rng.randrange(most_tokens))))

    provider = FakeProvider(script)

    async def main():
        group = {"hedge": {"at": 0.5, "max_extra_load": 1.0}} if hedged else {}
        async with router(provider, usd, on_exceeded=on_exceeded, **group) as r:
            await outcomes_of(r, 100, gap_s=rng.choice([0.0, 0.05]))
            return spent(r)

    total = run_virtual(main)
    assert peak > 0
    assert total <= usd + peak * most_tokens * 10 / 1e6


async def test_a_hundred_calls_at_once_do_not_count_on_the_same_money():
    """Every answer takes what was set aside for it, so not a cent too much is spent."""
    async with router(Slow(1.0, Reply(usage=TOKENS)), 0.1) as r:
        outcomes = await outcomes_of(r, 100, max_tokens=1000)
    assert spent(r) <= 0.1 + 1e-12
    assert {"BudgetExceeded"} < set(outcomes)


async def test_without_the_hook_it_would_be_overspent(monkeypatch):
    """The same calls, where a choice sets nothing aside: the test above is able to fail."""
    monkeypatch.setattr("asyncrouter_cost.ledger.Ledger.reserve", lambda _self, _request, usd: NoHold(usd))
    async with router(Slow(1.0, Reply(usage=TOKENS)), 0.1) as r:
        await outcomes_of(r, 100, max_tokens=1000)
    assert spent(r) > 0.5


class NoHold:
    accounts = ()

    def __init__(self, usd):
        self.usd = usd


# ------------------------------------------------------------------ exceeded: what then


async def test_raise():
    """The weak one would fit, but it is not what was chosen."""
    options = {"qualities": {"small": 0.0, "large": 1.0}, "usd_per_quality": 1e9}
    async with router(Reply(usage=TOKENS), 0.015, options=options) as r:
        assert await outcomes_of(r, 1, max_tokens=1000) == ["large"]
        with pytest.raises(BudgetExceeded) as caught:
            await r.generate("hi", max_tokens=1000)
        assert await outcomes_of(r, 1, max_tokens=1000) == ["BudgetExceeded"]
    assert str(caught.value) == "the budget of 0.015 USD per hour has 0.005 USD left; the call may take 0.01"


async def test_downgrade_until_nothing_fits():
    async with router(Reply(usage=TOKENS), 0.0255, on_exceeded="downgrade", options={"usd_per_quality": 1e9}) as r:
        outcomes = await outcomes_of(r, 10, gap_s=0.001, max_tokens=1000)
    assert outcomes == ["large"] * 2 + ["small"] * 5 + ["BudgetExceeded"] * 3
    assert spent(r) == pytest.approx(0.025)


async def test_who_stands_in_line_has_his_money():
    """One call at a time: who waits for his turn finds what he counted on, and the others know at once."""
    tables = {"large": {**TABLES["large"], "limits": {"concurrency": 1}}}
    async with router(Slow(1.0, Reply(usage=TOKENS)), 0.0255, tables=tables) as r:
        outcomes = await outcomes_of(r, 6, max_tokens=1000)
    assert outcomes == ["large"] * 2 + ["BudgetExceeded"] * 4


async def test_what_costs_nothing_always_fits():
    tables = {**TABLES, "free": {"price": {"input": 0.0, "output": 0.0}}}
    async with router(Reply(usage=TOKENS), 0.0101, tables=tables, on_exceeded="downgrade") as r:
        outcomes = await outcomes_of(r, 5, gap_s=0.001, max_tokens=1000)
    assert outcomes[0] == "large"
    assert outcomes[1:] == ["free"] * 4


async def test_without_a_price_no_budget_can_be_kept():
    async with router(Reply(usage=TOKENS), tables={"a": {}}) as r:
        with pytest.raises(BudgetExceeded, match="has a price, and without one no budget can be kept; give it a price"):
            await r.generate("hi")


async def test_money_comes_back():
    async with router(Reply(usage=TOKENS), 0.0115) as r:
        assert await outcomes_of(r, 2, gap_s=1.0, max_tokens=1000) == ["large", "small"]
        await anyio.sleep(1.1 * HOUR)
        assert await outcomes_of(r, 1, max_tokens=1000) == ["large"]


async def test_explaining_takes_no_money():
    async with router(Reply(usage=TOKENS), 0.011) as r:
        for _ in range(20):
            decision = await r.explain("hi", max_tokens=1000)
        assert decision.ranking[0].deployment == "large"
        assert await outcomes_of(r, 1, max_tokens=1000) == ["large"]


# ------------------------------------------------------------------ per agent, per tag


async def test_each_agent_has_an_account():
    config = {
        "providers": {"fake": FakeProvider(Reply(usage=TOKENS))},
        "deployments": {name: {"provider": "fake", "model": name, **table} for name, table in TABLES.items()},
        "groups": {
            "chat": {
                "deployments": ["small", "large"],
                "select": {
                    "use": "cost",
                    "qualities": QUALITIES,
                    "usd_per_quality": 1e9,
                    "output_tokens": 1000,
                    "budgets": [{"usd": 0.0101, "per": "day", "by": "agent"}],
                },
            }
        },
        "agents": {"recon": {"group": "chat"}, "writer": {"group": "chat"}},
    }
    async with Router.from_config(config) as r:
        for name in ("recon", "writer"):
            agent = r.for_agent(name)
            assert (await agent.generate("hi", max_tokens=1000)).deployment == "large"
            with pytest.raises(BudgetExceeded, match=r"0\.0101 USD per day, by agent, has"):
                await agent.generate("hi", max_tokens=1000)


async def test_each_team_has_an_account():
    async with router(Reply(usage=TOKENS), 0.0101, budget={"by": "metadata.team"}, on_exceeded="downgrade") as r:
        for team in ("red", "blue"):
            outcomes = await outcomes_of(r, 2, gap_s=1.0, max_tokens=1000, metadata={"team": team})
            assert outcomes == ["large", "BudgetExceeded"]


async def test_no_message_tells_whose_account_it_is():
    async with router(Reply(usage=TOKENS), 0.0001, budget={"by": "metadata.user"}) as r:
        with pytest.raises(BudgetExceeded) as caught:
            await r.generate("hi", metadata={"user": "somebody@example.org"})
    assert "by metadata.user" in str(caught.value)
    assert "somebody" not in str(caught.value) + repr(caught.value)


# ------------------------------------------------------------------ however a call ends


async def held(router):
    """What is set aside when nothing is under way, which is nothing."""
    (selector,) = (one.instance for one in router._assembler.instances() if isinstance(one.instance, BudgetedSelector))
    assert not selector._chosen
    assert not selector._under_way
    return sum(account._reserved for account in selector.books._accounts.values())


@pytest.mark.parametrize(
    "step", [Reply(usage=TOKENS), Fail(ServerError), Slow(1.0, Reply(usage=TOKENS)), Hang(), Reply(usage=None)]
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_nothing_stays_set_aside(step, streamed):
    async with router(step, retry={"use": "exponential", "max_retries": 2}) as r:

        async def one():
            if streamed:
                async with r.stream("hi", deadline_s=20.0) as stream:
                    async for _ in stream:
                        pass
            else:
                await r.generate("hi", deadline_s=20.0)

        for patience_s in (0.5, 60.0):
            with contextlib.suppress(AsyncRouterError), anyio.move_on_after(patience_s):
                await one()
        assert await held(r) == 0.0


async def test_a_plugin_may_make_the_same_call_twice_at_once():
    class Twice:
        @hookimpl(tryfirst=True)
        async def asyncrouter_around_request(self, call, request):
            answers = []

            async def one():
                answers.append(await call(request))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
                tasks.start_soon(one)
            return answers[0]

    async with router(Slow(1.0, Reply(usage=TOKENS)), plugins=[Twice()]) as r:
        await r.generate("hi", max_tokens=1000)
        assert await held(r) == 0.0
        assert spent(r) == pytest.approx(0.02)


async def test_a_stream_is_paid_for():
    async with router(Reply(usage=TOKENS), 0.0101) as r:
        async with r.stream("hi", max_tokens=1000) as stream:
            assert [chunk.text async for chunk in stream]
        assert spent(r) == pytest.approx(0.01)
        with pytest.raises(BudgetExceeded):
            async with r.stream("hi", max_tokens=1000) as stream:
                assert [chunk.text async for chunk in stream]


async def test_a_fallback_needs_room_too():
    """The weak one is down: the strong one does not fit, and the call fails with what both said."""
    script = {"small": Fail(ServerError), "large": Reply(usage=TOKENS)}
    options = {"usd_per_quality": 0.001}
    async with router(script, 0.005, options=options, retry="none") as r:
        with pytest.raises(AllAttemptsFailed) as caught:
            await r.generate("hi", max_tokens=1000)
        assert r.metrics().deployments["large"].breaker == "closed"
    assert [type(error).__name__ for error in caught.value.errors] == ["ServerError", "InvalidRequest"]
    assert "has 0.005 USD left; the call may take 0.01" in str(caught.value.errors[1])


async def test_a_cascade_returns_what_it_has_when_money_ends():
    class Never:
        @hookimpl
        async def asyncrouter_judge(self):
            return Verdict(accept=False, score=0.5)

    options = {"usd_per_quality": 0.001}
    async with router(Reply(usage=TOKENS), 0.005, options=options, judge=Never()) as r:
        reply = await r.generate("hi", max_tokens=1000)
    assert reply.deployment == "small"
    assert spent(r) == pytest.approx(0.001)


@pytest.mark.parametrize("error", [AttemptTimedOut, StreamInterrupted])
async def test_who_was_cut_off_may_have_worked(error):
    """Nobody knows what a call took that was cut off: what was set aside counts as spent."""
    async with router(Fail(error), 0.025, retry="none", options={"usd_per_quality": 1e9}) as r:
        assert await outcomes_of(r, 1, max_tokens=1000) == ["AllAttemptsFailed"]
        (selector,) = (one.instance for one in r._assembler.instances() if isinstance(one.instance, BudgetedSelector))
        (account,) = selector.books._accounts.values()
        assert account.spent_usd(r.fleet.now()) == pytest.approx(0.011)  # both were asked


# ------------------------------------------------------------------ pacing


def day(paced, seed):
    """A day of calls of random complexity under a budget for a quarter of what the strong would cost."""
    rng = random.Random(seed)  # noqa: S311
    calls, usd = 1500, 0.01 * 1500 / 4
    hardness = [rng.random() for _ in range(calls)]

    async def main():
        options = {"usd_per_quality": 1.0, "difficulty": 8.0, "budgets": [{"usd": usd, "per": "day"}]}
        async with router(Reply(usage=TOKENS), on_exceeded="downgrade", options=options) as r:
            if not paced:
                (selector,) = (one.instance for one in r._assembler.instances() if hasattr(one.instance, "_ledger"))
                selector._expectations.offers = unpaced(selector._expectations.offers)
            homes = []
            for complexity in hardness:
                await anyio.sleep(86_400 / calls)
                try:
                    homes.append((await r.generate("hi", complexity=complexity, max_tokens=1000)).deployment)
                except BudgetExceeded:
                    homes.append(None)
            return homes, spent(r)

    homes, total = run_virtual(main)
    assert total <= usd + 1e-9
    return homes, hardness, total / usd


def unpaced(offers):
    return lambda request, estimate, candidates, **_: offers(request, estimate, candidates)


def quality(home, complexity):
    """Rasch's curve at a difficulty of 8; a call that is refused has none."""
    if home is None:
        return 0.0
    ability = math.log(QUALITIES[home] / (1 - QUALITIES[home]))
    return 1 / (1 + math.exp(8.0 * (complexity - 0.5) - ability))


@pytest.mark.parametrize("seed", range(2))
def test_pacing_spends_the_money_all_day_on_those_who_gain_most(seed):
    """Held against three others: who comes first has it, who draws the lot, and the best choice in hindsight."""
    homes, hardness, share = day(True, seed)
    greedy, _, greedy_share = day(False, seed)
    assert None not in homes
    assert share > 0.9
    thirds = [homes[place : place + 500].count("large") for place in (0, 500, 1000)]
    assert min(thirds) > 0.5 * max(thirds)

    paced, first_come = sum(map(quality, homes, hardness)), sum(map(quality, greedy, hardness))
    weak = sum(quality("small", one) for one in hardness)
    gains = sorted((quality("large", one) - quality("small", one) for one in hardness), reverse=True)
    affordable = int((0.01 * 1500 / 4 - 0.001 * 1500) / 0.009)
    by_lot, in_hindsight = weak + sum(gains) * affordable / 1500, weak + sum(gains[:affordable])
    assert None in greedy
    assert first_come < 0.5 * paced
    assert by_lot + 0.5 * (in_hindsight - by_lot) < paced < in_hindsight
    if seed == 0:
        assert told_on_the_page() == [
            row(paced, 0, share), row(first_come, greedy.count(None), greedy_share), row(by_lot, 0, 1.0),
            row(in_hindsight, 0, 1.0),
        ]  # fmt: skip


def row(summed, refused, share):
    """The cells of the table in docs/cost.md: mean quality, calls refused, of the budget spent."""
    return [f"{summed / 1500:.3f}", f"{refused:,}", f"{share:.0%}".replace("%", " %")]


def told_on_the_page():
    page = (Path(__file__).parents[3] / "docs" / "cost.md").read_text(encoding="utf-8")
    table = page.partition("| seed 0 |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.split("|")[2:-1]] for line in table]
