from __future__ import annotations

import ast
import pathlib

import pytest

from asyncrouter.hooks.manager import HookManager
from asyncrouter.hooks.pipeline import compile_pipeline
from asyncrouter.hooks.registry import Registry
from asyncrouter.strategies import builtin
from asyncrouter.types.errors import ConfigError

NAMES = {
    "estimator": ["constant", "heuristic"],
    "selector": ["complexity", "cost", "latency", "least_busy", "priority", "round_robin", "weighted"],
    "retry": ["exponential", "none"],
    "fallback": ["content_filter", "group_chain", "larger_context", "next"],
    "filter": ["capability", "context_window", "cooldown"],
}
EVERY = [(kind, name) for kind, names in NAMES.items() for name in names]
HOOKS = {"estimator": "estimate", "selector": "select"}


@pytest.fixture
def registry():
    registry = Registry()
    registry.register_from(builtin, "asyncrouter", "0")
    return registry


def make(registry, kind, name):
    return registry.make(kind, name, {"groups": ["x"]} if name == "group_chain" else {})


def test_the_names_are_these(registry):
    assert {kind: registry.names(kind) for kind in NAMES} == NAMES
    assert len(registry.entries()) == len(EVERY)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_one_has_a_summary_and_its_hook_tried_last(registry, kind, name):
    assert registry.find(kind, name).summary.endswith(".")
    strategy = make(registry, kind, name)
    hook = getattr(strategy, f"asyncrouter_{HOOKS.get(kind, kind)}")
    assert hook.asyncrouter_impl["trylast"]
    assert HookManager().register(strategy, name) == name


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_unknown_options_are_refused_by_name(registry, kind, name):
    with pytest.raises(ConfigError, match=r"groups\.chat\.x\.bogus: unknown key"):
        registry.make(kind, name, {"bogus": 1}, "groups.chat.x")


def test_a_wrong_option_names_its_place(registry):
    message = r"^groups\.chat\.select\.threshold: expected a number from 0 to 1, not 1\.5$"
    with pytest.raises(ConfigError, match=message):
        registry.make("selector", "complexity", {"threshold": 1.5}, "groups.chat.select")


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_two_alike_can_stand_in_one_manager(registry, kind, name):
    manager = HookManager()
    manager.register(make(registry, kind, name), "one")
    manager.register(make(registry, kind, name), "two")


async def test_a_whole_decision_through_the_pipeline(registry, deploy, fleet, ask):
    manager = HookManager()
    for kind, name in [
        ("estimator", "heuristic"),
        ("selector", "complexity"),
        *(("filter", name) for name in NAMES["filter"]),
    ]:
        manager.register(make(registry, kind, name), f"{kind}:{name}")
    pipeline = compile_pipeline(manager, print)
    candidates, state = deploy("weak", "strong", context_window=8000), fleet()
    firsts = []
    for prompt in ("hi", "Prove step by step that there are infinitely many primes."):
        request = ask(prompt)
        estimate = pipeline.estimate(request, None)
        left = pipeline.filter(request, candidates, state)
        selection = pipeline.select(request, estimate, left, state)
        firsts.append(selection.deployments[0].name)
    assert firsts == ["weak", "strong"]


def test_strategies_import_what_a_strangers_plugin_may():
    root = pathlib.Path(builtin.__file__).parent
    allowed = ("asyncrouter.types", "asyncrouter.hooks.markers", "asyncrouter.hooks.options", "asyncrouter.strategies")
    texts = {"hashlib", "json", "re"}
    allowed_outside = texts | {"__future__", "attrs", "bisect", "collections", "functools", "heapq"}
    allowed_outside |= {"itertools", "math", "random", "typing"}
    modules = sorted(root.rglob("*.py"))
    assert len(modules) > 15
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed_outside, path
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                assert (
                    module.startswith(allowed)
                    or (module == "asyncrouter.hooks" and {alias.name for alias in node.names} == {"options"})
                    or module.split(".")[0] in allowed_outside
                    or (path.name == "builtin.py" and module == "asyncrouter.hooks.registry")
                ), (path, module)
