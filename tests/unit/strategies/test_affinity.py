"""Affinity: conversations are recognised, stay where it is cheapest, go up at once and come down late."""

from __future__ import annotations

import anyio
import pytest

from asyncrouter import AllAttemptsFailed, ConfigError, Estimate, Router, ServerError, Verdict, hookimpl
from asyncrouter.strategies.affinity.affinity import SessionAffinity, SessionSelection
from asyncrouter.strategies.affinity.caches import PromptCaches
from asyncrouter.strategies.affinity.prefixes import kept, opaque_parts, prefixes_of
from asyncrouter.strategies.affinity.sessions import Session
from asyncrouter.testing import Fail, FakeProvider, Reply, fake_router, virtual_backend
from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.types.decisions import Selection
from asyncrouter.types.deployments import AffinitySettings, Deployment, Price
from asyncrouter.types.request import Request
from asyncrouter.types.response import Usage

CHEAP = Price(input=1.0, cached_input=0.1, output=5.0)
DEAR = Price(input=3.0, cached_input=0.3, output=15.0)
LONG = "word " * 8000
"""About 10,000 tokens."""


@pytest.fixture
def anyio_backend():
    return virtual_backend


def user(text):
    return {"role": "user", "content": text}


def assistant(text="ok", **more):
    return {"role": "assistant", "content": text, **more}


def tables(**prices):
    return {
        name: {"price": {"input": one.input, "cached_input": one.cached_input, "output": one.output}}
        for name, one in prices.items()
    }


def answer(tokens=10_000, cached=0, output=10):
    return Reply(usage=Usage(input_tokens=tokens, output_tokens=output, cached_input_tokens=cached))


COMPLEXITY = {"use": "complexity", "threshold": 0.5}


def router_of(script=None, *, deployments=None, select=COMPLEXITY, affinity=None, **more):
    deployments = deployments or tables(a=CHEAP, b=DEAR)
    return fake_router(
        script or answer(cached=10_000), deployments=deployments, select=select, affinity=affinity or {}, **more
    )


async def held(router, *complexities, first=LONG, session=None):
    """Hold a conversation; return who answered each request, and the reasons."""
    messages, replies = [], []
    for number, complexity in enumerate(complexities):
        messages = [*messages, user(first if number == 0 else f"and {number}?")]
        replies.append(await router.generate(messages, complexity=complexity, session=session))
        messages = [*messages, assistant(replies[-1].text)]
    return "".join(one.deployment for one in replies), [one.trace.selection.reason for one in replies]


# Beginnings


def request_of(*messages, **params):
    return Request(messages=messages, params=params)


def test_beginnings_agree_as_far_as_the_messages_do():
    one = prefixes_of(request_of(user("a"), assistant("b"), user("c")))
    other = prefixes_of(request_of(user("a"), assistant("b"), user("d"), user("e")))
    assert [a.digest == b.digest for a, b in zip(one, other, strict=False)] == [True, True, False]
    assert one[0].tokens < one[1].tokens < one[2].tokens


@pytest.mark.parametrize(
    ("message", "other"),
    [
        (user("a"), assistant("a")),
        (user("ab"), user("a")),
        (assistant(None, tool_calls=[{"id": "1"}]), assistant(None, tool_calls=[{"id": "2"}])),
        (user([{"type": "text", "text": "a"}]), user([{"type": "text", "text": "b"}])),
        ({"role": "user", "content": "a", "name": "x"}, {"role": "user", "content": "a", "name": "y"}),
    ],
)
def test_what_differs_has_another_digest(message, other):
    assert prefixes_of(request_of(message))[0].digest != prefixes_of(request_of(other))[0].digest
    assert prefixes_of(request_of(message))[0].digest == prefixes_of(request_of(dict(message)))[0].digest


def test_two_messages_are_not_one_of_both_texts():
    joined = prefixes_of(request_of(user("a\0user\0b")))
    assert joined[-1].digest != prefixes_of(request_of(user("a"), user("b")))[-1].digest


def test_other_tools_are_another_prompt():
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert prefixes_of(request_of(user("a"), tools=tools)) != prefixes_of(request_of(user("a")))
    assert prefixes_of(request_of(user("a"), tools="junk"))


