"""The page docs/configuration.md: its examples run, and it names every key, every strategy and every option."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import attrs
import pytest

from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.config.schema import (
    RULES,
    AgentSettings,
    DeploymentSettings,
    GroupSettings,
    RouterSettings,
    TwoModelSettings,
)
from asyncrouter.hooks.registry import Registry
from asyncrouter.providers.builtin import asyncrouter_register as register_providers
from asyncrouter.providers.presets import PRESETS
from asyncrouter.strategies.builtin import asyncrouter_register

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def blocks(*languages: str) -> list[str]:
    return [text for language, text in BLOCKS if language in languages]


def rows(heading: str) -> dict[str, str]:
    """Return the first table's rows after a heading (or a line) by their key."""
    lines = PAGE[PAGE.index(f"\n{heading}") :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| key |"))
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        found[cells[0].strip("`")] = " | ".join(cells[1:])
    return found


@pytest.mark.parametrize(("language", "text"), [b for b in BLOCKS if b[0] in {"toml", "yaml", "json"}])
def test_each_configuration_is_valid(tmp_path, language, text):
    path = tmp_path / f"asyncrouter.{language}"
    path.write_text(text, encoding="utf-8")
    assert build_catalogue(load_config(path)).resolve("chat").group.name == "chat"


@pytest.mark.parametrize("text", blocks("python"))
def test_each_example_runs(text, capsys):
    exec(compile(text, "docs/configuration.md", "exec"), {})  # noqa: S102 - the page is ours
    printed = capsys.readouterr().out
    assert printed in {"", *blocks("text")}


def test_there_are_examples():
    assert len(blocks("toml")) >= 2
    assert len(blocks("python")) >= 3
    assert len(blocks("text")) == 1


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("### router", RouterSettings),
        ("### deployments", DeploymentSettings),
        ("### groups", GroupSettings),
        ("### agents", AgentSettings),
        ("## The two-model form", TwoModelSettings),
    ],
)
def test_each_key_has_its_row(heading, kind):
    documented = rows(heading)
    assert set(documented) == {field.name for field in attrs.fields(kind)}
    required = {field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING}
    assert {key for key, row in documented.items() if "required |" in row} == required
    for field in attrs.fields(kind):
        if type(field.default) in {int, float}:
            assert f"| {field.default:g} |" in documented[field.name], field.name


@pytest.mark.parametrize("kind", RULES)
def test_the_keys_of_the_smaller_tables_are_named_with_their_defaults(kind):
    for field in attrs.fields(kind):
        assert f"`{field.name}`" in PAGE
        if kind.__name__ in {"Timeouts", "BreakerSettings", "HedgeSettings"}:
            default = f"{field.default:g}" if isinstance(field.default, (int, float)) else f'`"{field.default}"`'
            default = "none" if field.default is None else default
            assert f"| `{field.name}` | {default} |" in PAGE


def test_each_strategy_is_named_with_its_options():
    registry = Registry()
    asyncrouter_register(registry)
    section = PAGE[PAGE.index("\n## Strategies") : PAGE.index("\n## Names of models")]
    for entry in registry.entries():
        if entry.kind == "fallback":  # made from the group's own keys
            assert f"`{entry.name}`" in section
            continue
        row = next(line for line in section.splitlines() if line.startswith("|") and f"| `{entry.name}` |" in line)
        for option in inspect.signature(entry.factory).parameters:
            assert f"`{option}`" in row, (entry.name, option)


def test_each_preset_has_its_row():
    section = PAGE[PAGE.index("#### Presets") : PAGE.index("### deployments")]
    rows = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", section, re.MULTILINE)}
    assert set(rows) == set(PRESETS)
    for name, (address, key) in rows.items():
        preset = PRESETS[name]
        assert f"`{preset.base_url or 'base_url'}`" in address
        assert key == (f"`{preset.key_env}`" if preset.key_env else "none needed")


def test_each_option_of_a_preset_is_named():
    registry = Registry()
    register_providers(registry)
    table = PAGE[PAGE.index("Options of `openai`") : PAGE.index("#### Presets")]
    for option in set(inspect.signature(registry.find("provider", "openai").factory).parameters) - {"name"}:
        assert f"`{option}`" in table, option
