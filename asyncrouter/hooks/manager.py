"""The plugin manager: validates a plugin whole before it registers any of it.

pluggy's own ``register`` accepts ``async def`` where a plain function is meant, runs wrappers that cannot work on
compiled hooks, and passes over what is marked but no function; all that is refused here, with the plugin and the hook
named.  pluggy also compares plugins with ``==``, so two equal strategies would be one; it is shown each plugin as a
module of its implementations.
"""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pluggy

from asyncrouter.hooks.markers import PROJECT
from asyncrouter.hooks.specs import HookSpecs
from asyncrouter.types.errors import PluginContractError

PREFIX = f"{PROJECT}_"
IMPL_MARK = f"{PROJECT}_impl"
SPEC_MARK = f"{PROJECT}_spec"


def _spec_functions() -> dict[str, Callable[..., Any]]:
    return {name: spec for name, spec in vars(HookSpecs).items() if name.startswith(PREFIX)}


SPECS = _spec_functions()
HOOKS = tuple(SPECS)
"""Every hook's full name, in the order of the specifications."""
ARGUMENTS = {name: tuple(inspect.signature(spec).parameters)[1:] for name, spec in SPECS.items()}
"""Every hook's arguments, in their order."""
ASYNC_HOOKS = frozenset(name for name, spec in SPECS.items() if inspect.iscoroutinefunction(spec))


@attrs.frozen
class Implementation:
    """One implementation of one hook: whose it is, what to call, and which of the hook's arguments it takes."""

    plugin: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]


class HookManager(pluggy.PluginManager):
    """pluggy's manager with validation; one for each group of each router, never a global one."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        self._plugins: dict[str, object] = {}
        self.add_hookspecs(HookSpecs)

    def register(self, plugin: object, name: str | None = None) -> str:
        """Register *plugin*; raise :class:`PluginContractError`, and register nothing, when it breaks the contract."""
        if inspect.isclass(plugin):
            raise PluginContractError(
                f"plugin {plugin.__qualname__!r} is a class; register an instance of it", plugin=plugin.__qualname__
            )
        name = name or plugin_name(plugin)
        if name in self._plugins or any(one is plugin for one in self._plugins.values()):
            raise PluginContractError(f"plugin {name!r} is registered already; unregister it first", plugin=name)
        found = list(_implementations_in(name, plugin))
        if not found:
            raise PluginContractError(
                f"plugin {name!r} implements no hook; mark its functions with @hookimpl", plugin=name
            )
        shown = _Shown(name)
        for attribute, function, options in found:
            _check_implementation(name, options.get("specname") or attribute, function, options)
            shown.options[attribute] = options
            setattr(shown, attribute, function)
        super().register(shown, name)
        self._plugins[name] = plugin
        return name

    def unregister(self, plugin: object = None, name: str | None = None) -> object:
        """Unregister *plugin*, given itself or by its *name*, and return it.

        Raises :class:`PluginContractError` when it is not registered.
        """
        for known, one in self._plugins.items():
            if known == name or (name is None and one is plugin):
                super().unregister(name=known)
                return self._plugins.pop(known)
        raise PluginContractError(f"plugin {name or plugin_name(plugin)!r} is not registered")

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Tell pluggy how the implementation called *name* is marked."""
        return plugin.options.get(name) if isinstance(plugin, _Shown) else None

    def implementations(self, hook: str) -> list[Implementation]:
        """Return the implementations of *hook* in the order in which pluggy calls them.

        Arguments with a default value are given too, as by pluggy from 1.7 on.
        """
        caller = getattr(self.hook, hook)
        return [
            Implementation(impl.plugin_name, impl.function, impl.argnames + tuple(impl.kwargnames))
            for impl in reversed(caller.get_hookimpls())
        ]


