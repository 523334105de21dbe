"""The versions of a router's configuration: their plugins started, their calls drained, what only they used closed.

A call keeps the version it entered with; a version is closed when its last call has ended.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from asyncrouter.assembler import Assembler, NamedPlugin
from asyncrouter.engine.cutoff import cut_off_after
from asyncrouter.hooks.cancelled import STRANGERS_FAULTS, is_own_fault
from asyncrouter.hooks.manager import HookManager, Implementation
from asyncrouter.types.errors import AsyncRouterError, PluginContractError

if TYPE_CHECKING:
    from asyncrouter.router import Router

CUT_S = 1.0
"""How long calls that were cut may take to hand back what they hold."""
Closer = Callable[[], Awaitable[object]]


class Version:
    """One configuration in use: what was made of it, and the plugins that were started."""

    def __init__(self, assembler: Assembler) -> None:
        self.assembler = assembler
        self.in_flight = assembler.in_flight
        self._started: list[NamedPlugin] = []

    async def start(self, router: Router, before: Version | None = None) -> None:
        """Call the startup hooks, but of plugins that *before* has started; :meth:`closers` undo what was done."""
        running = {id(one.instance) for one in (before._started if before else ())}  # noqa: SLF001 - its own kind
        for one, hook in self._cold_hooks("asyncrouter_startup"):
            if id(one.instance) not in running:
                await _call_cold(hook, "asyncrouter_startup", router)
            self._started.append(one)

    def closers(self, router: Router, other: Version | None = None) -> Iterator[Closer]:
        """Yield what shuts plugins down, in reverse order, and closes providers, but for those that *other* uses."""
        used = {id(one) for one in other.parts()} if other else set()
        started = {one.name for one in self._started}
        for one, hook in reversed(list(self._cold_hooks("asyncrouter_shutdown"))):
            was_started = one.name in started or not _implements(one, "asyncrouter_startup")
            if was_started and id(one.instance) not in used:
                yield functools.partial(_call_cold, hook, "asyncrouter_shutdown", router)
        for provider in self.assembler.providers.values():
            if id(provider) not in used:
                yield provider.aclose

    def parts(self) -> Iterator[object]:
        """Yield every plugin, strategy and provider instance."""
        yield from (one.instance for one in self.assembler.instances())
        yield from self.assembler.providers.values()

    def _cold_hooks(self, hook: str) -> Iterator[tuple[NamedPlugin, Implementation]]:
        for one in self.assembler.instances():
            if _implements(one, hook):
                manager = HookManager()
                manager.register(one.instance, one.name)
                yield from ((one, implementation) for implementation in manager.implementations(hook))


async def drain(versions: Iterable[Version], grace_s: float) -> None:
    """Wait up to *grace_s* seconds until no call of *versions* is under way, then end those that are."""
    versions = tuple(versions)
    if grace_s > 0:
        with cut_off_after(grace_s):
            await _quiet(versions)
    for version in versions:
        version.in_flight.cut_all()
    with cut_off_after(CUT_S):
        await _quiet(versions)


async def close_all(closers: Iterable[Closer]) -> None:
    """Run every closer, also when one fails or the task is cancelled; raise the first failure at the end."""
    failure: BaseException | None = None
    for close in closers:
        try:
            await close()
        except BaseException as error:  # the others must still be closed
            failure = failure or error
    if failure is not None:
        raise failure


async def _quiet(versions: Iterable[Version]) -> None:
    for version in versions:
        await version.in_flight.quiet()


def _implements(plugin: NamedPlugin, hook: str) -> bool:
    return hasattr(getattr(plugin.instance, hook, None), "asyncrouter_impl")


async def _call_cold(implementation: Implementation, hook: str, router: Router) -> None:
    arguments = {"router": router} if "router" in implementation.arguments else {}
    try:
        result = implementation.function(**arguments)
        if hasattr(result, "__await__"):
            await result
    except AsyncRouterError:
        raise
    except STRANGERS_FAULTS as error:
        if not is_own_fault(error):
            raise
        raise PluginContractError(
            f"plugin {implementation.plugin!r}, {hook}: raised {type(error).__name__}",
            plugin=implementation.plugin,
            hook=hook,
        ) from error
