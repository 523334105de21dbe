"""Checks of options, written as attrs validators: each raises a ConfigError that names the option and the cure.

The configuration's own keys are checked by them, and the options of strategies, ours and strangers' alike.  A value is
shown in a message only when it cannot be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from asyncrouter.hooks.registry import did_you_mean
from asyncrouter.types.errors import ConfigError, ConfigFault

Check = Callable[[Any, Any, Any], None]
"""An attrs validator: ``(instance, attribute, value)``; of the attribute only ``name`` is read."""

LONGEST_SHOWN = 40
"""Characters: a longer text is shown by its type only."""
LONGEST_LIST_SHOWN = 8
"""Numbers: a longer list, and one of anything else, is shown by its type only."""

_SECRET_KEY = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"(sk|pk|rk|gsk|xai|hf|ghp|pplx|nvapi|key|bearer)[-_ ]|AIza|eyJ", re.IGNORECASE)


def fault(path: str, message: str, cure: str = "") -> ConfigError:
    """Return the error of a single fault."""
    return ConfigError(faults=[ConfigFault(path, message, cure)])


def unexpected(path: str, wanted: str, value: object, cure: str = "") -> ConfigFault:
    """Return the fault of a *value* at *path* where something else was *wanted*."""
    return ConfigFault(path, f"expected {wanted}, not {described(value, path)}", cure)


def wrong(path: str, wanted: str, value: object, cure: str = "") -> ConfigError:
    """Return the error of that single fault."""
    return ConfigError(faults=[unexpected(path, wanted, value, cure)])


def faults_in(value: object, path: str, check: Check) -> tuple[ConfigFault, ...]:
    """Return the faults that *check* finds in *value*, which stands at *path*."""
    try:
        check(None, SimpleNamespace(name=path), value)
    except ConfigError as error:
        return error.faults
    return ()


def refuse(faults: Iterable[ConfigFault]) -> None:
    """Raise the error of all *faults*, where there are any."""
    if found := tuple(faults):
        raise ConfigError(faults=found)


def refuse_each(values: Iterable[object], path: str, check: Check) -> None:
    """Raise the error of all faults that *check* finds in each of *values*, a list at *path*."""
    refuse(fault for place, value in enumerate(values) for fault in faults_in(value, f"{path}[{place}]", check))


def described(value: object, key: str = "") -> str:
    """Return how a message may call *value*, which stands under *key*: numbers and short harmless texts as they are."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"{value!r}" if isinstance(value, float) or abs(value) < 1e16 else "a number that large"  # noqa: PLR2004 - more digits help nobody
    if isinstance(value, str):
        hidden = len(value) > LONGEST_SHOWN or _SECRET_KEY.search(key) or _SECRET_TEXT.match(value)
        return "a string" if hidden else f"the string {value!r}"
    if isinstance(value, (list, tuple)):
        return _described_list(value)
    return "a table" if isinstance(value, Mapping) else f"an object of type {type(value).__name__}"


def _described_list(value: Sequence[object]) -> str:
    if not value:
        return "an empty list"
    shown = len(value) <= LONGEST_LIST_SHOWN and all(map(is_number, value))
    return f"the list {list(value)!r}" if shown else "a list"


def is_number(value: object) -> bool:
    """Whether *value* is a finite ``int`` or ``float``; a ``bool`` is none, nor is what no float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """Return a check that accepts a finite number from *low* to *high*, both included."""
    return _number(f"a number{_range(low, high)}", lambda value: low <= value <= high)


def whole(low: float = -math.inf, high: float = math.inf) -> Check:
    """Return a check that accepts a whole number from *low* to *high*, both included."""
    return _number(f"a whole number{_range(low, high)}", lambda value: isinstance(value, int) and low <= value <= high)


def _range(low: float, high: float) -> str:
    if high < math.inf:
        return f" from {low} to {high}"
    return f" of {low} or more" if low > -math.inf else ""


def _number(wanted: str, fits: Callable[[Any], bool]) -> Check:
    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if not (is_number(value) and fits(value)):
            raise wrong(attribute.name, wanted, value)

    return check


positive = _number("a positive number", lambda value: value > 0)
not_negative = number(0)
share = number(0, 1)
ratio = _number("a number over 0 and up to 1", lambda value: 0 < value <= 1)


def flag(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a boolean."""
    if not isinstance(value, bool):
        raise wrong(attribute.name, "true or false", value)


def text(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a string that is not empty."""
    if not isinstance(value, str):
        raise wrong(attribute.name, "a string", value)
    if not value.strip():
        raise fault(attribute.name, "is empty")


def table(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a mapping."""
    if not isinstance(value, Mapping):
        raise wrong(attribute.name, "a table", value)


def weights(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a mapping of names to numbers of 0 or more."""
    if not isinstance(value, Mapping):
        raise wrong(attribute.name, "a table of names and numbers", value)
    for name, weight in value.items():
        if not is_number(weight) or weight < 0:
            raise wrong(f"{attribute.name}.{name}", "a number of 0 or more", weight)


def one_of(*known: str) -> Check:
    """Return a check that accepts one of *known*."""

    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if value not in known:
            cure = did_you_mean(value, known) if isinstance(value, str) else ""
            raise wrong(attribute.name, _either(known), value, cure)

    return check


def _either(known: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(known[:-1]), known[-1])))


def names(value: Any, option: str, known: Iterable[str] = ()) -> tuple[str, ...]:
    """Return *value*, a list of different names (of *known* ones, where any are), as a tuple.

    Raises :class:`ConfigError` when it is none.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise wrong(option, "a list of names", value)
    twice = next((name for place, name in enumerate(value) if name in value[:place]), None)
    if twice is not None:
        raise fault(option, f"names {described(twice, option)} twice", "remove one")
    if known:
        refuse_each(value, option, one_of(*known))
    return tuple(value)
