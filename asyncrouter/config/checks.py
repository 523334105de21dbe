"""Checks of single values, written as attrs validators: each raises a ConfigError that names the key and the cure.

A value is shown in a message only when it cannot be a secret.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from asyncrouter.hooks.registry import did_you_mean
from asyncrouter.types.errors import ConfigError, ConfigFault

Check = Callable[[Any, Any, Any], None]
"""An attrs validator: ``(instance, attribute, value)``; of the attribute only ``name`` is read."""

LONGEST_SHOWN = 40
"""Characters: a longer text is shown by its type only."""
SECRET_CURE = 'write the name of an environment variable in the provider\'s table: api_key_env = "NAME"'  # noqa: S105 - no password

_BARE_KEY = re.compile(r"[\w-]+")
_SECRET_KEY = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"(sk|pk|rk|gsk|xai|hf|ghp|pplx|nvapi|key|bearer)[-_ ]|AIza|eyJ", re.IGNORECASE)
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def join(path: str, key: str) -> str:
    """Return the path of *key* (a name, or an index such as ``[1]``) under *path*; either may be empty."""
    return f"{path}.{key}" if path and key and not key.startswith("[") else path + key


def named(name: str) -> str:
    """Return *name* as one step of a path: in quotes where dots or spaces would mislead."""
    if _BARE_KEY.fullmatch(name):
        return name
    return f'"{name}"' if len(name) <= LONGEST_SHOWN else f'"{name[:LONGEST_SHOWN]}…"'


def fault(path: str, message: str, cure: str = "") -> ConfigError:
    """Return the error of a single fault."""
    return ConfigError(faults=[ConfigFault(path, message, cure)])


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
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, (list, tuple)) else f"an object of type {type(value).__name__}"


def unknown(what: str, name: str, known: list[str], cure: str = "") -> tuple[str, str]:
    """Return message and cure for a *name* that nothing has: the nearest of *known*, else *cure*, else all of them."""
    listed = f"known: {', '.join(known)}" if known else f"there is no {what}"
    shown = "" if described(name) == "a string" else f" {name!r}"
    return f"unknown {what}{shown}", did_you_mean(name, known) or cure or listed


def _number(expected: str, kinds: type | tuple[type, ...], fits: Callable[[Any], bool]) -> Check:
    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, kinds) or not (_finite(value) and fits(value)):
            raise fault(attribute.name, f"expected {expected}, not {described(value, attribute.name)}")

    return check


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


positive = _number("a positive number", (int, float), lambda value: value > 0)
not_negative = _number("a number of 0 or more", (int, float), lambda value: value >= 0)
share = _number("a number from 0 to 1", (int, float), lambda value: 0 <= value <= 1)
ratio = _number("a number over 0 and up to 1", (int, float), lambda value: 0 < value <= 1)
at_least_one = _number("a number of 1 or more", (int, float), lambda value: value >= 1)
whole = _number("a whole number", int, lambda _value: True)
whole_not_negative = _number("a whole number of 0 or more", int, lambda value: value >= 0)
whole_positive = _number("a whole number of 1 or more", int, lambda value: value >= 1)


def flag(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a boolean."""
    if not isinstance(value, bool):
        raise fault(attribute.name, f"expected true or false, not {described(value, attribute.name)}")


