"""From plain tables to the schema's classes, with every fault found and as much kept as makes sense.

cattrs structures one entry at a time (it is imported with this module, so only when there is a table to read); its
error groups become :class:`~asyncrouter.types.errors.ConfigFault` with exact paths.  An entry with faults is made a
second time without its faulty keys, so that what the entries say of each other can still be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import attrs
from cattrs import Converter
from cattrs.errors import AttributeValidationNote, BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from asyncrouter.config.checks import SECRET_CURE, is_secret_key, join, named
from asyncrouter.config.schema import (
    RULES,
    TABLES,
    AgentSettings,
    DeploymentSettings,
    GroupSettings,
    ProviderSettings,
    RouterConfig,
    RouterSettings,
)
from asyncrouter.config.specs import PLAIN
from asyncrouter.hooks.options import unexpected
from asyncrouter.hooks.registry import did_you_mean
from asyncrouter.types.errors import ConfigError, ConfigFault

T = TypeVar("T")
Structuring = ConfigError | ForbiddenExtraKeysError | BaseValidationError

SECTIONS: Mapping[str, type] = {
    "providers": ProviderSettings,
    "deployments": DeploymentSettings,
    "groups": GroupSettings,
    "agents": AgentSettings,
}


OUTCOMES = "outcomes"


def structured(raw: Mapping[str, Any], also: tuple[str, ...] = ()) -> tuple[RouterConfig, list[ConfigFault]]:
    """Return what could be made of *raw*, and its faults; *also* are further known keys, read elsewhere.

    Entries that could not be made are left out, but for providers, which need nothing but their name.
    """
    known = ["router", *SECTIONS, OUTCOMES, *also]
    faults = [_unknown_key("", key, known) for key in raw if key not in known]
    router = one(raw.get("router"), RouterSettings, "router", faults) or RouterSettings()
    sections: dict[str, Any] = {name: _section(raw.get(name), kind, name, faults) for name, kind in SECTIONS.items()}
    return RouterConfig(router=router, **sections, outcomes=_outcomes(raw.get(OUTCOMES), faults)), faults


def _outcomes(value: Any, faults: list[ConfigFault]) -> Any:
    """Return *value* where it can be the outcome log's options, or such a log."""
    if value is None or isinstance(value, Mapping) or not isinstance(value, PLAIN):
        return value
    faults.append(unexpected(OUTCOMES, "a table", value, 'such as path = "outcomes.sqlite"'))
    return None


def one(value: Any, kind: type[T], path: str, faults: list[ConfigFault]) -> T | None:
    """Return the *kind* that *value* makes: a table, nothing, or such an object; what is wrong goes into *faults*."""
    if isinstance(value, kind):
        return value
    table = {} if value is None else value
    if not isinstance(table, Mapping):
        faults.append(unexpected(path, "a table", table))
        return None
    try:
        return _converter().structure(table, kind)
    except (BaseValidationError, ConfigError) as error:
        found = list(_faults(error, path))
    faults += found
    wrong = [fault.path for fault in found]
    sound = {key: item for key, item in table.items() if not _is_under(join(path, named(key)), wrong)}
    try:
        return _converter().structure(sound, kind)
    except (BaseValidationError, ConfigError):
        return None


def _section(value: Any, kind: type, section: str, faults: list[ConfigFault]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        faults.append(unexpected(section, "a table", value))
        return {}
    faults += [ConfigFault(section, "holds an entry without a name") for name in value if not name.strip()]
    made = {}
    for name, item in value.items():
        path = join(section, named(name))
        entry = _provider(item, path, faults) if kind is ProviderSettings else one(item, kind, path, faults)
        if entry is not None and name.strip():
            made[name] = entry
    return made


def _provider(value: Any, path: str, faults: list[ConfigFault]) -> ProviderSettings:
    if value is None or isinstance(value, (ProviderSettings, Mapping)):
        return one(value, ProviderSettings, path, faults) or ProviderSettings()
    try:
        return ProviderSettings(instance=value)
    except ConfigError as error:
        faults += _faults(error, path)
        return ProviderSettings()


def _is_under(path: str, wrong: list[str]) -> bool:
    return any(there == path or there.startswith((f"{path}.", f"{path}[")) for there in wrong)


def _faults(error: Structuring, path: str) -> Iterator[ConfigFault]:
    """Yield the faults that an error of structuring holds, with full paths."""
    if isinstance(error, ConfigError):
        yield from (attrs.evolve(fault, path=join(path, fault.path)) for fault in error.faults)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl)]
        yield from (_unknown_key(path, key, known) for key in sorted(error.extra_fields))
    else:
        for inner in error.exceptions:
            yield from _faults_of_key(inner, error.cl, path)


def _faults_of_key(error: Exception, kind: Any, path: str) -> Iterator[ConfigFault]:
    names = [note.name for note in getattr(error, "__notes__", ()) if isinstance(note, AttributeValidationNote)]
    if isinstance(error, KeyError):
        cure = attrs.fields_dict(kind)[names[0]].metadata.get("cure", "it has no default")
        yield ConfigFault(join(path, names[0]), "missing", cure)
    elif isinstance(error, BaseValidationError):
        yield from _faults(error, join(path, names[0]))
    else:  # a check's error already names its key
        yield from _faults(cast("Structuring", error), path)


def _unknown_key(path: str, key: str, known: list[str]) -> ConfigFault:
    cure = SECRET_CURE if is_secret_key(key) else did_you_mean(key, known) or f"known: {', '.join(known)}"
    return ConfigFault(join(path, named(key)), "unknown key", cure)


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_factory(attrs.has, lambda kind: _made_by(converter, kind))
    provider = _made_by(converter, ProviderSettings)

    def with_options(table: Mapping[str, Any], kind: type[ProviderSettings]) -> Any:
        options = {key: item for key, item in table.items() if key != "kind"}
        try:
            return provider({"kind": table.get("kind"), "options": options}, kind)
        except BaseValidationError as error:
            faults = [attrs.evolve(f, path=f.path.removeprefix("options.")) for f in _faults(error, "")]
            raise ConfigError(faults=faults) from None

    converter.register_structure_hook(ProviderSettings, with_options)
    return converter


def _made_by(converter: Converter, kind: type) -> Callable[[Mapping[str, Any], Any], Any]:
    """Return cattrs' function for *kind*, with each attribute checked where cattrs notes its errors."""
    hooks: dict[str, Any] = {
        field.name: override(struct_hook=_checked(converter, kind, field)) for field in attrs.fields(kind)
    }
    return make_dict_structure_fn(kind, converter, **hooks)


def _checked(converter: Converter, kind: type, field: attrs.Attribute[Any]) -> Callable[[Any, Any], Any]:
    table = TABLES.get(field.name)
    convert: Any = field.converter
    check: Any = RULES[kind][field.name] if kind in RULES else field.validator

    def structure(value: Any, _type: Any) -> Any:
        if table is not None and isinstance(value, Mapping):
            value = converter.structure(value, table)
        if convert is not None:
            value = convert(value)
        check(None, field, value)
        return value

    return structure
