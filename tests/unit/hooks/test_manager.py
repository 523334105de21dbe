"""The plugin manager: what it accepts in which shapes, and what it refuses, naming plugin and hook."""

from __future__ import annotations

import functools
import inspect
import types

import attrs
import pytest

from asyncrouter.hooks import manager as module
from asyncrouter.hooks.manager import ARGUMENTS, ASYNC_HOOKS, HOOKS, HookManager, Implementation, plugin_name
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.hooks.specs import HookSpecs
from asyncrouter.types.errors import PluginContractError


@pytest.fixture
def manager():
    return HookManager()


def calls_of(manager, hook):
    return [(one.plugin, one.arguments) for one in manager.implementations(f"asyncrouter_{hook}")]


def kept(candidates):
    return candidates


# ------------------------------------------------------------------ the specifications


def test_every_hook_is_documented_and_says_what_it_means_for_a_stream():
    for name in HOOKS:
        text = inspect.getdoc(getattr(HookSpecs, name))
        assert text, name
        if name.removeprefix("asyncrouter_") not in {"register", "startup", "shutdown", "observe"}:
            assert "stream" in text or "chunks" in text, name


def test_the_tables_are_read_off_the_specifications():
    assert set(HOOKS) == {name for name in vars(HookSpecs) if name.startswith("asyncrouter_")} == set(ARGUMENTS)
    assert ARGUMENTS["asyncrouter_select"] == ("request", "estimate", "candidates", "state")
    assert {name.removeprefix("asyncrouter_") for name in ASYNC_HOOKS} == {
        "startup", "shutdown", "estimate", "select", "judge", "around_request", "around_attempt"}  # fmt: skip


# ------------------------------------------------------------------ shapes of plugins


class Methods:
    @hookimpl
    def asyncrouter_filter(self, candidates):
        return candidates


class Static:
    @staticmethod
    @hookimpl
    def asyncrouter_filter(candidates):
        return candidates


class StaticMarkedOutside:
    @hookimpl
    @staticmethod
    def asyncrouter_filter(candidates):
        return candidates


class OfTheClass:
    @classmethod
    @hookimpl
    def asyncrouter_filter(cls, candidates):
        return candidates


class OfTheClassMarkedOutside:
    @hookimpl
    @classmethod
    def asyncrouter_filter(cls, candidates):
        return candidates


class OfTheInstance:
    def __init__(self):
        self.asyncrouter_filter = hookimpl(lambda candidates: candidates)


class ByAnotherName:
    @hookimpl(specname="asyncrouter_filter")
    def drop_nothing(self, candidates):
        return candidates


class Inherited(Methods):
    pass


class WithSpecs(HookSpecs):
    @hookimpl
    def asyncrouter_filter(self, candidates):
        return candidates


def a_module():
    made = types.ModuleType("words")
    made.asyncrouter_filter = hookimpl(types.FunctionType(kept.__code__, {}))
    return made


def a_namespace():
    return types.SimpleNamespace(asyncrouter_filter=hookimpl(lambda candidates: candidates))


def a_bound_method():
    return types.SimpleNamespace(asyncrouter_filter=Methods().asyncrouter_filter)


SHAPES = [Methods, Static, StaticMarkedOutside, OfTheClass, OfTheClassMarkedOutside, OfTheInstance, ByAnotherName,
          Inherited, WithSpecs, a_module, a_namespace, a_bound_method]  # fmt: skip


@pytest.mark.parametrize("make", SHAPES, ids=lambda make: make.__name__)
def test_every_shape_of_plugin_works(manager, make):
    assert manager.register(make(), "word") == "word"
    (found,) = manager.implementations("asyncrouter_filter")
    assert (found.plugin, found.arguments) == ("word", ("candidates",))
    assert found.function((1, 2)) == (1, 2)
    assert manager.hook.asyncrouter_filter(request=0, candidates=(1, 2), state=0) == [(1, 2)]


def test_the_order_is_pluggys(manager):
    for name, options in (("a", {}), ("b", {"trylast": True}), ("c", {}), ("d", {"tryfirst": True})):
        manager.register(types.SimpleNamespace(asyncrouter_observe=hookimpl(**options)(lambda event: event)), name)
    assert [name for name, _ in calls_of(manager, "observe")] == ["d", "c", "a", "b"]


