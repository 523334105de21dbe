"""How a strategy is named in a configuration: by name, by a table with options, or as an object."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import attrs

from asyncrouter.config import checks
from asyncrouter.config.checks import join
from asyncrouter.hooks.options import fault, refuse_each, wrong
from asyncrouter.types.errors import ConfigError, ConfigFault
from asyncrouter.types.request import EMPTY

PLAIN = (bool, int, float, str, bytes, list, tuple, set, frozenset, Mapping, dt.date, dt.time)
"""What files hold: never a strategy or a provider by itself."""


def table(value: Any) -> Any:
    """Return a copy of *value* when it is a mapping; anything else as it is, for a check to refuse."""
    return dict(value) if isinstance(value, Mapping) else value


@attrs.frozen(kw_only=True)
class StrategySpec:
    """A strategy by name with its options, or an object that implements the hook: exactly one of the two.

    ``laid_over``: the options that an agent's keys have set, with those keys.
    """

    use: str = ""
    options: Mapping[str, Any] = attrs.field(default=EMPTY, converter=table, validator=checks.open_table, repr=False)
    instance: object | None = None
    laid_over: Mapping[str, str] = attrs.field(default=EMPTY, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.use, str) or bool(self.use.strip()) == (self.instance is not None):
            raise fault("use", "expected a strategy's name, or else an instance")

    def as_written(self, refused: ConfigFault, owner: str, key: str) -> ConfigFault:
        """Return the fault *refused* under the key of the agent at the path *owner* that has set the option."""
        option = refused.path.removeprefix(f"{owner}.{key}.")
        written = self.laid_over.get(option)
        if written is None:
            return refused
        message = f"as {option} of the group's {key} {self.use!r}: {refused.message}"
        return attrs.evolve(refused, path=join(owner, written), message=message)

    def under(self, options: Mapping[str, tuple[str, Any]]) -> StrategySpec:
        """Return this with *options* laid over its own; each comes with the key that it was written as."""
        values = {option: value for option, (_key, value) in options.items()}
        keys = {option: key for option, (key, _value) in options.items()}
        return attrs.evolve(self, options={**self.options, **values}, laid_over={**self.laid_over, **keys})


def strategy(value: Any) -> Any:
    """Return the :class:`StrategySpec` of a name, a table with ``use``, or an object.

    What is none of these is returned as it is, for :func:`is_strategy` to refuse.
    """
    if value is not None and not isinstance(value, (StrategySpec, *PLAIN)):
        return StrategySpec(instance=value)
    try:
        if isinstance(value, str):
            return StrategySpec(use=value)
        if isinstance(value, Mapping):
            return StrategySpec(use=value["use"], options={key: item for key, item in value.items() if key != "use"})
    except (ConfigError, KeyError):
        pass
    return value


def strategies(value: Any) -> Any:
    """Return the tuple of specifications of a list of strategies; anything else as it is."""
    return tuple(map(strategy, value)) if isinstance(value, (list, tuple)) else value


def is_strategy(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a :class:`StrategySpec`."""
    if isinstance(value, StrategySpec):
        return
    if isinstance(value, Mapping):
        checks.open_table(None, attribute, value)
        use = "expected a strategy's name" if "use" in value else "missing"
        raise fault(join(attribute.name, "use"), use, 'such as use = "complexity"')
    raise wrong(attribute.name, 'a strategy\'s name, a table with use = "name", or an object', value)


def are_strategies(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a tuple of :class:`StrategySpec`."""
    if not isinstance(value, tuple):
        raise wrong(attribute.name, "a list of strategies", value)
    refuse_each(value, attribute.name, is_strategy)
