"""Affinity: conversations stay where it is cheapest, go up at once and come down late."""

from __future__ import annotations

import anyio
from conversations import CHEAP, COMPLEXITY, DEAR, LONG, answer, assistant, router_of, tables, user

from asyncrouter import ServerError, Verdict, hookimpl
from asyncrouter.testing import Fail, fake_router
from asyncrouter.types.decisions import Selection
from asyncrouter.types.deployments import Price


async def held(router, *complexities, first=LONG, session=None):
    """Hold a conversation; return who answered each request, and the reasons."""
    messages, replies = [], []
    for number, complexity in enumerate(complexities):
        messages = [*messages, user(first if number == 0 else f"and {number}?")]
        replies.append(await router.generate(messages, complexity=complexity, session=session))
        messages = [*messages, assistant(replies[-1].text)]
    return "".join(one.deployment for one in replies), [one.trace.selection.reason for one in replies]


# The decision


async def test_a_new_conversation_goes_where_the_selector_says():
    async with router_of() as router:
        assert (await held(router, 0.2))[0] == "a"
        assert (await held(router, 0.8, first=LONG + "other"))[0] == "b"


async def test_a_conversation_goes_up_at_once():
    async with router_of() as router:
        answered, reasons = await held(router, 0.2, 0.9)
    assert answered == "ab"
    assert reasons[1].startswith("session goes up from a to b; complexity 0.90")


async def test_it_stays_up_until_its_ease_has_been_shown_and_then_goes_down_where_that_pays():
    async with router_of(deployments=tables(a=Price(input=0.01, output=0.1), b=DEAR)) as router:
        answered, reasons = await held(router, 0.9, 0.1, 0.1, 0.1, 0.1)
    assert answered == "bbbaa"
    assert reasons[1].startswith("session stays with b; easy 1 of 3 times in a row, stays up")
    assert reasons[3].startswith("session goes from b (")


async def test_it_stays_where_its_cache_is_when_a_switch_does_not_pay():
    async with router_of() as router:
        answered, reasons = await held(router, *[0.9] + [0.1] * 6)
    assert answered == "b" * 7
    assert "session stays with b (" in reasons[-1]


async def test_without_affinity_it_goes_to_and_fro():
    async with fake_router(deployments=tables(a=CHEAP, b=DEAR), select=COMPLEXITY) as router:
        assert (await held(router, 0.9, 0.1, 0.9, 0.1))[0] == "baba"


async def test_where_nothing_is_cached_the_cheaper_one_is_gone_to():
    async with router_of(answer(cached=0)) as router:  # this upstream has no cache, as its answers tell
        assert (await held(router, *[0.9] + [0.1] * 12))[0][-1] == "a"


async def test_a_cache_that_has_expired_keeps_nobody():
    async with router_of(affinity={"ease": 1, "ahead": 0}) as router:
        messages = [user(LONG)]
        await router.generate(messages, complexity=0.9)
        again = [*messages, assistant(), user("and?")]
        decision = await router.explain(again, complexity=0.1)
        assert decision.ranking[0].deployment == "b"
        await anyio.sleep(301)
        decision = await router.explain(again, complexity=0.1)
        assert decision.ranking[0].deployment == "a"


async def test_the_callers_session_is_the_conversation_whatever_its_messages():
    async with router_of() as router:
        for number, session in enumerate(["x", "y", "x"]):
            reply = await router.generate(f"{number}", complexity=0.9 if number == 0 else 0.1, session=session)
            assert reply.deployment == ("a" if session == "y" else "b")


async def test_the_longest_beginning_tells_the_conversation():
    async with router_of() as router:
        messages = [user("hello"), assistant(), user("there")]
        await router.generate(messages[:1], complexity=0.1)
        await router.generate(messages, complexity=0.9, session="another")
        reply = await router.generate([*messages, assistant(), user("?")], complexity=0.1)
        assert reply.deployment == "b"
        assert (await router.generate([user("hello"), assistant("no")], complexity=0.1)).deployment == "a"
        assert (await router.generate([user("hi")], complexity=0.1)).deployment == "a"