def test_arguments_are_those_taken_in_their_own_order(manager):
    class Plugin:
        @hookimpl
        def asyncrouter_retry(self, random, attempt, trace=None):
            return attempt, random, trace

        @hookimpl
        def asyncrouter_observe(self):
            pass

    manager.register(Plugin(), "p")
    assert calls_of(manager, "retry") == [("p", ("random", "attempt", "trace"))]
    assert calls_of(manager, "observe") == [("p", ())]
    assert calls_of(manager, "select") == []


def test_an_unknown_hook_may_be_optional(manager):
    class Plugin:
        @hookimpl(optionalhook=True)
        def asyncrouter_of_a_later_version(self, anything):
            return anything

        @hookimpl
        def asyncrouter_observe(self, event):
            return event

    manager.register(Plugin(), "p")
    assert calls_of(manager, "observe") == [("p", ("event",))]


def test_looking_at_a_plugin_runs_none_of_its_code(manager):
    class Plugin:
        asyncrouter_nothing = None

        @property
        def client(self):
            raise AssertionError("run")

        @functools.cached_property
        def other(self):
            raise AssertionError("run")

        def __getattr__(self, name):
            raise AssertionError(f"run for {name}")

        name = "quiet"

        @hookimpl
        def asyncrouter_observe(self, event):
            return event

    assert manager.register(Plugin()) == "quiet"


@attrs.frozen
class Equal:
    share: float = 0.5

    @hookimpl
    def asyncrouter_filter(self, candidates):
        return candidates


class NotComparable:
    __hash__ = None

    def __eq__(self, other):
        raise RuntimeError("ambiguous, as an array says")

    @hookimpl
    def asyncrouter_filter(self, candidates):
        return candidates


@pytest.mark.parametrize("kind", [Equal, NotComparable])
def test_equal_plugins_are_two_plugins(manager, kind):
    one, other = kind(), kind()
    manager.register(one, "one")
    manager.register(other, "other")
    assert [name for name, _ in calls_of(manager, "filter")] == ["other", "one"]
    assert manager.unregister(other) is other
    assert [name for name, _ in calls_of(manager, "filter")] == ["one"]


# ------------------------------------------------------------------ names, registering twice, unregistering


def test_a_plugin_is_known_by_its_name_else_its_module_or_class():
    assert plugin_name(types.SimpleNamespace(name="given")) == "given"
    assert plugin_name(types) == "types"
    one = Methods()
    for name in ("", None, 5):
        one.name = name
        assert plugin_name(one) == f"{__name__}.Methods#{id(one):x}"


def test_nothing_is_registered_twice(manager):
    plugin = Methods()
    manager.register(plugin, "word")
    for again, name in ((plugin, "word"), (plugin, "other"), (Methods(), "word")):
        with pytest.raises(PluginContractError, match=f"plugin '{name}' is registered already") as caught:
            manager.register(again, name)
        assert caught.value.plugin == name
    assert len(calls_of(manager, "filter")) == 1


def test_what_was_unregistered_is_gone_and_may_come_back(manager):
    plugin = Methods()
    manager.register(plugin, "word")
    assert manager.unregister(name="word") is plugin
    assert calls_of(manager, "filter") == []
    manager.register(plugin, "word")
    assert manager.unregister(plugin) is plugin
    for missing in ({"name": "word"}, {"plugin": plugin}):
        with pytest.raises(PluginContractError, match="is not registered"):
            manager.unregister(**missing)


def test_two_managers_share_nothing(manager):
    plugin, other = Methods(), HookManager()
    manager.register(plugin, "word")
    assert calls_of(other, "filter") == []
    other.register(plugin, "word")


# ------------------------------------------------------------------ refusals


def refused_function(hook, source):
    """Build a plugin with one good hook and the one of *source*."""
    space = {"hookimpl": hookimpl, "functools": functools}
    exec(source, space)  # noqa: S102 - of our own making
    return types.SimpleNamespace(
        asyncrouter_observe=hookimpl(lambda event: event), **{hook: space[hook]}, name="the-plugin"
    )


