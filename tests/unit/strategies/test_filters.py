from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncrouter.strategies.filters.capability import CapabilityFilter, needed_capabilities
from asyncrouter.strategies.filters.context_window import ContextWindowFilter
from asyncrouter.strategies.filters.cooldown import CooldownFilter
from asyncrouter.types import tokens
from asyncrouter.types.deployments import ALL_CAPABILITIES, Deployment
from asyncrouter.types.request import Request
from asyncrouter.types.tokens import input_tokens

IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]
NEEDS = [
    pytest.param("hi", {}, set(), id="nothing"),
    pytest.param("hi", {"tools": [{}]}, {"tools"}, id="tools"),
    pytest.param("hi", {"functions": [{}]}, {"tools"}, id="functions"),
    pytest.param("hi", {"tools": []}, set(), id="no-tools"),
    pytest.param("hi", {"stream": True}, {"streaming"}, id="stream"),
    pytest.param("hi", {"response_format": {"type": "json_schema"}}, {"json_schema"}, id="schema"),
    pytest.param("hi", {"response_format": {"type": "json_object"}}, set(), id="json"),
    pytest.param("hi", {"response_format": "junk"}, set(), id="junk-format"),
    pytest.param(IMAGE, {}, {"vision"}, id="picture"),
    pytest.param([{"role": "user", "content": "hi"}, *IMAGE, "junk"], {"tools": [{}]}, {"vision", "tools"}, id="both"),
]


def names(candidates):
    return None if candidates is None else "".join(one.name for one in candidates)


# ---------------------------------------------------------------- capability


@pytest.mark.parametrize(("prompt", "params", "needed"), NEEDS)
def test_what_a_request_needs(ask, prompt, params, needed):
    assert needed_capabilities(ask(prompt, **params)) == needed


@pytest.mark.parametrize(("prompt", "params", "needed"), NEEDS)
def test_who_lacks_it_is_dropped(deploy, ask, prompt, params, needed):
    lacking = deploy("l", capabilities=frozenset(ALL_CAPABILITIES - needed))
    bare = deploy("n", capabilities=frozenset())
    found = CapabilityFilter().asyncrouter_filter(ask(prompt, **params), (*deploy("a"), *lacking, *bare, *deploy("z")))
    assert names(found) == ("az" if needed else None)


def test_all_able_is_decided_without_a_look_at_the_request(deploy):
    assert CapabilityFilter().asyncrouter_filter(None, deploy("a", "b")) is None


def test_more_than_the_known_capabilities_is_as_good(deploy):
    able = deploy("a", capabilities=ALL_CAPABILITIES | {"audio"})
    assert CapabilityFilter().asyncrouter_filter(None, able) is None


def test_none_able_leaves_none(deploy, ask):
    bare = deploy("a", "b", capabilities=frozenset())
    assert CapabilityFilter().asyncrouter_filter(ask("hi", stream=True), bare) == ()


# ---------------------------------------------------------------- context window


def windowed(**windows):
    return tuple(
        Deployment(name=name, provider="p", model="m", context_window=window) for name, window in windows.items()
    )


@pytest.mark.parametrize(
    ("characters", "output", "left"),
    [
        (40, None, None),
        (384, None, None),
        (388, None, "bu"),
        (384, 1, "bu"),
        (40, 1000, "u"),
        (40_000, None, "u"),
    ],
)
def test_windows_too_small_are_dropped(ask, characters, output, left):
    request = ask("a" * characters, max_tokens=output)
    assert names(ContextWindowFilter().asyncrouter_filter(request, windowed(a=100, b=1000, u=None))) == left


def test_when_none_is_large_enough_the_largest_stay(ask):
    candidates = windowed(a=100, b=200, c=150, d=200)
    assert names(ContextWindowFilter().asyncrouter_filter(ask("a" * 40_000), candidates)) == "bd"


def test_without_known_windows_nothing_is_counted():
    assert ContextWindowFilter().asyncrouter_filter(None, windowed(a=None, b=None)) is None


def test_a_prompt_that_was_counted_is_not_counted_again(ask, monkeypatch):
    def refuse(_messages):
        raise AssertionError("counted")

    request = ask("é" * 1000)
    counted = input_tokens(request)
    monkeypatch.setattr(tokens, "estimate_tokens", refuse)
    assert ContextWindowFilter().asyncrouter_filter(request, windowed(a=counted)) is None
    assert names(ContextWindowFilter().asyncrouter_filter(request, windowed(a=counted - 1, b=counted))) == "b"


def test_a_prompt_that_fits_is_kept(ask):
    assert ContextWindowFilter().asyncrouter_filter(ask("a" * 400), windowed(a=200)) is None


@given(
    windows=st.lists(st.none() | st.integers(1, 400), min_size=1, max_size=5),
    text=st.text(max_size=300),
    output=st.none() | st.integers(1, 300),
)
def test_the_filter_agrees_with_a_plain_count_and_never_leaves_none(windows, text, output):
    candidates = windowed(**{f"d{n}": window for n, window in enumerate(windows)})
    request = Request(messages=[{"role": "user", "content": text}], params={"max_tokens": output})
    found = ContextWindowFilter().asyncrouter_filter(request, candidates)
    needed = input_tokens(request) + (output or 0)
    fitting = tuple(one for one in candidates if one.context_window is None or one.context_window >= needed)
    kept = candidates if found is None else found
    if fitting:
        assert kept == fitting
    else:
        assert kept == tuple(one for one in candidates if one.context_window == max(windows))


# ---------------------------------------------------------------- cooldown


def test_who_is_not_ready_is_dropped(deploy, fleet):
    state = fleet(now=10.0, a={"ready_at": 10.5}, b={"ready_at": 10.0}, c={"ready_at": -1.0})
    assert names(CooldownFilter().asyncrouter_filter(deploy("a", "b", "c"), state)) == "bc"


def test_all_ready_keeps_them_all(deploy, fleet):
    assert CooldownFilter().asyncrouter_filter(deploy("a", "b"), fleet(now=1.0)) is None


def test_none_ready_leaves_none(deploy, fleet):
    state = fleet(a={"ready_at": 1.0}, b={"ready_at": float("inf")})
    assert CooldownFilter().asyncrouter_filter(deploy("a", "b"), state) == ()