def test_of_a_long_request_both_ends_are_remembered():
    prefixes = prefixes_of(request_of(*map(user, map(str, range(100)))))
    assert kept(prefixes) == prefixes[:8] + prefixes[-8:]
    assert kept(prefixes[:16]) == prefixes[:16]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "reasoning", "encrypted_content": "SEALED"},
        assistant([{"type": "thinking", "thinking": "hm", "signature": "SEALED"}]),
        assistant([{"type": "redacted_thinking", "data": "SEALED"}]),
        assistant("x", reasoning_details=[{"type": "reasoning.encrypted", "data": "SEALED"}]),
        assistant(None, tool_calls=[{"extra_content": {"google": {"thought_signature": "SEALED"}}}]),
    ],
)
def test_opaque_parts_are_found_wherever_providers_put_them(message):
    (found,) = opaque_parts(message)
    assert found == next(opaque_parts({"encrypted_content": "SEALED"}))


def test_ordinary_parts_are_not_opaque():
    message = assistant([{"type": "text", "text": "signature", "signature": "mine"}], data="x", signature="y")
    assert list(opaque_parts(message)) == []
    deep = current = {}
    for _ in range(100):
        current["x"] = current = {}
    current["encrypted_content"] = "SEALED"
    assert list(opaque_parts(deep)) == []


# Prompt caches


def caches(**options):
    return PromptCaches(**{"ttl_s": 300.0, "min_tokens": 1024, "entries": 100, **options})


def test_a_cache_holds_the_longest_beginning_that_was_read_lately():
    cache, first = caches(), prefixes_of(request_of(user(LONG)))
    longer = prefixes_of(request_of(user(LONG), assistant(LONG), user("c")))
    cache.read(longer[:2], "a", 0.0)
    cache.read(first, "b", 200.0)
    assert cache.held(longer, "abc", 300.0) == {"a": longer[1].tokens, "b": longer[0].tokens, "c": 0.0}
    assert cache.held(longer, "abc", 301.0) == {"a": 0.0, "b": longer[0].tokens, "c": 0.0}


def test_short_prompts_are_not_cached():
    cache, short = caches(), prefixes_of(request_of(user("x" * 4000)))
    cache.read(short, "a", 0.0)
    assert cache.held(short, "a", 0.0) == {"a": 0.0}
    assert cache.expected("a", 1000) == 0.0
    assert cache.expected("a", 1024) == 1024


def test_what_answers_say_of_the_cache_is_believed():
    cache = caches()
    for _ in range(20):
        cache.told("a", 1000, 0)
        cache.told("b", 1000, 900)
        cache.told("c", 0, 0)
    assert cache.share("a") < 0.02
    assert cache.share("b") == pytest.approx(0.9, abs=0.01)
    assert cache.share("c") == 1.0


def test_memory_is_bounded():
    cache = caches(entries=50)
    for number in range(200):
        cache.read(prefixes_of(request_of(user(str(number)), user("x"))), "a", 0.0)
    assert len(cache) == 50


# Sessions


def test_a_session_goes_up_at_once_and_comes_down_late():
    session = Session(floor=0)
    floors = []
    for tier in (0, 2, 0, 1, 0, 0):
        session = session.asking(tier, 3)
        floors.append(session.floor)
    assert floors == [0, 2, 2, 2, 1, 1], "down to the strongest that was asked for meanwhile"


def test_a_hard_request_begins_the_count_anew():
    session = Session(floor=1)
    for tier in (0, 0, 1, 0, 0):
        session = session.asking(tier, 3)
    assert (session.floor, session.easy) == (1, 2)
    assert session.asking(0, 3).floor == 0


# The decision


def deployment(name, price=CHEAP, model=None):
    return Deployment(name=name, provider="p", model=model or name, price=price)


def decided(affinity, inner, messages, *, views=None, now=0.0, estimate=None):
    state = FakeFleet(views or {}, now=now)
    request = Request(messages=messages)
    return affinity.around(lambda *_: inner)(request, estimate or Estimate(complexity=0.5), inner.deployments, state)


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


async def test_a_failover_breaks_affinity_is_told_and_is_no_reason_to_stay_up():
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