REFUSALS = [
    # hook, source, what is said
    ("selekt", "@hookimpl\ndef HOOK(request): ...", 'there is no such hook; did you mean "asyncrouter_select"?'),
    ("zzz", "@hookimpl\ndef HOOK(request): ...", "there is no such hook; there are: asyncrouter_register, "),
    ("select", "@hookimpl\ndef HOOK(requests): ...",
     "takes unknown arguments ['requests']; the hook gives: request, estimate, candidates, state"),
    ("select", "@hookimpl\ndef HOOK(request, own=1): ...", "takes unknown arguments ['own']"),
    ("select", "@hookimpl\ndef HOOK(*args): ...", "takes unknown arguments ['*args']"),
    ("select", "@hookimpl\ndef HOOK(request, **more): ...", "takes unknown arguments ['**more']"),
    ("select", "@hookimpl\ndef HOOK(request, /): ...", "takes unknown arguments ['request, /']"),
    ("select", "@hookimpl\ndef HOOK(request, *, state): ...", "takes ['state'] by keyword only"),
    ("select", "@hookimpl\ndef HOOK(request): yield", "must return its result, not yield"),
    ("select", "@hookimpl\nasync def HOOK(request): yield", "must return its result, not yield"),
    ("select", "@hookimpl(wrapper=True)\ndef HOOK(request): yield",
     "wrappers do not work on this hook; implement asyncrouter_around_attempt or asyncrouter_around_request"),
    ("select", "@hookimpl(hookwrapper=True)\ndef HOOK(request): yield", "wrappers do not work on this hook"),
    ("select", "HOOK = hookimpl(functools.partial(lambda request: 1))", "is a partial; write it as a function"),
    ("select", "@functools.lru_cache\n@hookimpl\ndef HOOK(request): ...", "is a _lru_cache_wrapper; write it as"),
    ("select", "def HOOK(request): ...", "is not marked; put @hookimpl above it"),
    ("retry", "@hookimpl\nasync def HOOK(attempt): ...", "must be a plain function, not async"),
    ("filter", "@hookimpl\nasync def HOOK(state): ...", "must be a plain function, not async"),
    ("transform", "@hookimpl\ndef HOOK(request): yield", "must return its result, not yield"),
    ("startup", "@hookimpl\nasync def HOOK(router): yield", "must return its result, not yield"),
    ("register", "@hookimpl\nasync def HOOK(registry): ...", "must be a plain function, not async"),
    ("around_request", "@hookimpl\ndef HOOK(call, request): ...", "must be async"),
    ("around_attempt", "@hookimpl\ndef HOOK(call, request): ...", "must be async"),
    ("around_attempt_stream", "@hookimpl\nasync def HOOK(chunks): ...", "must be an async generator: async def …"),
    ("around_request_stream", "@hookimpl\ndef HOOK(chunks): yield", "must be an async generator"),
]  # fmt: skip


@pytest.mark.parametrize(("hook", "source", "message"), REFUSALS)
def test_a_refusal_names_plugin_and_hook_and_registers_nothing(manager, hook, source, message):
    hook = f"asyncrouter_{hook}"
    plugin = refused_function(hook, source.replace("HOOK", hook))
    with pytest.raises(PluginContractError) as caught:
        manager.register(plugin)
    assert str(caught.value).startswith(f"plugin 'the-plugin', {hook}: {message}")
    assert (caught.value.plugin, caught.value.hook) == ("the-plugin", hook)
    assert all(not manager.implementations(name) for name in HOOKS)
    del vars(plugin)[hook]
    manager.register(plugin)  # nothing of the refused one is in the way


def test_the_method_of_an_instance_is_refused_alike(manager):
    class Plugin:
        @hookimpl
        @staticmethod
        async def asyncrouter_filter(nonsense):
            return nonsense

    with pytest.raises(PluginContractError, match=r"asyncrouter_filter: takes unknown arguments \['nonsense'\]"):
        manager.register(Plugin())


def test_a_class_is_no_plugin(manager):
    with pytest.raises(PluginContractError, match="plugin 'Methods' is a class; register an instance of it") as caught:
        manager.register(Methods)
    assert caught.value.plugin == "Methods"


@pytest.mark.parametrize("plugin", [object(), None, "text", 5, types.SimpleNamespace(asyncrouter_select=None), types])
def test_what_implements_no_hook_is_no_plugin(manager, plugin):
    with pytest.raises(PluginContractError, match="implements no hook; mark its functions with @hookimpl"):
        manager.register(plugin)


def test_an_implementation_compares_by_what_it_is():
    assert Implementation("p", kept, ("candidates",)) == Implementation("p", kept, ("candidates",))
    assert module.PREFIX == "asyncrouter_"
