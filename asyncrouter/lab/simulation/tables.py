"""Tables of a scenario, made as the configuration's are: every fault with its path and its cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from asyncrouter.config.checks import join, unknown
from asyncrouter.hooks.options import unexpected
from asyncrouter.types.errors import ConfigFault

T = TypeVar("T")


def one(value: Any, kind: type[T], path: str, faults: list[ConfigFault]) -> T | None:
    """Return the *kind* that the table *value* makes; what is wrong goes to *faults*."""
    from asyncrouter.config import structure  # imports cattrs

    return structure.one(value, kind, path, faults)


def made(_instance: Any, _attribute: Any, _value: Any) -> None:
    """Accept anything, as an attrs validator: it was made of a table and checked before."""


def variant(value: Any, kinds: Mapping[str, type], path: str, faults: list[ConfigFault]) -> Any:
    """Return what a table with ``kind`` makes: an object of that class of *kinds*; ``None`` where there is none.

    What is wrong goes to *faults*.
    """
    if not isinstance(value, Mapping):
        faults.append(unexpected(path, "a table", value, f"with kind = {_listed(kinds)}"))
        return None
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        fault = ("missing", f"one of {_listed(kinds)}") if kind is None else unknown("kind", str(kind), list(kinds))
        faults.append(ConfigFault(join(path, "kind"), *fault))
        return None
    return one({key: item for key, item in value.items() if key != "kind"}, kinds[kind], path, faults)


def _listed(kinds: Mapping[str, type]) -> str:
    return ", ".join(f'"{kind}"' for kind in kinds)
