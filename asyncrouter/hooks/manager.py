"""The plugin manager: validates a plugin whole before it registers any of it.

pluggy's own ``register`` is not atomic, accepts ``async def`` where a plain function is meant, and runs wrappers that
cannot work on compiled hooks; all that is refused here, with the plugin and the hook named.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pluggy

from asyncrouter.hooks.markers import PROJECT
from asyncrouter.hooks.registry import did_you_mean
from asyncrouter.hooks.specs import HookSpecs
from asyncrouter.types.errors import PluginContractError

PREFIX = f"{PROJECT}_"
IMPL_MARK = f"{PROJECT}_impl"
COLD = frozenset({"register", "startup", "shutdown"})


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
        self.add_hookspecs(HookSpecs)

    def register(self, plugin: object, name: str | None = None) -> str:
        """Register *plugin*; raise :class:`PluginContractError`, and register nothing, when it breaks the contract."""
        if inspect.isclass(plugin):
            raise PluginContractError(
                f"plugin {plugin.__qualname__!r} is a class; register an instance of it", plugin=plugin.__qualname__
            )
        name = name or plugin_name(plugin)
        if self.has_plugin(name) or self.is_registered(plugin):
            raise PluginContractError(f"plugin {name!r} is registered already; unregister it first", plugin=name)
        hooks = list(_implementations_in(plugin))
        if not hooks:
            raise PluginContractError(
                f"plugin {name!r} implements no hook; mark its functions with @hookimpl", plugin=name
            )
        for hook, function, options in hooks:
            _check_implementation(name, hook, function, options)
        super().register(plugin, name)
        return name

    def implementations(self, hook: str) -> list[Implementation]:
        """Return the implementations of *hook* in the order in which pluggy calls them."""
        caller = getattr(self.hook, hook)
        return [
            Implementation(impl.plugin_name, impl.function, impl.argnames + tuple(impl.kwargnames))
            for impl in reversed(caller.get_hookimpls())
        ]


def plugin_name(plugin: object) -> str:
    """Return the name under which *plugin* is known: its ``name``, else its module's or its class's and identity."""
    given = getattr(plugin, "name", None)
    if isinstance(given, str) and given:
        return given
    if inspect.ismodule(plugin):
        return plugin.__name__
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}#{id(plugin):x}"


def _implementations_in(plugin: object) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    for attribute in dir(plugin):
        if attribute.startswith("__"):
            continue
        function = inspect.getattr_static(plugin, attribute, None)
        if isinstance(function, property):  # never run a stranger's property merely to look at it
            continue
        function = getattr(plugin, attribute, None)
        options = getattr(function, IMPL_MARK, None)
        if isinstance(options, dict) and callable(function):
            yield options.get("specname") or attribute, function, options


def _check_implementation(plugin: str, hook: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    def refuse(problem: str) -> PluginContractError:
        return PluginContractError(f"plugin {plugin!r}, {hook}: {problem}", plugin=plugin, hook=hook)

    if hook not in ARGUMENTS:
        if options.get("optionalhook"):
            return
        raise refuse("there is no such hook; " + (did_you_mean(hook, HOOKS) or f"there are: {', '.join(HOOKS)}"))
    short = hook.removeprefix(PREFIX)
    if options.get("wrapper") or options.get("hookwrapper"):
        raise refuse(
            "wrappers do not work on this hook; implement asyncrouter_around_attempt or asyncrouter_around_request"
        )
    unknown = [name for name in _argument_names(function) if name not in ARGUMENTS[hook]]
    if unknown:
        raise refuse(f"takes unknown arguments {unknown}; the hook gives: {', '.join(ARGUMENTS[hook])}")
    if hook not in ASYNC_HOOKS and inspect.iscoroutinefunction(function):
        raise refuse("must be a plain function, not async")
    if hook.endswith("_stream") and not inspect.isasyncgenfunction(function):
        raise refuse("must be an async generator: async def … yield")
    if short.startswith("around_") and not hook.endswith("_stream") and not inspect.iscoroutinefunction(function):
        raise refuse("must be async")


def _argument_names(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [f"*{p.name}" if p.kind in kinds else p.name for p in parameters]
