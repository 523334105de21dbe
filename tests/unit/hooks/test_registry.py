"""Names to factories: registered whole or not at all, and found with the nearest name."""

from __future__ import annotations

import importlib.metadata
import types

import attrs
import pytest
from registered import fault_of, make_word, plugin_of

from asyncrouter.hooks.registry import KINDS, Registry, did_you_mean
from asyncrouter.types.errors import PluginError, PluginLoadError, UnknownStrategy
from asyncrouter.version import VERSION

# ------------------------------------------------------------------ registering


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_door(registry, kind):
    getattr(registry, kind)("word", make_word)
    entry = registry.find(kind, "word")
    assert (entry.kind, entry.name, entry.factory) == (kind, "word", make_word)
    assert (entry.distribution, entry.version, entry.summary) == ("asyncrouter", VERSION, "A word.")
    assert registry.names(kind) == ["word"]
    assert [registry.names(other) for other in KINDS if other != kind] == [[]] * (len(KINDS) - 1)


def test_entries_come_by_kind_and_name(registry):
    registry.plugin("z", make_word)
    registry.estimator("b", make_word)
    registry.estimator("a", make_word)
    registry.judge("m", make_word)
    assert [(entry.kind, entry.name) for entry in registry.entries()] == [
        ("estimator", "a"), ("estimator", "b"), ("judge", "m"), ("plugin", "z")]  # fmt: skip
    assert registry.names("estimator") == ["a", "b"]


def test_a_factory_without_a_docstring_has_no_summary(registry):
    registry.judge("bare", lambda: None)
    assert registry.find("judge", "bare").summary == ""


def test_a_name_is_given_once_per_kind(registry):
    registry.judge("word", make_word)
    registry.selector("word", make_word)
    with pytest.raises(PluginLoadError, match="the judge name 'word' is already taken by asyncrouter; uninstall one"):
        registry.judge("word", make_word)


@pytest.mark.parametrize("name", ["", None, 5, b"word", ["word"]])
def test_a_name_is_a_text(registry, name):
    with pytest.raises(PluginLoadError, match=r"a judge is registered as .*; its name must be a text"):
        registry.judge(name, make_word)
    assert registry.names("judge") == []


@pytest.mark.parametrize("factory", [None, "make_word", 5])
def test_a_factory_can_be_called(registry, factory):
    with pytest.raises(PluginLoadError, match="judge 'word': the factory is not callable"):
        registry.judge("word", factory)


# ------------------------------------------------------------------ registering from a plugin


def test_a_plugin_registers_under_its_distribution(registry):
    registry.register_from(plugin_of(lambda registry: registry.judge("word", make_word)), "asyncrouter-word", "1.2")
    registry.judge("own", make_word)
    entry = registry.find("judge", "word")
    assert (entry.distribution, entry.version) == ("asyncrouter-word", "1.2")
    assert registry.find("judge", "own").distribution == "asyncrouter"


def half_way(registry):
    registry.judge("one", make_word)
    raise ZeroDivisionError("oops")


def takes_a_name(registry):
    registry.judge("one", make_word)
    registry.judge("taken", make_word)


async def waiting(registry):
    registry.judge("one", make_word)


BROKEN = [
    (plugin_of(half_way), "asyncrouter_register failed: ZeroDivisionError: oops"),
    (plugin_of(takes_a_name), "the judge name 'taken' is already taken by asyncrouter"),
    (plugin_of(waiting), "asyncrouter_register must be a plain function, not async"),
    (plugin_of(lambda names: None), "asyncrouter_register failed: TypeError"),
    (types.SimpleNamespace(asyncrouter_register=lambda registry: None), "no @hookimpl asyncrouter_register"),
    (types.SimpleNamespace(asyncrouter_register=5), "no @hookimpl asyncrouter_register"),
    (object(), "no @hookimpl asyncrouter_register"),
]


