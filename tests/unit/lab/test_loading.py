"""From a file to scenarios: configurations, variants, and every fault at once with its path and cure."""

from __future__ import annotations

import textwrap

import pytest

from asyncrouter.config.loading import load_config
from asyncrouter.lab.simulation.arrivals import Bursts, Closed, Poisson
from asyncrouter.lab.simulation.draws import EXAMPLE, Constant, LogNormal
from asyncrouter.lab.simulation.loading import OUTAGE, load_scenarios, shipped, summary_of
from asyncrouter.lab.simulation.schema import Phase, UpstreamSettings
from asyncrouter.types.errors import ConfigError

FLEET = """
[deployments]
a = { provider = "simulated", model = "m" }
b = { provider = "openai", model = "gpt-4o" }

[groups.chat]
deployments = ["a", "b"]
"""


@pytest.fixture
def load(tmp_path):
    def load(text, **over):
        path = tmp_path / "tried.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_scenarios(path, **over)

    return load


@pytest.fixture
def faults(load):
    def faults(text):
        with pytest.raises(ConfigError) as caught:
            load(FLEET + textwrap.dedent(text))
        count = len(caught.value.faults)
        assert str(caught.value).splitlines()[0].endswith(f"tried.toml: {count} fault{'s' if count > 1 else ''}")
        return [str(fault) for fault in caught.value.faults]

    return faults


def test_a_scenario_holds_what_its_file_says(load):
    (scenario,) = load(
        FLEET
        + """
        [simulate]
        seed = 7
        duration_s = 60
        requests = 100
        layers = 2
        arrivals = { kind = "bursts", size = 10, every_s = 5 }
        prompts = { complexity = 0.3, output_tokens = { kind = "lognormal", median = 100 }, stream = 0.5, model = "a" }

        [simulate.upstreams.a]
        latency_s = 0.5
        rpm = 60
        phases = [{ from_s = 10, to_s = 20, down = "500" }, { from_s = 30, to_s = 40, slow = 10 }]
        """
    )
    settings = scenario.settings
    assert scenario.name == "tried"
    assert (settings.seed, settings.duration_s, settings.requests, settings.layers) == (7, 60, 100, 2)
    assert settings.arrivals == Bursts(size=10, every_s=5)
    assert settings.prompts.complexity == Constant(value=0.3)
    assert settings.prompts.output_tokens == LogNormal(median=100)
    assert (settings.prompts.stream, settings.prompts.model) == (0.5, "a")
    phases = (Phase(from_s=10, to_s=20, down="500"), Phase(from_s=30, to_s=40, slow=10))
    assert settings.upstreams == {"a": UpstreamSettings(latency_s=Constant(value=0.5), rpm=60, phases=phases)}


def test_what_is_said_of_every_upstream_lies_under_each(load):
    (scenario,) = load(
        FLEET
        + """
        [simulate.upstreams."*"]
        latency_s = 0.5
        rpm = 60
        [simulate.upstreams.a]
        rpm = 90
        """
    )
    assert scenario.settings.upstreams["a"] == UpstreamSettings(latency_s=Constant(value=0.5), rpm=90)
    assert scenario.settings.upstreams["*"].rpm == 60


def test_callers_of_a_closed_loop_think(load):
    (scenario,) = load(FLEET + '[simulate]\narrivals = { kind = "closed", callers = 5, think_s = 2 }')
    assert scenario.settings.arrivals == Closed(callers=5, think_s=Constant(value=2))


def test_an_ordinary_configuration_is_tried_in_an_outage_of_its_first_deployment(load):
    (scenario,) = load(FLEET, duration_s=50)
    assert scenario.settings.upstreams == {"a": UpstreamSettings(phases=(OUTAGE,))}
    assert scenario.settings.arrivals == Poisson()
    assert scenario.settings.duration_s == 50


def test_a_configuration_that_is_loaded_already_too(load):
    config = load_config({"deployments": {"x": {"provider": "openai", "model": "gpt-4o"}}})
    (scenario,) = load_scenarios(config, seed=3, requests=None)
    assert scenario.settings.upstreams == {"x": UpstreamSettings(phases=(OUTAGE,))}
    assert scenario.settings.seed == 3
    with pytest.raises(ConfigError, match=r"simulate.duration_s: expected a positive number, not -1"):
        load_scenarios(config, duration_s=-1)


