"""Affinity's parts, each by itself: beginnings of conversations, prompt caches, sessions, and the decision."""

from __future__ import annotations

import pytest
from conversations import CHEAP, DEAR, LONG, assistant, user

from asyncrouter import Estimate
from asyncrouter.strategies.affinity.affinity import SessionAffinity, SessionSelection
from asyncrouter.strategies.affinity.caches import PromptCaches
from asyncrouter.strategies.affinity.prefixes import kept, opaque_parts, prefixes_of
from asyncrouter.strategies.affinity.sessions import Session
from asyncrouter.testing.fleet import FakeFleet, FakeView
from asyncrouter.types.decisions import Selection
from asyncrouter.types.deployments import AffinitySettings, Deployment
from asyncrouter.types.request import Request

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


def test_messages_that_json_cannot_hold_are_told_apart_as_far_as_can_be():
    odd = {"role": "user", "content": "a", "x": object()}
    assert prefixes_of(request_of(odd)) == prefixes_of(request_of({**odd, "x": object()}))
    unkeyed = {"role": "user", "content": "a", 1: 2}
    assert prefixes_of(request_of(unkeyed))[0].digest != prefixes_of(request_of(dict(unkeyed)))[0].digest


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


def test_the_wish_to_ask_several_at_once_stands():
    both = (deployment("a"), deployment("b", DEAR))
    inner = Selection(deployments=both, parallel=2, take="majority", reason="several")
    messages = [{"role": "user", "content": "Hello"}]
    selection = decided(SessionAffinity(both, AffinitySettings()), inner, messages)
    assert (selection.parallel, selection.take) == (2, "majority")
