"""Checks of the configuration's keys beyond those of :mod:`asyncrouter.hooks.options`: lists, open tables, secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from asyncrouter.hooks.options import (
    LONGEST_SHOWN,
    Check,
    described,
    fault,
    faults_in,
    one_of,
    refuse,
    refuse_each,
    unexpected,
    wrong,
)
from asyncrouter.hooks.registry import did_you_mean
from asyncrouter.types.errors import ConfigFault

SECRET_CURE = 'write the name of an environment variable in the provider\'s table: api_key_env = "NAME"'  # noqa: S105 - no password

_BARE_KEY = re.compile(r"[\w-]+")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def join(path: str, key: str) -> str:
    """Return the path of *key* (a name, or an index such as ``[1]``) under *path*; either may be empty."""
    return f"{path}.{key}" if path and key and not key.startswith("[") else path + key


def named(name: str) -> str:
    """Return *name* as one step of a path: in quotes where dots or spaces would mislead."""
    if _BARE_KEY.fullmatch(name):
        return name
    return f'"{name}"' if len(name) <= LONGEST_SHOWN else f'"{name[:LONGEST_SHOWN]}…"'


def unknown(what: str, name: str, known: list[str], cure: str = "") -> tuple[str, str]:
    """Return message and cure for a *name* that nothing has: the nearest of *known*, else *cure*, else all of them."""
    listed = f"known: {', '.join(known)}" if known else f"there is no {what}"
    shown = "" if described(name) == "a string" else f" {name!r}"
    return f"unknown {what}{shown}", did_you_mean(name, known) or cure or listed


def texts(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a tuple or a frozen set of strings, none empty and none twice."""
    if not isinstance(value, (tuple, frozenset)):
        raise wrong(attribute.name, "a list of strings", value)
    faults = []
    for index, item in enumerate(value):
        path = f"{attribute.name}[{index}]"
        if not isinstance(item, str):
            faults.append(unexpected(path, "a string", item))
        elif not item.strip():
            faults.append(ConfigFault(path, "is empty"))
        elif isinstance(value, tuple) and item in value[:index]:
            faults.append(ConfigFault(path, "stands here a second time", "remove it"))
    refuse(faults)


def some_texts(instance: Any, attribute: Any, value: Any) -> None:
    """Accept what :func:`texts` accepts, with at least one element."""
    texts(instance, attribute, value)
    if not value:
        raise fault(attribute.name, "is empty", "name at least one")


def some_of(*known: str) -> Check:
    """Return a check that accepts what :func:`texts` accepts, of *known* only."""
    accepts = one_of(*known)

    def check(instance: Any, attribute: Any, value: Any) -> None:
        texts(instance, attribute, value)
        refuse_each(value, attribute.name, accepts)

    return check


def open_table(_instance: Any, attribute: Any, value: Any) -> None:
    """Accept a mapping whose keys are strings; its values are another's business, but none may be a literal secret."""
    if not isinstance(value, Mapping):
        raise wrong(attribute.name, "a table", value)
    strange = [key for key in value if not isinstance(key, str)]
    if strange:
        raise fault(attribute.name, f"the key {described(strange[0])} is no string", "put it in quotes")
    refuse(literal_secrets(value, attribute.name))


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

    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, kind):
            expected = kind.__name__ if isinstance(value, Mapping) else "table"
            raise wrong(attribute.name, f"a {expected}", value)
        refuse(
            fault
            for name, rule in rules.items()
            for fault in faults_in(getattr(value, name), join(attribute.name, name), rule)
        )

    return check