class _Shown(types.ModuleType):
    """A plugin as pluggy sees it: its implementations, bound and checked, and how they are marked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.options: dict[str, dict[str, Any]] = {}


def plugin_name(plugin: object) -> str:
    """Return the name under which *plugin* is known: its ``name``, else its module's or its class's and identity."""
    given = getattr(plugin, "name", None)
    if isinstance(given, str) and given:
        return given
    if inspect.ismodule(plugin):
        return plugin.__name__
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}#{id(plugin):x}"


def hooks_of(plugin: object, name: str) -> frozenset[str]:
    """Return the hooks that *plugin*, called *name*, implements; :class:`PluginContractError` where one is unmarked."""
    return frozenset(options.get("specname") or found for found, _run, options in _implementations_in(name, plugin))


def _implementations_in(name: str, plugin: object) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Yield what is marked in *plugin*, and run none of its code meanwhile: properties least of all."""
    for attribute in dir(plugin):
        if attribute.startswith("__"):
            continue
        static = inspect.getattr_static(plugin, attribute, None)
        marked = _static_mark(static, IMPL_MARK)
        if isinstance(static, (types.FunctionType, types.MethodType, staticmethod, classmethod)):
            if marked is not None:
                yield attribute, getattr(plugin, attribute), marked
            elif attribute in ARGUMENTS and _static_mark(static, SPEC_MARK) is None:
                raise _refused(name, attribute, "is not marked; put @hookimpl above it")
        elif marked is not None:
            raise _refused(name, attribute, f"is a {type(static).__name__}; write it as a function: def …")


def _static_mark(static: object, mark: str) -> dict[str, Any] | None:
    """Return the options that a marker left on *static*, or on the function inside it."""
    inner = static.__func__ if isinstance(static, (types.MethodType, staticmethod, classmethod)) else None
    for holder in (static, inner):
        options = inspect.getattr_static(holder, mark, None)
        if isinstance(options, dict):
            return options
    return None


def _refused(plugin: str, hook: str, problem: str) -> PluginContractError:
    return PluginContractError(f"plugin {plugin!r}, {hook}: {problem}", plugin=plugin, hook=hook)


def _check_implementation(plugin: str, hook: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    if hook not in ARGUMENTS:
        if options.get("optionalhook"):
            return
        raise _refused(plugin, hook, f"there is no such hook; {_nearest(hook)}")
    if options.get("wrapper") or options.get("hookwrapper"):
        problem = (
            "wrappers do not work on this hook; implement asyncrouter_around_attempt or asyncrouter_around_request"
        )
        raise _refused(plugin, hook, problem)
    problem = _argument_problem(hook, function) or _kind_problem(hook, function)
    if problem:
        raise _refused(plugin, hook, problem)


def _nearest(hook: str) -> str:
    names = {name.removeprefix(PREFIX): name for name in HOOKS}  # with the prefix, any two would look alike
    near = difflib.get_close_matches(hook.removeprefix(PREFIX), names, n=1)
    return f'did you mean "{names[near[0]]}"?' if near else f"there are: {', '.join(HOOKS)}"


_NO_NAMES = {
    inspect.Parameter.POSITIONAL_ONLY: "{}, /",
    inspect.Parameter.VAR_POSITIONAL: "*{}",
    inspect.Parameter.VAR_KEYWORD: "**{}",
}
"""Parameters that take no argument by its name, as they are written."""


def _argument_problem(hook: str, function: Callable[..., Any]) -> str:
    given = f"the hook gives: {', '.join(ARGUMENTS[hook])}"
    unknown, by_keyword = [], []
    for one in inspect.signature(function).parameters.values():
        if one.kind in _NO_NAMES:
            unknown.append(_NO_NAMES[one.kind].format(one.name))
        elif one.name not in ARGUMENTS[hook]:
            unknown.append(one.name)
        elif one.kind is one.KEYWORD_ONLY:
            by_keyword.append(one.name)
    if unknown:
        return f"takes unknown arguments {unknown}; {given}"
    return f"takes {by_keyword} by keyword only; take out the *, hooks are called by position" if by_keyword else ""


def _kind_problem(hook: str, function: Callable[..., Any]) -> str:
    is_async = inspect.iscoroutinefunction(function)
    if hook.endswith("_stream"):
        return "" if inspect.isasyncgenfunction(function) else "must be an async generator: async def … yield"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "must return its result, not yield"
    if is_async and hook not in ASYNC_HOOKS:
        return "must be a plain function, not async"
    if not is_async and hook.startswith(f"{PREFIX}around_"):
        return "must be async"
    return ""
