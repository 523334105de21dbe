"""A plugin that keeps what observers are told, for assertions."""

from __future__ import annotations

from typing import TypeVar

from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.errors import AsyncRouterError, PluginError
from asyncrouter.types.events import AttemptFinished, BreakerChanged, Event, PluginFailed, RequestFinished
from asyncrouter.types.response import Response
from asyncrouter.types.trace import Attempt

E = TypeVar("E", bound=Event)


class Recorder:
    """Keeps every event, in order, in ``events``.

    Register it: ``router.register(recorder)``.  ``name`` is its plugin name; two recorders on one router need two.
    """

    def __init__(self, name: str = "recorder") -> None:
        self.name = name
        self.events: list[Event] = []

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        """Keep *event*."""
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one class."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts of all requests, in the order in which they ended."""
        return [event.attempt for event in self.of(AttemptFinished)]

    @property
    def finished(self) -> list[RequestFinished]:
        """The ends of all requests, one event each."""
        return self.of(RequestFinished)

    @property
    def responses(self) -> list[Response]:
        """The answers that were given."""
        return [event.response for event in self.finished if event.response is not None]

    @property
    def errors(self) -> list[AsyncRouterError]:
        """The errors that ended requests."""
        return [event.error for event in self.finished if event.error is not None]

    @property
    def plugin_failures(self) -> list[PluginError]:
        """The failures of plugins that the router went on without."""
        return [event.error for event in self.of(PluginFailed)]

    @property
    def breaker_changes(self) -> list[tuple[str, str, str]]:
        """``(deployment, before, after)`` of every change of a breaker."""
        return [(event.deployment, event.before, event.after) for event in self.of(BreakerChanged)]

    def clear(self) -> None:
        """Forget everything."""
        self.events.clear()
