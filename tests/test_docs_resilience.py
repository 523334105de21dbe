"""The numbers of docs/resilience.md are those that ship, and its figures those of the last run."""

from __future__ import annotations

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