@pytest.mark.parametrize(("plugin", "message"), BROKEN)
def test_a_broken_plugin_registers_nothing_and_is_named(registry, plugin, message):
    registry.judge("taken", make_word)
    with pytest.raises(PluginLoadError) as caught:
        registry.register_from(plugin, "asyncrouter-word", "1.2")
    assert str(caught.value).startswith(f"asyncrouter-word: {message}")
    assert (caught.value.plugin, caught.value.hook) == ("asyncrouter-word", "asyncrouter_register")
    assert registry.names("judge") == ["taken"]
    registry.judge("after", make_word)
    assert registry.find("judge", "after").distribution == "asyncrouter"


# ------------------------------------------------------------------ installed plugins


@attrs.frozen
class EntryPoint:
    """An entry point of a distribution that is not there."""

    name: str
    plugin: object
    dist: object = attrs.field(default=None)
    value: str = "module_of_the_plugin"

    def load(self):
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


@pytest.fixture
def installed(monkeypatch):
    points, asked = [], []

    def entry_points(*, group):
        asked.append(group)
        return tuple(points)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return types.SimpleNamespace(points=points, asked=asked)


def distribution(name, version="3.1"):
    return types.SimpleNamespace(name=name, version=version)


def test_installed_plugins_are_looked_at_once_and_only_for_a_name_that_is_not_built_in(installed):
    installed.points.append(
        EntryPoint(
            "word", plugin_of(lambda registry: registry.judge("word", make_word)), distribution("asyncrouter-word")
        )
    )
    registry = Registry()
    registry.judge("own", make_word)
    assert registry.find("judge", "own")
    assert installed.asked == []
    entry = registry.find("judge", "word")
    assert (entry.distribution, entry.version) == ("asyncrouter-word", "3.1")
    with pytest.raises(UnknownStrategy):
        registry.find("judge", "other")
    assert installed.asked == ["asyncrouter"]


def test_failing_plugins_are_kept_and_told_and_harm_nobody(installed):
    installed.points += [
        EntryPoint("z", plugin_of(lambda registry: registry.judge("word", make_word)), distribution("asyncrouter-z")),
        EntryPoint("b", object()),
        EntryPoint("a", ImportError("no torch"), distribution("asyncrouter-a")),
    ]
    registry = Registry()
    registry.load_installed()
    assert registry.names("judge") == ["word"]
    assert [str(failure) for failure in registry.failures] == [
        "asyncrouter-a: cannot be imported: ImportError: no torch",
        f"module_of_the_plugin: no @hookimpl asyncrouter_register(registry) in {installed.points[1].plugin!r}",
    ]
    assert [failure.plugin for failure in registry.failures] == ["asyncrouter-a", "module_of_the_plugin"]
    assert all(isinstance(failure, PluginError) and failure.hook for failure in registry.failures)
    with pytest.raises(UnknownStrategy, match=r"plugins that failed to load: asyncrouter-a: .*no torch; module_of"):
        registry.find("judge", "zzz")


def test_a_distribution_without_metadata_has_no_version(installed):
    installed.points.append(EntryPoint("word", plugin_of(lambda registry: registry.judge("word", make_word))))
    entry = Registry().find("judge", "word")
    assert (entry.distribution, entry.version) == ("module_of_the_plugin", "")


# ------------------------------------------------------------------ unknown names


def test_an_unknown_name_tells_the_nearest(registry):
    registry.selector("round_robin", make_word)
    registry.selector("priority", make_word)
    with pytest.raises(UnknownStrategy) as caught:
        registry.find("selector", "round_robbin", "groups.chat.select")
    expected = ("groups.chat.select", "unknown selector 'round_robbin'", 'did you mean "round_robin"?')
    assert fault_of(caught) == expected


def test_an_unknown_name_that_is_near_to_none_tells_all_and_how_to_install_more(registry):
    registry.selector("priority", make_word)
    registry.selector("cost", make_word)
    with pytest.raises(UnknownStrategy, match=r"known: cost, priority; .* pip install asyncrouter-semantic"):
        registry.find("selector", "semantic")


def test_nearest_names():
    assert did_you_mean("prise", ["price", "prize", "limit"]) in {'did you mean "price"?', 'did you mean "prize"?'}
    assert did_you_mean("xyz", ["price"]) == ""
    assert did_you_mean("xyz", []) == ""
