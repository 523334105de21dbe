"""From a file, a mapping or nothing to a checked :class:`~asyncrouter.config.schema.RouterConfig`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncrouter.config.embedded import embedded_config
from asyncrouter.config.names import DEFAULT_GROUP
from asyncrouter.config.references import reference_faults
from asyncrouter.config.schema import RouterConfig, TwoModelSettings
from asyncrouter.config.two_model import TABLE, with_two_models
from asyncrouter.hooks.options import wrong
from asyncrouter.types.errors import ConfigError, ConfigFault

VARIABLE = "ASYNCROUTER_CONFIG"
"""The environment variable that may name the file."""
FILES = ("asyncrouter.toml", "asyncrouter.yaml", "asyncrouter.yml", "asyncrouter.json")
"""Looked for in the working directory, in this order."""


def load_config(source: str | os.PathLike[str] | Mapping[str, Any] | RouterConfig | None = None) -> RouterConfig:
    """Return the configuration that *source* is or names.

    *source*: the path of a file (.toml, .yaml, .yml or .json), a mapping of the same shape, a :class:`RouterConfig`,
    or ``None``: then the file that ``ASYNCROUTER_CONFIG`` names, else one of :data:`FILES`, else the embedded default.

    Raises :class:`~asyncrouter.types.errors.ConfigError` whose ``faults`` are all that is wrong, each with its path.
    """
    if source is None:
        source = _found()
    if isinstance(source, RouterConfig):
        _refuse(reference_faults(source))
        return source
    if isinstance(source, Mapping):
        config, faults = _read(source)
        _refuse(faults)
        return config
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(source))
    raise wrong("", "a path, a mapping or a RouterConfig", source)


def _found() -> Path | RouterConfig:
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    return next((path for path in map(Path, FILES) if path.is_file()), None) or embedded_config()


def _from_file(path: Path) -> RouterConfig:
    from asyncrouter.config.files import read_file  # the parsers are wanted only here

    table, repeated = read_file(path)
    config, faults = _read(table)
    _refuse([*repeated, *faults], str(path))
    return config


def _read(source: Mapping[str, Any]) -> tuple[RouterConfig, list[ConfigFault]]:
    from asyncrouter.config.structure import one, structured  # imports cattrs, wanted only where there is a table
    from asyncrouter.config.tree import copied

    raw, faults = copied(source)
    config, found = structured(raw, also=(TABLE,))
    faults += found
    groups, deployments = _names(raw.get("groups")), _names(raw.get("deployments"))
    if TABLE in raw:
        models = one(raw[TABLE], TwoModelSettings, TABLE, faults)
        if models is not None:
            config, found = with_two_models(config, models, deployments)
            faults += found
        groups.add(DEFAULT_GROUP)
    named = {fault.path for fault in faults}
    faults += [fault for fault in reference_faults(config, groups, deployments) if fault.path not in named]
    return config, faults


def _names(section: object) -> set[str]:
    return set(section) if isinstance(section, Mapping) else set()


def _refuse(faults: list[ConfigFault], file: str = "") -> None:
    """Raise one error of all *faults*, if any, headed by the *file* that holds them."""
    if not faults:
        return
    lines = [f"{file}: {len(faults)} fault{'s' if len(faults) > 1 else ''}"] if file else []
    raise ConfigError("\n".join([*lines, *map(str, faults)]), faults=faults)
