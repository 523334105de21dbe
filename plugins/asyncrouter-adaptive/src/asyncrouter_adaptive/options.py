"""Validators of the selector's options: each fault names the option, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from asyncrouter.types.errors import ConfigError, ConfigFault

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def number(low: float, high: float = math.inf) -> Validator:
    """Accept a finite number from *low* to *high*, both included."""
    wanted = f"a number from {low:g} to {high:g}" if high < math.inf else f"a number of {low:g} or more"

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not low <= value <= high:
            raise wrong(attribute.name, wanted, value)

    return check


def whole(low: int, high: int) -> Validator:
    """Accept a whole number from *low* to *high*."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(attribute.name, f"a whole number from {low} to {high}", value)

    return check


def flag(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise wrong(attribute.name, "true or false", value)


def name_or_none(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a text that is not empty, or ``None``."""
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise wrong(attribute.name, "a name", value)


def one_of(*known: str) -> Validator:
    """Accept one of *known*."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise wrong(attribute.name, " or ".join(f'"{one}"' for one in known), value)

    return check


def wrong(option: str, wanted: str, value: object) -> ConfigError:
    """Return the fault of one option."""
    shown = repr(value) if isinstance(value, (bool, int, float, str)) else f"a {type(value).__name__}"
    return ConfigError(faults=[ConfigFault(option, f"expected {wanted}, not {shown}")])