async def test_looking_changes_nothing():
    async with router_of(affinity={"ease": 2}) as router:
        await held(router, 0.9)
        for _ in range(5):
            decision = await router.explain([user(LONG), assistant(), user("?")], complexity=0.1)
            assert decision.ranking[0].deployment == "b"


async def test_deployments_of_one_model_are_one_tier_and_a_conversation_stays_with_its_own():
    deployments = {name: {**table, "model": "m"} for name, table in tables(a=CHEAP, b=CHEAP, c=CHEAP).items()}
    async with router_of(deployments=deployments, select="round_robin") as router:
        answered = [(await held(router, 0.5, 0.5, first=f"{n}"))[0] for n in range(3)]
    assert answered == ["aa", "cc", "bb"], "every request takes a turn, and only the first of each goes by it"


async def test_tiers_can_be_named():
    affinity = {"tiers": [["a", "b"], ["c"]]}
    async with router_of(
        deployments=tables(a=CHEAP, b=CHEAP, c=DEAR), select="round_robin", affinity=affinity
    ) as router:
        assert (await held(router, 0.5, 0.5))[0] == "aa"
        assert (await held(router, 0.5, 0.5, first="other"))[0] == "cc"


async def test_a_streamed_request_is_a_part_of_its_conversation():
    async with router_of() as router:
        messages = [user(LONG)]
        async with router.stream(messages, complexity=0.9) as stream:
            text = "".join([chunk.text async for chunk in stream])
        reply = await router.generate([*messages, assistant(text), user("?")], complexity=0.1)
    assert (stream.response.deployment, reply.deployment) == ("b", "b")


async def test_a_stream_that_is_left_early_teaches_nothing():
    async with router_of() as router:
        async with router.stream("hi", complexity=0.9, session="s") as stream:
            await anext(aiter(stream))
        assert (await router.generate("hi", complexity=0.1, session="s")).deployment == "a"


async def test_an_answer_that_was_rejected_raises_the_session():
    class Strict:
        @hookimpl
        async def asyncrouter_judge(self, response):
            return Verdict(accept=response.deployment == "b", score=0.1)

    async with router_of(judge=Strict()) as router:
        answered, reasons = await held(router, 0.1, 0.1, 0.1)
    assert answered == "bbb"
    assert "easy 1 of 3" in reasons[1]


async def test_a_fallback_breaks_affinity_is_told_and_is_no_reason_to_stay_up():
    breaker = {"failures": 1, "open_s": 60.0, "open_cap_s": 60.0}
    script = {"a": [answer(), Fail(ServerError), answer()], "b": answer()}
    cheap = tables(a=Price(input=0.01, output=0.01), b=DEAR)
    async with router_of(script, deployments=cheap, breaker=breaker, retry="none") as router:
        answered, reasons = await held(router, 0.1, 0.1, 0.1)
        assert answered == "abb"
        assert reasons[2].startswith("session stays with b")
        await anyio.sleep(200)
        answered, reasons = await held(router, 0.1)
        assert answered == "a", reasons


async def test_a_home_that_is_set_aside_is_told():
    breaker = {"failures": 1, "open_s": 60.0, "open_cap_s": 60.0}
    script = {"a": [answer(), Fail(ServerError)], "b": answer()}
    async with router_of(script, breaker=breaker, retry="none") as router:
        messages = [user(LONG)]
        await router.generate(messages, complexity=0.1)
        await router.generate("another one", complexity=0.1)
        reply = await router.generate([*messages, assistant(), user("?")], complexity=0.1)
    assert reply.deployment == "b"
    assert reply.trace.selection.reason.startswith("affinity to a is broken, it is not among the candidates")


async def test_without_prices_it_stays():
    async with router_of(deployments={"a": {}, "b": {}}) as router:
        assert (await held(router, *[0.9] + [0.1] * 6))[0] == "b" * 7


async def test_a_selector_that_awaits_and_one_that_declines():
    class Late:
        @hookimpl
        async def asyncrouter_select(self, request, candidates):
            return None if request.complexity < 0.5 else Selection(deployments=candidates[::-1], reason="late")

    async with router_of(select=Late()) as router:
        assert (await held(router, 0.9, 0.1))[0] == "bb"
        assert (await held(router, 0.1, first="x"))[0] == "a"