def test_a_scenario_may_lie_over_a_configuration_of_its_own(load, tmp_path):
    (tmp_path / "router.toml").write_text(FLEET + "[router]\ndeadline_s = 5", encoding="utf-8")
    (scenario,) = load(
        """
        [router]
        max_attempts = 2
        [simulate]
        config = "router.toml"
        """
    )
    assert set(scenario.config.deployments) == {"a", "b"}
    assert (scenario.config.router.deadline_s, scenario.config.router.max_attempts) == (5, 2)
    with pytest.raises(ConfigError, match="no such file"):
        load('[simulate]\nconfig = "ruoter.toml"')


def test_variants_differ_from_the_scenario_in_what_they_say(load):
    base, hedged, slow = load(
        FLEET
        + """
        [simulate.upstreams.a]
        latency_s = 0.5
        [variants.hedged.groups.chat]
        hedge = { at = 0.1 }
        [variants.slow.simulate.upstreams.a]
        latency_s = 5
        """,
        requests=10,
    )
    assert [one.name for one in (base, hedged, slow)] == ["tried", "hedged", "slow"]
    assert base.config.groups["chat"].hedge is None
    assert hedged.config.groups["chat"].hedge.at == 0.1
    assert hedged.settings == base.settings
    assert slow.settings.upstreams["a"].latency_s == Constant(value=5)
    assert {one.settings.requests for one in (base, hedged, slow)} == {10}


def test_every_fault_is_told_at_once(faults):
    told = faults(
        """
        [groups.other]
        deployments = ["c"]
        [simulate]
        duration = 60
        arrivals = { kind = "poison" }
        [simulate.prompts]
        complexity = "hard"
        [simulate.upstreams.a]
        latency = 0.5
        phases = [{ from_s = 10, to_s = 50, down = "off" }]
        [variants.other.simulate]
        layers = 0
        """
    )
    assert told == [
        "groups.other.deployments[0]: unknown deployment 'c'; known: a, b",
        "simulate.arrivals.kind: unknown kind 'poison'; did you mean \"poisson\"?",
        f"simulate.prompts.complexity: expected a number or a distribution, not the string 'hard'; {EXAMPLE}",
        "simulate.upstreams.a.phases[0].down: expected refuse, 429, 500, 503 or hang, not the string 'off'",
        'simulate.upstreams.a.latency: unknown key; did you mean "latency_s"?',
        'simulate.duration: unknown key; did you mean "duration_s"?',
        "variants.other.simulate.layers: expected a whole number of 1 or more, not 0",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[simulate.upstreams.c]", "simulate.upstreams.c: unknown deployment 'c'; known: a, b"),
        ('[simulate.prompts]\nmodel = "caht"', "simulate.prompts.model: unknown group or deployment 'caht'; did you"),
        ("[simulate]\nupstreams = 1", "simulate.upstreams: expected a table, not 1"),
        ("[simulate]\nupstreams = { a = 1 }", "simulate.upstreams.a: expected a table, not 1"),
        ("[simulate]\nprompts = 1", "simulate.prompts: expected a table, not 1"),
        ("[simulate]\narrivals = 1", "simulate.arrivals: expected a table, not 1; with kind = "),
        ("[simulate.upstreams.a]\nphases = 1", "simulate.upstreams.a.phases: expected a list of tables, not 1"),
        ("[simulate.upstreams.a]\nphases = [{}]", "simulate.upstreams.a.phases[0].to_s: missing"),
        (
            "[simulate.upstreams.a]\nphases = [{ from_s = 10, to_s = 5 }]",
            "simulate.upstreams.a.phases[0].to_s: 5 is not after from_s, 10",
        ),
        ("[variants]\nx = 1", "variants.x: expected a table, not 1"),
        ("[groups.more]\ndeployments = ['a']", "simulate.prompts.model: nothing says which group is asked; set router"),
    ],
)
def test_each_fault_has_its_path(faults, text, told):
    (fault,) = faults(text)
    assert fault.startswith(told)


def test_tables_are_expected(load):
    for text, told in (("simulate = 1", "simulate: expected a table"), ("variants = 1", "variants: expected a table")):
        with pytest.raises(ConfigError, match=told):
            load(text + FLEET)
    with pytest.raises(ConfigError, match="providers: expected a table, not 1"):
        load("providers = 1" + FLEET)


def test_a_key_of_the_environment_is_not_needed(load, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (scenario,) = load(FLEET + "[simulate]")
    assert scenario.config.deployments["b"].provider == "openai"


@pytest.mark.parametrize("name", shipped())
def test_each_shipped_scenario_says_what_it_shows(name):
    summary = summary_of(shipped()[name])
    assert 40 < len(summary) < 140
    assert summary.endswith(".")
