"""Several keys under random refusals, in virtual time: the real ring, errors and engine, without the wire."""

from __future__ import annotations

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter import AsyncRouterError, Router
from asyncrouter.providers.errors import error_from
from asyncrouter.providers.hiding import NOTHING
from asyncrouter.providers.keys import LIMITED_S, REFUSED_S
from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.testing import FakeProvider, run_virtual

REFUSALS = {
    "401": (401, {}, {}),
    "402": (402, {}, {}),
    "403": (403, {}, {}),
    "429": (429, {}, {}),
    "429 and 7 s": (429, {"retry-after": "7"}, {}),
    "no quota": (429, {}, {"error": {"code": "insufficient_quota", "message": "pay"}}),
}


class Keyed(FakeProvider):
    """Sends the keys that the real credentials choose to upstreams that refuse some of them.

    ``refusals`` holds for each key what it meets, ``None`` for an answer; ``sent`` is (moment, key) of each call.
    """

    def __init__(self, refusals):
        super().__init__()
        self.refusals = list(refusals)
        self.sent = []
        keys = [lambda key=key: f"key-{key}" for key in range(len(refusals))]
        self._credentials = OpenAICompatible(name="fake", base_url="http://127.0.0.1:1", api_key=keys)._credentials

    async def complete(self, request, deployment, timeouts):
        number, _ = self._credentials.of_call(deployment)
        self.sent.append((round(anyio.current_time(), 6), number))
        refusal = self.refusals[number]
        if refusal is None:
            return await super().complete(request, deployment, timeouts)
        status, headers, body = REFUSALS[refusal]
        error = error_from(status, headers, body, deployment=deployment, hidden=NOTHING, wall_now=0.0)
        raise self._credentials.noted(error, number, deployment)


def router_over(provider):
    return Router.from_config(
        {
            "providers": {"fake": provider},
            "deployments": {"a": {"provider": "fake", "model": "m"}},
            "groups": {"chat": {"deployments": ["a"], "retry": "none"}},
        },
        seed=0,
    )


SOME = st.lists(st.sampled_from([None, *REFUSALS]), min_size=1, max_size=5)


@given(refusals=SOME, requests=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_a_request_meets_each_key_once_and_the_first_good_one_answers(refusals, requests):
    async def run():
        provider = Keyed(refusals)
        good = next((key for key, refusal in enumerate(refusals) if refusal is None), None)
        async with router_over(provider) as router:
            for number in range(requests):
                provider.sent.clear()
                try:
                    reply = await router.generate("hi", deadline_s=0.5)
                except AsyncRouterError:
                    assert good is None
                    reply = None
                met = [key for _, key in provider.sent]
                assert len(met) == len(set(met)), "a key that was refused is not sent again"
                assert len({moment for moment, _ in provider.sent}) <= 1, "and nobody waits"
                if good is not None:
                    assert reply.text == "ok"
                    assert met == (list(range(good + 1)) if number == 0 else [good])
                    assert router.metrics().deployments["a"].breaker == "closed"

    run_virtual(run)


@given(
    refusals=st.lists(st.sampled_from(list(REFUSALS)), min_size=1, max_size=4),
    pauses=st.lists(st.sampled_from([0.0, 1.0, 6.9, 7.0, 50.0, 60.0, 240.0, 300.0]), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_a_refused_key_is_tried_again_when_its_time_is_over_and_not_before(refusals, pauses):
    async def run():
        provider = Keyed([*refusals, None])
        until = [0.0] * len(provider.refusals)
        async with router_over(provider) as router:
            for pause_s in pauses:
                await anyio.sleep(pause_s)
                now = anyio.current_time()
                expected = [key for key, moment in enumerate(until) if moment <= now]
                for key in expected[:-1]:
                    until[key] = now + {"429": LIMITED_S, "429 and 7 s": 7.0}.get(refusals[key], REFUSED_S)
                provider.sent.clear()
                assert (await router.generate("hi")).text == "ok"
                assert [key for _, key in provider.sent] == expected

    run_virtual(run)
