"""The documents and the code say the same: nothing public is undocumented, and no link or path leads nowhere."""

from __future__ import annotations

import ast
import inspect
import re

import attrs
import pytest
from pages import PAGES, ROOT, anchors, blocks, links, named_in, prose, section

import asyncrouter
from asyncrouter.assembler import builtin_registry
from asyncrouter.cli.app import app
from asyncrouter.cli.lab import lab
from asyncrouter.config import schema
from asyncrouter.config.two_model import AGENT_KEYS
from asyncrouter.hooks.manager import ARGUMENTS, ASYNC_HOOKS, HOOKS
from asyncrouter.hooks.specs import HookSpecs
from asyncrouter.lab.simulation.arrivals import KINDS as ARRIVALS
from asyncrouter.lab.simulation.draws import KINDS as DRAWS
from asyncrouter.lab.simulation.loading import shipped
from asyncrouter.lab.simulation.schema import Phase, PromptSettings, SimulationSettings, UpstreamSettings
from asyncrouter.router import AgentRouter, Calls, Router
from asyncrouter.telemetry.outcomes import LoggedCall
from asyncrouter.types import decisions, deployments, errors, events, metrics, response, trace
from asyncrouter.types.errors import AsyncRouterError, ConfigFault, Disposition, ProviderError

LONGEST_README = 180
COLD = {"asyncrouter_register", "asyncrouter_startup", "asyncrouter_shutdown"}
FOLDS = {"asyncrouter_transform", "asyncrouter_filter"}
ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, AsyncRouterError) and kind.__module__ == errors.__name__
}


