"""Affinity: what only one deployment can read, answers that teach nothing, bounds and configurations."""

from __future__ import annotations

import pytest
from conversations import CHEAP, COMPLEXITY, DEAR, answer, assistant, router_of, tables, user
from hooked import Cache

from asyncrouter import AllAttemptsFailed, ConfigError, Router, ServerError
from asyncrouter.testing import Fail, FakeProvider, Reply

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
