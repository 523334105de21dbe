"""Installed plugins: found by name, inactive until named, and harmless when broken."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from distributions import installing_in

from asyncrouter.assembler import builtin_registry
from asyncrouter.hooks.registry import KINDS, Registry
from asyncrouter.router import Router
from asyncrouter.testing import FakeProvider
from asyncrouter.types.errors import ConfigError, PluginLoadError, UnknownStrategy


def config(**group):
    deployments = {name: {"provider": "fake", "model": name} for name in "abc"}
    return {
        "router": {"default": "chat"},
        "providers": {"fake": FakeProvider()},
        "deployments": deployments,
        "groups": {"chat": {"deployments": list(deployments), "select": "priority", **group}},
    }


# ---------------------------------------------------------------------------------------------- the demo distribution


def test_the_demo_plugin_is_installed():
    assert importlib.metadata.version("asyncrouter-demo") == "1.2.3"
    (point,) = importlib.metadata.distribution("asyncrouter-demo").entry_points
    assert (point.group, point.name, point.value) == ("asyncrouter", "demo", "asyncrouter_demo")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("registry", [Registry, builtin_registry])
def test_it_is_found_by_name(registry, kind):
    entry = registry().find(kind, "demo")
    assert (entry.kind, entry.name, entry.distribution, entry.version) == (kind, "demo", "asyncrouter-demo", "1.2.3")
    assert entry.summary.endswith(".")


def test_built_in_names_are_found_without_it():
    registry = builtin_registry()
    assert registry.find("selector", "priority").distribution == "asyncrouter"
    assert "demo" not in registry.names("selector")


async def test_installing_does_not_activate_it():
    async with Router.from_config(config()) as router:
        replies = [await router.generate("hi", session=f"s{number}") for number in range(10)]
    assert {reply.deployment for reply in replies} == {"a"}
    assert {reply.trace.selection.reason for reply in replies} == {"configured order"}


def test_installing_does_not_even_import_it():
    code = """
import asyncio, sys
from asyncrouter.router import Router
from asyncrouter.testing import FakeProvider

async def main():
    config = {
        "router": {"default": "chat"},
        "providers": {"fake": FakeProvider()},
        "deployments": {"a": {"provider": "fake", "model": "m"}},
        "groups": {"chat": {"deployments": ["a"]}},
    }
    async with Router.from_config(config) as router:
        print((await router.generate("hi")).text, "asyncrouter_demo" in sys.modules)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("ok False\n", "")


async def test_naming_it_activates_it():
    async with Router.from_config(config(select="demo")) as router:
        homes = {}
        for number in range(20):
            for _ in range(2):
                reply = await router.generate("hi", session=f"s{number}")
                assert homes.setdefault(number, reply.deployment) == reply.deployment
    assert set(homes.values()) == {"a", "b", "c"}
    assert reply.trace.selection.reason.startswith("the session's own deployment")


# ---------------------------------------------------------------------------------------------- broken distributions

BROKEN = {
    "a failing import": (
        "import no_such_module_at_all\n",
        "ModuleNotFoundError: No module named",
    ),
    "an import that raises": ("raise SystemError('boom')\n", "SystemError: boom"),
    "no register hook": ("x = 1\n", "no @hookimpl asyncrouter_register"),
    "a register hook without the mark": ("def asyncrouter_register(registry): pass\n", "no @hookimpl"),
    "a wrong signature": ("@hookimpl\ndef asyncrouter_register(names): pass\n", "TypeError"),
    "a duplicate name": (
        "@hookimpl\ndef asyncrouter_register(registry):\n    registry.selector('demo', object)\n",
        "the selector name 'demo' is already taken by asyncrouter-demo; uninstall one of the two",
    ),
    "a built-in's name": (
        "@hookimpl\ndef asyncrouter_register(registry):\n    registry.selector('priority', object)\n",
        "the selector name 'priority' is already taken by asyncrouter;",
    ),
    "no factory": (
        "@hookimpl\ndef asyncrouter_register(registry):\n    registry.selector('zed', 'nothing')\n",
        "selector 'zed': the factory is not callable",
    ),
    "halfway": (
        "@hookimpl\ndef asyncrouter_register(registry):\n    registry.judge('zed', object)\n    1 / 0\n",
        "ZeroDivisionError",
    ),
}


@pytest.fixture
def install(tmp_path):
    with installing_in(tmp_path) as install:
        yield install


@pytest.mark.parametrize(("source", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_and_harms_nothing(install, source, message):
    install("asyncrouter-zed", source)
    registry = builtin_registry()
    registry.load_installed()
    (failure,) = registry.failures
    assert isinstance(failure, PluginLoadError)
    assert failure.plugin == "asyncrouter-zed"
    assert str(failure).startswith("asyncrouter-zed: ")
    assert message in str(failure)
    assert "zed" not in {entry.name for entry in registry.entries()}
    assert registry.find("selector", "demo").distribution == "asyncrouter-demo"
    assert registry.find("selector", "priority").distribution == "asyncrouter"


def test_a_missing_name_tells_of_the_plugin_that_failed(install):
    install("asyncrouter-zed", "import no_such_module_at_all\n")
    with pytest.raises(UnknownStrategy, match=r"unknown selector 'zed'; .*failed to load: asyncrouter-zed: .*no_such"):
        builtin_registry().find("selector", "zed")


async def test_a_router_without_the_broken_plugin_stays_usable(install):
    install("asyncrouter-zed", "import no_such_module_at_all\n")
    with pytest.raises(ConfigError, match=r"groups\.chat\.select.*asyncrouter-zed"):
        Router.from_config(config(select="zed"))
    async with Router.from_config(config(select="demo")) as router:
        assert (await router.generate("hi")).text == "ok"


def test_two_distributions_with_one_entry_point_name_are_both_seen(install):
    install("asyncrouter-one", "@hookimpl\ndef asyncrouter_register(registry):\n    registry.judge('one', object)\n",
            entry_points="same = asyncrouter_one")  # fmt: skip
    install("asyncrouter-two", "@hookimpl\ndef asyncrouter_register(registry):\n    registry.judge('two', object)\n",
            entry_points="same = asyncrouter_two")  # fmt: skip
    registry = Registry()
    assert registry.find("judge", "one").distribution == "asyncrouter-one"
    assert registry.find("judge", "two").distribution == "asyncrouter-two"
