"""A private copy of what the caller or a file gave: of bounded size, every key a string."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from asyncrouter.config.checks import join, named
from asyncrouter.hooks.options import described, fault
from asyncrouter.types.errors import ConfigFault

MAX_DEPTH = 32
"""Levels of tables and lists; deeper ones are no configuration, or hold themselves."""
MAX_VALUES = 100_000
"""Values in all, each counted as often as it stands there; a small file can unfold to millions by aliases."""


def copied(source: Mapping[Any, Any]) -> tuple[dict[str, Any], list[ConfigFault]]:
    """Return *source* with its tables and lists copied, and a fault for each key that is no string (left out).

    Raises :class:`~asyncrouter.types.errors.ConfigError` when it is nested too deeply or too large.
    """
    copier = _Copier()
    return copier.table(source, "", 0), copier.faults


@attrs.define
class _Copier:
    faults: list[ConfigFault] = attrs.Factory(list)
    values: int = 0

    def table(self, source: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        copy = {}
        for key, item in source.items():
            if isinstance(key, str):
                copy[key] = self.value(item, join(path, named(key)), depth + 1)
            else:
                self.faults.append(ConfigFault(path, f"the key {described(key)} is no string", "put it in quotes"))
        return copy

    def value(self, source: Any, path: str, depth: int) -> Any:
        self.values += 1
        if depth > MAX_DEPTH:
            raise fault(path, f"nested more than {MAX_DEPTH} levels deep, or holding itself")
        if self.values > MAX_VALUES:
            raise fault(path, f"more than {MAX_VALUES} values up to here", "is something repeated by aliases?")
        if isinstance(source, Mapping):
            return self.table(source, path, depth)
        if isinstance(source, (list, tuple)):
            return [self.value(item, join(path, f"[{index}]"), depth + 1) for index, item in enumerate(source)]
        return source
