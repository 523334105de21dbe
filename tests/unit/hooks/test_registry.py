"""Names to factories: registered whole or not at all, found with the nearest name, made with checked options."""

from __future__ import annotations

import importlib.metadata
import types

import attrs
import pytest

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.registry import KINDS, Registry, did_you_mean
from asyncrouter.types.errors import (
    ConfigError,
    ConfigFault,
    InvalidRequest,
    PluginError,
    PluginLoadError,
    UnknownStrategy,
)
from asyncrouter.version import VERSION


def make_word(*, share=0.5, name=""):
    """A word.

    With more text.
    """
    return share, name


@pytest.fixture
def registry():
    """Return a registry that looks at no installed plugin."""
    made = Registry()
    made._installed_loaded = True
    return made


def plugin_of(function):
    return types.SimpleNamespace(asyncrouter_register=hookimpl(function))


def fault_of(caught):
    (fault,) = caught.value.faults
    return fault.path, fault.message, fault.cure


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


# ------------------------------------------------------------------ making


@attrs.frozen(kw_only=True)
class Word:
    """A word."""

    share: float = attrs.field(default=0.5, validator=attrs.validators.le(1.0))
    length: int


def needs(**options):
    return options


class Callable:
    def __call__(self, share=1):
        return share


def test_a_factory_gets_its_options_and_what_the_caller_adds(registry):
    registry.provider("word", make_word)
    assert registry.make("provider", "word", {"share": 0.1}, "providers.p", name="p") == (0.1, "p")
    registry.judge("word", Word)
    assert registry.make("judge", "word", {"length": 3}) == Word(length=3)
    registry.judge("anything", needs)
    assert registry.make("judge", "anything", {"a": 1}) == {"a": 1}
    registry.judge("object", Callable())
    assert registry.make("judge", "object", {"share": 2}) == 2


def make_fault(registry, options, path="groups.chat.judge", **given):
    with pytest.raises(ConfigError) as caught:
        registry.make("judge", "word", options, path, **given)
    return fault_of(caught)


def test_an_unknown_option_names_its_path_and_the_nearest(registry):
    registry.judge("word", Word)
    assert make_fault(registry, {"shore": 1, "length": 1}) == (
        "groups.chat.judge.shore", "unknown key", 'did you mean "share"?')  # fmt: skip
    assert make_fault(registry, {"zzz": 1, "length": 1}, path="") == ("zzz", "unknown key", "known: share, length")
    assert make_fault(registry, {1: 2, "length": 1})[0] == "groups.chat.judge.1"


def test_all_unknown_options_are_told_at_once(registry):
    registry.judge("word", lambda: None)
    with pytest.raises(ConfigError) as caught:
        registry.make("judge", "word", {"a": 1, "b": 2}, "j")
    assert [str(fault) for fault in caught.value.faults] == [
        "j.a: unknown key; known: none",
        "j.b: unknown key; known: none",
    ]


def test_what_the_caller_adds_is_no_option(registry):
    registry.judge("word", make_word)
    assert make_fault(registry, {"name": "x"}, name="p")[:2] == ("groups.chat.judge.name", "unknown key")


def test_a_missing_or_wrong_option_names_the_path(registry):
    registry.judge("word", Word)
    path, message, _cure = make_fault(registry, {})
    assert path == "groups.chat.judge"
    assert "length" in message
    path, message, _cure = make_fault(registry, {"length": 1, "share": 2.0})
    assert (path, "'share' must be <= 1.0: 2.0" in message) == ("groups.chat.judge", True)


def raising(error):
    def factory():
        raise error

    return factory


def test_a_factorys_own_faults_stand_under_its_path(registry):
    registry.judge("word", raising(ConfigError(faults=[ConfigFault("model", "no such file", "get it")])))
    assert make_fault(registry, {}) == ("groups.chat.judge.model", "no such file", "get it")


def test_a_factorys_own_message_is_not_lost(registry):
    registry.judge("word", raising(ConfigError("set WORD_KEY")))
    assert make_fault(registry, {}) == ("groups.chat.judge", "set WORD_KEY", "")


