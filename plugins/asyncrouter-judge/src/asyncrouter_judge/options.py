"""Validators of the judges' options: each fault names the option, what was expected and what came."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from asyncrouter.types.errors import ConfigError, ConfigFault


def share(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a number from 0 to 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise wrong(attribute.name, "a number from 0 to 1", value)


def positive(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a number over 0."""
    if not is_number(value) or value <= 0:
        raise wrong(attribute.name, "a number over 0", value)


def whole(low: int, high: int) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """Accept a whole number from *low* to *high*."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(attribute.name, f"a whole number from {low} to {high}", value)

    return check


def text(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise wrong(attribute.name, "a text", value)


def table(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Accept a table."""
    if not isinstance(value, Mapping):
        raise wrong(attribute.name, "a table", value)


def one_of(*known: str) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """Accept one of *known*."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in known:
            raise wrong(attribute.name, " or ".join(f'"{one}"' for one in known), value)

    return check


def is_number(value: object) -> bool:
    """Whether *value* is a finite ``int`` or ``float``; a ``bool`` is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def names_of(value: Any, option: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return *value*, a list of different names out of *known*, as a tuple; raise :class:`ConfigError` otherwise."""
    if not isinstance(value, (list, tuple)) or len(set(map(str, value))) < len(value):
        raise wrong(option, "a list of different names", value)
    for place, name in enumerate(value):
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            cure = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
            raise ConfigError(faults=[ConfigFault(f"{option}[{place}]", "unknown check", cure)])
    return tuple(value)


def wrong(option: str, wanted: str, value: object) -> ConfigError:
    """Return the fault of one option."""
    shown = repr(value) if isinstance(value, (bool, int, float, str)) else f"a {type(value).__name__}"
    return ConfigError(faults=[ConfigFault(option, f"expected {wanted}, not {shown}")])
