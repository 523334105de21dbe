"""What selectors of one router share: learners by the name of their pool, and the file that keeps them."""

from __future__ import annotations

import inspect
from typing import Any

from asyncrouter.types.errors import ConfigError, ConfigFault
from asyncrouter_adaptive.selector import AdaptiveSelector


class AdaptiveFactory:
    """Learns from outcomes which deployment serves which kind of prompt, and keeps on exploring a little.

    There is one factory for each router.  Groups of it that ``share`` a name, or keep what they learn in the same
    ``state`` file, learn together, also across a reconfiguration; two routers share nothing but what a file keeps.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str | None, str | None], AdaptiveSelector] = {}
        self.__signature__ = inspect.signature(AdaptiveSelector)

    def __call__(self, **options: Any) -> AdaptiveSelector:
        """Return a selector with *options*.

        Raises :class:`~asyncrouter.types.errors.ConfigError` when it is to share with one of other options.
        """
        selector = AdaptiveSelector(**options)
        if selector.share is None and selector.state is None:
            return selector
        first = self._first.setdefault((selector.share, selector.state), selector)
        if first.settings != selector.settings:
            option = "share" if selector.share is not None else "state"
            problem = f"another group shares {getattr(selector, option)!r} with other options"
            raise ConfigError(faults=[ConfigFault(option, problem, "give all that share the same options")])
        selector.join(first.store)
        return selector