@pytest.mark.parametrize("error", [ImportError("no torch"), OSError("no file"), KeyError("x"), ZeroDivisionError()])
def test_a_factory_that_fails_otherwise_is_named_with_its_distribution(registry, error):
    registry.register_from(
        plugin_of(lambda registry: registry.judge("word", raising(error))), "asyncrouter-word", "1.0"
    )
    with pytest.raises(
        PluginLoadError, match=rf"asyncrouter-word: judge 'word' cannot be made: {type(error).__name__}"
    ):
        registry.make("judge", "word", {}, "groups.chat.judge")


def test_the_routers_own_errors_pass(registry):
    registry.judge("word", raising(InvalidRequest("no")))
    with pytest.raises(InvalidRequest):
        registry.make("judge", "word", {})


def test_a_factory_that_hides_its_signature_is_simply_called(registry):
    registry.judge("word", dict)
    assert registry.make("judge", "word", {"a": 1}) == {"a": 1}
    registry.plugin("word", type)
    with pytest.raises(ConfigError, match=r"^router\.plugins\[0\]: plugin 'word': type\(\)"):
        registry.make("plugin", "word", {"a": 1}, "router.plugins[0]")


def test_two_registries_share_nothing(registry):
    registry.judge("word", make_word)
    assert Registry().entries() == []


# ------------------------------------------------------------------ extending a built-in name


def make_more(*, budget=1.0):
    """A word with a budget."""
    return "more", budget


@pytest.fixture
def extended(registry):
    """Return a registry whose selector ``word`` may be extended."""
    registry.selector("word", make_word, extended_by="asyncrouter-word")
    return registry


def test_options_that_the_built_in_lacks_lead_to_its_extension(extended):
    extended.register_from(plugin_of(lambda registry: registry.selector("word", make_more)), "asyncrouter-word", "2")
    assert extended.make("selector", "word", {}) == (0.5, "")
    assert extended.make("selector", "word", {"share": 1}) == (1, "")
    assert extended.make("selector", "word", {"budget": 3}) == ("more", 3)
    assert [(one.distribution, one.summary) for one in extended.entries()] == [
        ("asyncrouter", "A word."),
        ("asyncrouter-word", "A word with a budget."),
    ]


def test_the_extension_refuses_what_it_does_not_know(extended):
    extended.register_from(plugin_of(lambda registry: registry.selector("word", make_more)), "asyncrouter-word", "2")
    with pytest.raises(ConfigError) as caught:
        extended.make("selector", "word", {"budgte": 3}, "g")
    assert fault_of(caught) == ("g.budgte", "unknown key", 'did you mean "budget"?')


def test_without_the_extension_the_error_says_how_to_get_it(extended):
    with pytest.raises(ConfigError) as caught:
        extended.make("selector", "word", {"budget": 3}, "g")
    path, message, cure = fault_of(caught)
    assert (path, message) == ("g.budget", "unknown key")
    assert cure == "known: share, name; more options with pip install asyncrouter-word"


def test_nobody_else_extends_it_and_nobody_twice(extended):
    plugin = plugin_of(lambda registry: registry.selector("word", make_more))
    with pytest.raises(PluginLoadError, match="already taken by asyncrouter;"):
        extended.register_from(plugin, "asyncrouter-other", "1")
    extended.register_from(plugin, "asyncrouter-word", "1")
    with pytest.raises(PluginLoadError, match="already taken by asyncrouter-word;"):
        extended.register_from(plugin, "asyncrouter-word", "1")


def test_an_extension_that_fails_halfway_is_not_registered(extended):
    def register(registry):
        registry.selector("word", make_more)
        raise RuntimeError("halfway")

    with pytest.raises(PluginLoadError, match="halfway"):
        extended.register_from(plugin_of(register), "asyncrouter-word", "1")
    assert [one.distribution for one in extended.entries()] == ["asyncrouter"]