def test_chance_is_told_as_it_was():
    a, b = deployment("a"), deployment("b", DEAR)
    affinity = SessionAffinity((a, b), AffinitySettings())
    drawn = Selection(deployments=(b, a), reason="drawn", propensity=0.3, parallel=2)
    first = decided(affinity, drawn, [user("x")])
    assert (first.propensity, first.parallel, type(first)) == (0.3, 2, SessionSelection)
    affinity._sessions[first.key] = Session(home="b", floor=1)
    kept_up = decided(affinity, Selection(deployments=(a, b), propensity=0.7, parallel=2), [user("x")])
    assert (kept_up.deployments, kept_up.propensity, kept_up.parallel) == ((b, a), 1.0, 1)


def test_the_cost_of_staying_counts_the_cache_and_the_requests_ahead():
    a, b = deployment("a", CHEAP), deployment("b", DEAR)
    affinity = SessionAffinity((a, b), AffinitySettings(ahead=2.0))
    views = {"a": FakeView(output_tokens=100), "b": FakeView(output_tokens=100)}
    messages = [user(LONG)]
    (prefix,) = prefixes_of(Request(messages=messages))
    first = decided(affinity, Selection(deployments=(b, a)), messages)
    affinity._sessions[first.key] = Session(home="b", floor=0)
    affinity._caches.read(first.prefixes, "b", 0.0)
    inner = Selection(deployments=(a, b), reason="easy")
    chosen = decided(affinity, inner, messages, views=views)
    stay = 3 * DEAR.cost_usd(prefix.tokens, 100, prefix.tokens)
    switch = CHEAP.cost_usd(prefix.tokens, 100) + 2 * CHEAP.cost_usd(prefix.tokens, 100, prefix.tokens)
    assert stay < switch
    assert chosen.deployments == (b, a)
    assert chosen.reason == f"session stays with b ({stay:.3g} USD, a {switch:.3g}); easy"
    late = decided(affinity, inner, messages, views=views, now=1000.0)
    assert late.deployments == (a, b)
    for _ in range(20):
        affinity._caches.told("b", 1000, 0)
    assert decided(affinity, inner, messages, views=views).deployments == (a, b), "its cache is none, as answers tell"


# What only one can read


THOUGHT = [{"type": "thinking", "thinking": "hm", "signature": "SEALED"}, {"type": "text", "text": "ok"}]
SEALED = Reply(raw={"choices": [{"message": {"role": "assistant", "content": THOUGHT}}], "usage": {"prompt_tokens": 5}})


async def test_only_who_wrote_an_opaque_part_is_asked_to_read_it():
    async with router_of(FakeProvider(SEALED), affinity={"ease": 1}) as router:
        reply = await router.generate("think", complexity=0.9)
        messages = [user("now something else"), dict(reply.message), user("?")]
        again = await router.generate(messages, complexity=0.1)
        assert again.deployment == "b"
        assert [one.name for one in again.trace.selection.deployments] == ["b"]
        unknown = assistant([{"type": "thinking", "signature": "by somebody else"}])
        assert (await router.generate([user("x"), unknown, user("?")], complexity=0.1)).deployment == "a"


async def test_of_two_writers_the_latest_counts():
    def sealed(text):
        content = [{"type": "thinking", "signature": text}]
        return Reply(raw={"choices": [{"message": {"role": "assistant", "content": content}}]})

    async with router_of({"a": sealed("BY A"), "b": sealed("BY B")}) as router:
        by_a, by_b = [(await router.generate(f"{one}", complexity=one)).message for one in (0.1, 0.9)]
        for messages, expected in (([by_a, by_b], "b"), ([by_b, by_a], "a")):
            reply = await router.generate([*map(dict, messages), user("?")], complexity=0.5)
            assert reply.deployment == expected


async def test_when_nobody_can_read_it_the_call_ends_with_a_typed_error():
    script = {"a": answer(), "b": [SEALED, Fail(ServerError)]}
    breaker = {"failures": 1, "open_s": 60.0, "open_cap_s": 60.0}
    async with router_of(script, retry="none", breaker=breaker, deadline_s=5) as router:
        reply = await router.generate("think", complexity=0.9)
        messages = [user("think"), dict(reply.message), user("?")]
        for _ in range(2):
            with pytest.raises(AllAttemptsFailed) as caught:
                await router.generate(messages, complexity=0.1)
            assert [one.deployment for one in caught.value.trace.attempts] == ["b"]


# What is none of it