def text(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a string that is not empty."""
    if not isinstance(value, str):
        raise fault(attribute.name, f"expected a string, not {described(value, attribute.name)}")
    if not value.strip():
        raise fault(attribute.name, "is empty")


def texts(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a tuple or a frozen set of strings, none empty and none twice."""
    if not isinstance(value, (tuple, frozenset)):
        raise fault(attribute.name, f"expected a list of strings, not {described(value, attribute.name)}")
    faults = []
    for index, item in enumerate(value):
        path = f"{attribute.name}[{index}]"
        if not isinstance(item, str):
            faults.append(ConfigFault(path, f"expected a string, not {described(item, attribute.name)}"))
        elif not item.strip():
            faults.append(ConfigFault(path, "is empty"))
        elif isinstance(value, tuple) and item in value[:index]:
            faults.append(ConfigFault(path, "stands here a second time", "remove it"))
    if faults:
        raise ConfigError(faults=faults)


def some_texts(instance: Any, attribute: Any, value: Any) -> None:
    """Accept what :func:`texts` accepts, with at least one element."""
    texts(instance, attribute, value)
    if not value:
        raise fault(attribute.name, "is empty", "name at least one")


def one_of(*known: str) -> Check:
    """Return a check that accepts one of *known*."""

    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if value not in known:
            message = f"expected {' or '.join(known)}, not {described(value, attribute.name)}"
            raise fault(attribute.name, message, did_you_mean(value, known) if isinstance(value, str) else "")

    return check


def some_of(*known: str) -> Check:
    """Return a check that accepts what :func:`texts` accepts, of *known* only."""
    accepts = one_of(*known)

    def check(instance: Any, attribute: Any, value: Any) -> None:
        texts(instance, attribute, value)
        faults: list[ConfigFault] = []
        for index, item in enumerate(value):
            try:
                accepts(instance, attribute.evolve(name=f"{attribute.name}[{index}]"), item)
            except ConfigError as error:
                faults.extend(error.faults)
        if faults:
            raise ConfigError(faults=faults)

    return check


def open_table(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a mapping whose keys are strings; its values are another's business, but none may be a literal secret."""
    if not isinstance(value, Mapping):
        raise fault(attribute.name, f"expected a table, not {described(value, attribute.name)}")
    wrong = [key for key in value if not isinstance(key, str)]
    if wrong:
        raise fault(attribute.name, f"the key {described(wrong[0])} is no string", "put it in quotes")
    faults = list(literal_secrets(value, attribute.name))
    if faults:
        raise ConfigError(faults=faults)


def is_secret_key(key: str) -> bool:
    """Return whether a string under *key* would be a secret written out."""
    plain = re.sub(r"[-_ ]", "", key).lower()
    return plain.endswith("apikey") or plain == "authorization"


def literal_secrets(value: object, path: str) -> Iterator[ConfigFault]:
    """Yield a fault for each key written out anywhere in *value*, and for each that stands where its name belongs."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from literal_secrets(item, f"{path}[{index}]")
    if not isinstance(value, Mapping):
        return
    for key, item in value.items():
        here = join(path, named(str(key)))
        if is_secret_key(str(key)) and any(isinstance(one, str) for one in _all(item)):
            yield ConfigFault(here, "a secret must not be written out", SECRET_CURE)
        elif str(key).endswith("api_key_env") and not all(map(_names_a_variable, _all(item))):
            yield ConfigFault(here, "expected the name of an environment variable", 'such as "OPENAI_API_KEY"')
        else:
            yield from literal_secrets(item, here)


def _all(value: object) -> Iterable[object]:
    """Return the items of a list, or the one value that is none: several keys may stand where one does."""
    return value if isinstance(value, (list, tuple)) else (value,)


def _names_a_variable(value: object) -> bool:
    return value is None or (isinstance(value, str) and _ENVIRONMENT_NAME.fullmatch(value) is not None)


def settings(kind: type[Any], rules: Mapping[str, Check]) -> Check:
    """Return a check that accepts a *kind* whose attributes pass *rules*."""
    fields = attrs.fields_dict(kind)

    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, kind):
            expected = kind.__name__ if isinstance(value, Mapping) else "table"
            raise fault(attribute.name, f"expected a {expected}, not {described(value, attribute.name)}")
        faults: list[ConfigFault] = []
        for name, rule in rules.items():
            try:
                rule(value, fields[name], getattr(value, name))
            except ConfigError as error:
                faults += [attrs.evolve(f, path=join(attribute.name, f.path)) for f in error.faults]
        if faults:
            raise ConfigError(faults=faults)

    return check
