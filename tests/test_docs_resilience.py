"""The numbers of docs/resilience.md are those that ship, and its figures those of the last run."""

from __future__ import annotations

import json
import re

import attrs
import pytest
from pages import PAGES, ROOT, section

from asyncrouter.config.schema import HedgeSettings, RouterSettings
from asyncrouter.strategies.retries.exponential import ExponentialRetry
from asyncrouter.types.deployments import BreakerSettings, Limits, ModelGroup, Timeouts

PAGE = "docs/resilience.md"
KINDS = {
    "router": RouterSettings,
    "group": ModelGroup,
    "retry": ExponentialRetry,
    "breaker": BreakerSettings,
    "timeouts": Timeouts,
    "hedge": HedgeSettings,
    "limits": Limits,
}
WHOLE = ("retry", "breaker", "timeouts", "hedge")
"""Those of which every field has its row."""
ROWS = dict(
    re.findall(
        r"^\| `([\w.]+)` \| (\S+) \| \S", section(PAGE, "## The numbers, and where they come from"), re.MULTILINE
    )
)


@pytest.mark.parametrize("name", ROWS)
def test_a_default_is_the_one_that_ships(name):
    kind, _dot, field = name.partition(".")
    default = getattr(attrs.fields(KINDS[kind]), field).default
    assert ROWS[name] == ("none" if default is None else str(default).lower().removesuffix(".0"))


@pytest.mark.parametrize("kind", WHOLE)
def test_every_default_has_its_reason(kind):
    assert {f"{kind}.{field.name}" for field in attrs.fields(KINDS[kind])} <= ROWS.keys()


def test_the_pictures_are_drawings():
    for name in re.findall(r"!\[[^\]]+\]\((\S+\.svg)\)", PAGES[PAGE]):
        assert (ROOT / "docs" / name).read_text(encoding="utf-8").startswith("<svg ")


RESULTS = json.loads((ROOT / "benchmarks" / "results" / "failures.json").read_text(encoding="utf-8"))
MEASURED = section(PAGE, "### Beside another router")
EXCERPT = re.findall(r"^\| ([^|]+) \| ([\d][^|]+) \| ([^|]+) \|$", MEASURED, re.MULTILINE)


def in_short(scenario, contestant):
    (row,) = (one for one in RESULTS["rows"] if (one["scenario"], one["contestant"]) == (scenario, contestant))
    times = f"{row['p50_s'] * 1e3:.0f}; {row['worst_s'] * 1e3:.0f}"
    return f"{row['answered']} of {row['requests']}; {row['upstream_calls_per_request']:.2f}; {times}"


def test_the_excerpt_is_of_the_last_run():
    assert len(EXCERPT) > 5
    for scenario, own, rival in EXCERPT:
        assert (own, rival) == (in_short(scenario, "asyncrouter"), in_short(scenario, "LiteLLM")), scenario


def test_every_scenario_in_which_the_rival_does_better_is_named():
    worse = {one["scenario"] for one in RESULTS["rival_is_better"]}
    assert worse <= set(re.findall(r"^- \*([^*]+)\*", MEASURED, re.MULTILINE))