async def test_an_answer_that_nobody_selected_for_teaches_nothing():
    class Cache:
        answer = None

        @hookimpl
        async def asyncrouter_around_request(self, call, request):
            self.answer = self.answer or await call(request)
            return self.answer

    async with router_of(plugins=[Cache()]) as router:
        for complexity in (0.9, 0.1):
            assert (await router.generate("hi", complexity=complexity)).deployment == "b"
        (affinity,) = router._assembler.affinities.values()
        assert [one.floor for one in affinity._sessions.values()] == [1]


async def test_who_answered_in_a_fallback_group_is_not_its_home():
    config = {
        "router": {"default": "chat"},
        "providers": {"fake": FakeProvider({"a": [answer(), Fail(ServerError), answer()], "b": answer()})},
        "deployments": {name: {"provider": "fake", "model": name} for name in "ab"},
        "groups": {
            "chat": {"deployments": ["a"], "fallbacks": ["spare"], "affinity": {}, "retry": "none"},
            "spare": {"deployments": ["b"]},
        },
    }
    async with Router.from_config(config) as router:
        replies = [await router.generate("hi", session="s") for _ in range(3)]
    assert [one.deployment for one in replies] == ["a", "b", "a"]
    assert replies[2].trace.selection.reason.startswith("session stays with a")


def test_messages_that_json_cannot_hold_are_told_apart_as_far_as_can_be():
    odd = {"role": "user", "content": "a", "x": object()}
    assert prefixes_of(request_of(odd)) == prefixes_of(request_of({**odd, "x": object()}))
    unkeyed = {"role": "user", "content": "a", 1: 2}
    assert prefixes_of(request_of(unkeyed))[0].digest != prefixes_of(request_of(dict(unkeyed)))[0].digest


# Bounds, configurations


async def test_what_is_kept_is_bounded_and_holds_no_text():
    async with router_of(affinity={"sessions": 5}) as router:
        for number in range(30):
            await router.generate(f"SENTINEL {number}", complexity=0.1, session=f"SENTINEL {number}")
        (affinity,) = router._assembler.affinities.values()
    assert len(affinity._sessions) == len(affinity._conversations) == 5
    assert len(affinity._caches) <= 40
    assert "SENTINEL" not in repr([affinity._sessions, affinity._conversations, affinity._caches._readers])


async def test_another_configuration_that_says_the_same_keeps_the_conversations():
    def config(**affinity):
        return {
            "providers": {"fake": FakeProvider(answer(cached=10_000))},
            "deployments": {
                name: {"provider": "fake", "model": name, **table} for name, table in tables(a=CHEAP, b=DEAR).items()
            },
            "groups": {"chat": {"deployments": ["a", "b"], "select": COMPLEXITY, "affinity": affinity}},
        }

    async with Router.from_config(config()) as router:
        await router.generate("x", complexity=0.9, session="s")
        await router.reconfigure(config())
        assert (await router.generate("x", complexity=0.1, session="s")).deployment == "b"
        await router.reconfigure(config(ease=1))
        assert (await router.generate("x", complexity=0.1, session="s")).deployment == "a"


@pytest.mark.parametrize(
    ("affinity", "path"),
    [
        ({"ease": 0}, "affinity.ease"),
        ({"ahead": -1}, "affinity.ahead"),
        ({"ttl_s": 0}, "affinity.ttl_s"),
        ({"min_tokens": 1.5}, "affinity.min_tokens"),
        ({"sessions": 0}, "affinity.sessions"),
        ({"tiers": "a"}, "affinity.tiers"),
        ({"tiers": [["a"], []]}, "affinity.tiers[1]"),
        ({"tiers": [["a"], ["a"]]}, "affinity.tiers[1]"),
        ({"tiers": [["a"], ["x"]]}, "affinity.tiers[1][0]"),
        ({"eas": 1}, "affinity.eas"),
        (True, "affinity"),
    ],
)
def test_each_fault_has_its_path(affinity, path):
    with pytest.raises(ConfigError) as caught:
        router_of(affinity=affinity)
    assert [fault.path for fault in caught.value.faults] == [f"groups.chat.{path}"]


def test_the_wish_to_ask_several_at_once_stands():
    both = (deployment("a"), deployment("b", DEAR))
    inner = Selection(deployments=both, parallel=2, take="majority", reason="several")
    messages = [{"role": "user", "content": "Hello"}]
    selection = decided(SessionAffinity(both, AffinitySettings()), inner, messages)
    assert (selection.parallel, selection.take) == (2, "majority")
