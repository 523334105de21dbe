"""Validators for the options of strategies: each fault names the option, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def is_number(value: object) -> bool:
    """Whether *value* is a finite ``int`` or ``float``; a ``bool`` is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(low: float, high: float = math.inf) -> Validator:
    """Accept a finite number from *low* to *high*, both included."""
    wanted = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number of {low:g} or more"

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not is_number(value) or not low <= value <= high:
            raise wrong(attribute.name, wanted, value)

    return check


def whole(low: int) -> Validator:
    """Accept a whole number of *low* or more."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise wrong(attribute.name, f"a whole number of {low} or more", value)

    return check


def flag(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise wrong(attribute.name, "true or false", value)


def names(value: Any, option: str) -> tuple[str, ...]:
    """Return *value* as a tuple when it is a list of different names; otherwise raise ``ValueError``."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise wrong(option, "a list of names", value)
    if len(set(value)) < len(value):
        raise wrong(option, "every name once", value)
    return tuple(value)


def group_names(value: Any) -> tuple[str, ...]:
    """Convert the option ``groups``: a list of different group names."""
    return names(value, "groups")


def weights(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a mapping of names to finite numbers of 0 or more."""
    if not isinstance(value, Mapping):
        raise wrong(attribute.name, "a table of names and numbers", value)
    for name, weight in value.items():
        if not is_number(weight) or weight < 0:
            raise wrong(f"{attribute.name}.{name}", "a number of 0 or more", weight)


def wrong(option: str, wanted: str, value: object) -> ValueError:
    """Return the fault of one option."""
    return ValueError(f"{option}: expected {wanted}, not {value!r}")