def implementations_in(source):
    """Return the names of the hooks that *source* implements: functions marked with ``hookimpl``."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any("hookimpl" in ast.dump(mark) for mark in node.decorator_list)
    }


# ------------------------------------------------------------------------------------------------ hooks


def kind_of(hook):
    if getattr(HookSpecs, hook).asyncrouter_spec["firstresult"]:
        return "first answer"
    if "_around_" in hook:
        return "onion"
    return "fold" if hook in FOLDS else "all"


def row_of(hook):
    (row,) = re.findall(rf"^\| \[`{hook}`\]\(#{hook}\) \| (.*) \|$", PAGES["docs/hooks.md"], re.MULTILINE)
    return row.split(" | ")


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_its_section_with_its_arguments_in_order(hook):
    text = section("docs/hooks.md", f"## {hook}")
    marker, arguments = re.match(rf"\s*`(async )?{hook}\(([\w, ]*)\)", text).groups()
    assert tuple(arguments.split(", ")) == ARGUMENTS[hook]
    assert bool(marker) is (hook in ASYNC_HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_tells_its_kind_its_none_its_streams_and_its_failures(hook):
    text = section("docs/hooks.md", f"## {hook}")
    kind, written, _streams, _fails = row_of(hook)
    assert kind == kind_of(hook)
    assert ("async" in written) is (hook in ASYNC_HOOKS or hook.endswith("_stream"))
    assert "**Runs**" in text
    assert "**Streams**" in text
    assert re.search(r"\*\*[Ff]ails", text)
    if hook not in COLD:
        assert f"**Kind**: {kind}" in text
        assert "None" in text or "What it returns is ignored" in text


def test_what_fails_open_is_what_the_specifications_say():
    open_hooks = {hook for hook in HOOKS if row_of(hook)[-1] == "**open**"}
    assert open_hooks == {hook for hook in HOOKS if "Fails open" in inspect.getdoc(getattr(HookSpecs, hook))}
    for hook in open_hooks:
        assert "**Fails open**" in section("docs/hooks.md", f"## {hook}")


def test_each_hook_has_an_example():
    shown = {hook for block in blocks("docs/hooks.md", "python") for hook in implementations_in(block.code)}
    assert shown >= set(HOOKS)


def test_the_table_of_the_plugins_page_has_the_hooks_arguments():
    named = re.findall(r"`(?:async )?(asyncrouter_\w+)\(([\w, ]*)\)`", PAGES["docs/plugins.md"])
    assert named
    for hook, arguments in named:
        assert tuple(arguments.split(", ")) == ARGUMENTS[hook]


def test_each_hook_is_implemented_by_a_test():
    implemented = {
        hook for path in (ROOT / "tests").rglob("*.py") for hook in implementations_in(path.read_text(encoding="utf-8"))
    }
    assert set(HOOKS) - implemented == set()


def test_each_event_has_its_row():
    kinds = [kind for kind in vars(events).values() if getattr(kind, "__module__", "") == events.__name__]
    text = section("docs/hooks.md", "## asyncrouter_observe")
    for kind in filter(attrs.has, kinds):
        (row,) = re.findall(rf"^\| `{kind.__name__}` \| .*$", text, re.MULTILINE)
        assert {field.name for field in attrs.fields(kind)} <= named_in(row)


# ------------------------------------------------------------------------------------------------ errors


def test_the_tree_of_errors_is_the_tree():
    (tree,) = (block.code for block in blocks("docs/errors.md", "text") if "├─" in block.code)
    drawn, above = {}, []
    for line in tree.splitlines():
        indent, name, family = re.match(r"([│├└─ ]*)(\w+)(?: \((\w+)\))?", line).groups()
        above = [(depth, parent) for depth, parent in above if depth < len(indent)]
        drawn[name] = tuple(filter(None, (above[-1][1] if above else "Exception", family)))
        above.append((len(indent), name))
    assert drawn == {name: tuple(base.__name__ for base in kind.__bases__) for name, kind in ERRORS.items()}


@pytest.mark.parametrize("kind", ERRORS.values(), ids=ERRORS)
def test_each_error_has_its_row_and_its_attributes(kind):
    page = PAGES["docs/errors.md"]
    (row,) = re.findall(rf"^\| `{kind.__name__}` \| (.*) \|$", page, re.MULTILINE)
    if issubclass(kind, ProviderError):
        assert row.endswith(f"| {kind.default_disposition.name}")
    attributes = set(vars(kind("message")))
    assert attributes <= named_in(page)
    assert {field.name for field in attrs.fields(ConfigFault)} <= named_in(page)


def test_each_disposition_has_its_row():
    for one in Disposition:
        assert f"\n| `{one.name}` | " in PAGES["docs/errors.md"]


def test_every_error_is_exported():
    assert set(ERRORS) <= set(asyncrouter.__all__)


# ------------------------------------------------------------------------------------------------ names


def test_every_public_name_is_told_of():
    told = set().union(*map(re.compile(r"\w+").findall, PAGES.values()))
    assert set(asyncrouter.__all__) - told - {"__version__"} == set()


@pytest.mark.parametrize("entry", builtin_registry().entries(), ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_each_built_in_name_is_documented(entry):
    assert entry.name in named_in(PAGES["docs/configuration.md"])
    assert entry.summary


@pytest.mark.parametrize(
    "kind", [*filter(attrs.has, vars(schema).values()), *schema.RULES], ids=lambda one: one.__name__
)
def test_each_configuration_key_is_documented(kind):
    inner = {"options", "instance", "laid_over"} if kind in {schema.ProviderSettings, schema.StrategySpec} else set()
    assert {field.name for field in attrs.fields(kind)} - inner <= named_in(PAGES["docs/configuration.md"])


def test_each_key_of_the_original_dictionary_is_documented():
    assert {*AGENT_KEYS, *AGENT_KEYS.values()} <= named_in(PAGES["docs/configuration.md"])


@pytest.mark.parametrize("name", app.commands)
def test_each_command_is_documented_with_its_options(name):
    assert re.search(rf"^\| `asyncrouter {name}\b", PAGES["README.md"], re.MULTILINE)
    assert re.search(rf"^\| \[`{name}`\]\(#", PAGES["docs/cli.md"], re.MULTILINE)
    for parameter in app.commands[name].params:
        for option in parameter.opts:
            assert not option.startswith("-") or f"`{option}" in PAGES["docs/cli.md"], option


@pytest.mark.parametrize("name", lab.commands)
def test_each_command_of_the_lab_is_documented_with_its_options(name):
    assert re.search(rf"^\| `asyncrouter lab {name}\b", PAGES["README.md"], re.MULTILINE)
    for page in ("docs/cli.md", "docs/lab.md"):
        options = {option for parameter in lab.commands[name].params for option in parameter.opts}
        named = {option for option in options if option.startswith("-")}
        assert {option for option in named if f"`{option}" not in PAGES[page]} == set(), page


@pytest.mark.parametrize(
    "kind", [SimulationSettings, PromptSettings, UpstreamSettings, Phase, *DRAWS.values(), *ARRIVALS.values()]
)
def test_each_key_of_a_scenario_is_documented(kind):
    written = section("docs/lab.md", "## A scenario")
    assert {field.name for field in attrs.fields(kind) if not field.name.startswith("_")} <= named_in(written)


@pytest.mark.parametrize("name", shipped())
def test_each_shipped_scenario_is_documented(name):
    assert f"\n| `{name}` | " in PAGES["docs/lab.md"]


@pytest.mark.parametrize("door", [Router, AgentRouter, Calls])
def test_each_method_of_the_router_is_documented(door):
    not_for_callers = {"enter", "plan", "agent_plan"}
    methods = {name for name, value in vars(door).items() if not name.startswith("_") and callable(value)}
    assert methods - not_for_callers <= named_in(PAGES["docs/router.md"])


@pytest.mark.parametrize(
    "kind",
    [
        response.Response,
        response.Usage,
        response.Chunk,
        trace.RouteTrace,
        trace.Attempt,
        decisions.Estimate,
        decisions.Selection,
        decisions.Decision,
        decisions.Ranked,
        metrics.Metrics,
        metrics.DeploymentMetrics,
        metrics.AgentMetrics,
        metrics.LatencyQuantiles,
        metrics.Savings,
        metrics.ShadowMetrics,
    ],
)
def test_each_field_of_what_comes_back_is_documented(kind):
    properties = {name for name, value in vars(kind).items() if isinstance(value, property)}
    fields = {field.name.lstrip("_") for field in attrs.fields(kind)} | properties
    assert fields - {"is_output"} <= named_in(PAGES["docs/router.md"])


def test_each_column_of_the_outcome_log_is_documented():
    told = named_in(section("docs/outcomes.md", "## What is written"))
    assert {field.name for field in attrs.fields(LoggedCall)} <= told


def test_each_way_an_attempt_is_made_and_ends_is_documented():
    ends = {one.value for one in trace.Outcome} - {trace.Outcome.SKIPPED.value}  # never part of a trace
    assert ends | {one.value for one in trace.AttemptKind} <= named_in(section("docs/router.md", "## The trace"))


def test_each_field_of_a_deployments_view_is_documented():
    views = (deployments.DeploymentView, deployments.FleetView)
    fields = {name for view in views for name in {*vars(view), *view.__annotations__} if not name.startswith("_")}
    assert fields <= named_in(section("docs/hooks.md", "## asyncrouter_select"))


# ------------------------------------------------------------------------------------------------ links and paths


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES)
def test_no_link_leads_nowhere(page):
    for target in links(page):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.resolve().relative_to(ROOT).as_posix()), target


def test_every_page_can_be_reached_from_the_readme():
    assert {page for page in PAGES if page.startswith("docs/") or "/" not in page} - {"README.md"} <= set(
        links("README.md")
    )


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "CHANGELOG.md"])
def test_each_path_exists(page):
    code = re.findall(r"`([^`\n]+)`", prose(page))
    paths = [
        word
        for text in code
        for word in text.split()
        if re.match(r"(asyncrouter|plugins|tests|docs|benchmarks)/\w", word)
    ]
    assert paths or page in {"README.md", "CHANGELOG.md"}
    for path in paths:
        assert (ROOT / path).exists(), path


def test_the_architecture_says_what_to_open_for_each_family():
    opened = re.findall(r"`(asyncrouter/[\w./]+)`", section("ARCHITECTURE.md", "## To change X, open Y"))
    folders = {path.split("/")[1] for path in opened}
    packages = {path.name for path in (ROOT / "asyncrouter").iterdir() if (path / "__init__.py").exists()}
    assert packages - {"examples"} <= folders
