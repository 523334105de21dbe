"""Faults of the whole: several at once, circles of fallbacks, what refers to something faulty, what is no tree."""

from __future__ import annotations

import pytest
from changed_config import SECRET, put

from asyncrouter.config.loading import load_config


def test_every_fault_is_told_at_once(base, faults_of):
    put(base, "router.deadline_s", "3")
    put(base, "providers.openai.api_key", SECRET)
    put(base, "deployments.mini.prise", 1)
    put(base, "deployments.mini.weight", -1)
    put(base, "deployments.big.provider", "opnai")
    put(base, "groups.chat.deadline_s", 0)
    put(base, "groups.chat.fallbacks", ["spar"])
    put(base, "agents.recon.group", "chad")
    assert [fault.partition(": ")[0] for fault in faults_of(base)] == [
        "router.deadline_s",
        "providers.openai.api_key",
        "deployments.mini.weight",
        "deployments.mini.prise",
        "groups.chat.deadline_s",
        "deployments.big.provider",
        "groups.chat.fallbacks[0]",
        "agents.recon.group",
    ]


def test_what_refers_to_a_faulty_entry_is_no_further_fault(base, faults_of):
    base["deployments"]["mini"] = {"model": "x"}
    base["groups"]["spare"] = {"deployments": []}
    base["groups"]["chat"]["fallbacks"] = ["spare"]
    base["router"] = {"default": "spare"}
    assert [fault.partition(": ")[0] for fault in faults_of(base)] == [
        "deployments.mini.provider",
        "groups.spare.deployments",
    ]


def test_a_faulty_key_is_not_missing_too(base, faults_of):
    base["agents"]["other"] = {"model_name": 5, "backup_model": "gpt-4"}
    assert faults_of(base) == ["agents.other.model_name: expected a string, not 5"]


def test_a_faulty_provider_is_still_a_provider(base, faults_of):
    base["providers"] = {"own": 3}
    base["deployments"]["mini"]["provider"] = "own"
    assert faults_of(base) == [
        "providers.own: expected a table, or an object with complete, stream and aclose, not 3",
    ]


def test_every_circle_is_told_with_its_names(faults_of):
    groups = {
        name: {"deployments": ["one"], "fallbacks": list(after)}
        for name, after in {"a": "b", "b": "ca", "c": "d", "d": "c", "e": "a"}.items()
    }
    config = {"deployments": {"one": {"provider": "openai", "model": "gpt-4"}}, "groups": groups}
    assert sorted(faults_of(config)) == [
        "groups.a.fallbacks: cycle a → b → a; leave one of them out",
        "groups.c.fallbacks: cycle c → d → c; leave one of them out",
    ]


def test_circles_that_close_at_one_group(faults_of):
    groups = {
        name: {"deployments": ["one"], "fallbacks": list(after)}
        for name, after in {"a": "b", "c": "b", "b": "ac"}.items()
    }
    config = {"deployments": {"one": {"provider": "openai", "model": "gpt-4"}}, "groups": groups}
    assert sorted(faults_of(config)) == [
        "groups.a.fallbacks: cycle a → b → a; leave one of them out",
        "groups.c.fallbacks: cycle c → b → c; leave one of them out",
    ]


def test_a_long_chain_of_fallbacks_is_no_circle(faults_of):
    groups = {f"g{n}": {"deployments": ["one"], "fallbacks": [f"g{n + 1}"]} for n in range(2000)}
    groups["g2000"] = {"deployments": ["one"]}
    assert faults_of({"deployments": {"one": {"provider": "openai", "model": "gpt-4"}}, "groups": groups}) == []


def test_two_breakers_of_one_deployment(base, faults_of):
    base["groups"]["chat"]["breaker"] = {"failures": 3}
    base["groups"]["spare"]["breaker"] = {"failures": 4}
    assert faults_of(base) == [
        "groups.spare.breaker: groups.chat gives the deployment big another breaker; give both the same"
    ]
    base["groups"]["spare"]["breaker"] = {"failures": 3}
    assert faults_of(base) == []


class TestTree:
    def test_keys_are_strings(self, base, faults_of):
        base["groups"][True] = {"deployments": ["mini"]}
        base["groups"]["chat"]["params"] = {1: 2}
        base[("sk-x",)] = 1
        assert faults_of(base) == [
            "groups.chat.params: the key 1 is no string; put it in quotes",
            "groups: the key the boolean true is no string; put it in quotes",
            "the key a list is no string; put it in quotes",
        ]

    def test_an_entry_needs_a_name(self, base, faults_of):
        base["deployments"][" "] = {"provider": "openai", "model": "gpt-4"}
        assert faults_of(base) == ["deployments: holds an entry without a name"]

    def test_a_name_with_dots_stands_in_quotes(self, base, faults_of):
        base["deployments"]["gpt-3.5-turbo"] = {"provider": "openai", "model": "m", "weight": -1}
        base["deployments"]["n" * 50 + "."] = {"provider": "openai"}
        assert faults_of(base) == [
            'deployments."gpt-3.5-turbo".weight: expected a number of 0 or more, not -1',
            f'deployments."{"n" * 40}…".model: missing; name one: model = "gpt-4o-mini"',
        ]

    def test_a_mapping_that_holds_itself(self, base, faults_of):
        base["groups"]["chat"]["params"] = base
        (fault,) = faults_of(base)
        assert fault.endswith(": nested more than 32 levels deep, or holding itself")

    def test_a_mapping_that_unfolds_to_millions(self, faults_of):
        layer: object = 1
        for _ in range(20):
            layer = [layer] * 10
        (fault,) = faults_of({"router": {"params": {"x": layer}}})
        assert ": more than 100000 values up to here; is something repeated by aliases?" in fault

    def test_the_callers_mapping_may_change_later(self, base):
        base["groups"]["chat"]["params"] = {"stop": ["a"]}
        config = load_config(base)
        base["groups"]["chat"]["params"]["stop"].append("b")
        base["groups"]["chat"]["deployments"].append("nix")
        assert config.groups["chat"].params == {"stop": ["a"]}
        assert config.groups["chat"].deployments == ("mini", "big")


@pytest.mark.parametrize("source", [3, b"asyncrouter.toml", ["x"], object()])
def test_what_is_no_source_at_all(source, faults_of):
    (fault,) = faults_of(source)
    assert fault.startswith("expected a path, a mapping or a RouterConfig, not ")
