"""From a file to checked scenarios: the configuration, the table ``simulate``, and the variants to compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from asyncrouter.config.catalogue import build_catalogue
from asyncrouter.config.checks import join, named, unknown
from asyncrouter.config.files import read_file
from asyncrouter.config.loading import load_config
from asyncrouter.config.names import default_name
from asyncrouter.config.schema import ProviderSettings, RouterConfig
from asyncrouter.hooks.options import unexpected
from asyncrouter.lab.simulation import arrivals
from asyncrouter.lab.simulation.draws import draw
from asyncrouter.lab.simulation.schema import (
    Phase,
    PromptSettings,
    Scenario,
    SimulationSettings,
    UpstreamSettings,
)
from asyncrouter.lab.simulation.tables import one, variant
from asyncrouter.lab.simulation.upstream import Unreachable
from asyncrouter.types.errors import ConfigError, ConfigFault

SIMULATE, VARIANTS, EVERY = "simulate", "variants", "*"
PROVIDER = "simulated"
"""The provider that deployments of a scenario may name without a table of it."""
OUTAGE = Phase(from_s=100.0, to_s=160.0, down="refuse")
"""What happens to the first deployment of a configuration that says nothing of a simulation."""

Raw = Mapping[str, Any]


def shipped() -> dict[str, Path]:
    """Return the scenarios that come with the package, by name."""
    folder = Path(__file__).parents[1] / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def summary_of(path: Path) -> str:
    """Return what a shipped scenario's file says in its first line, a comment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").strip()


def load_scenarios(source: Path | RouterConfig, **laid_over: Any) -> tuple[Scenario, ...]:
    """Return the scenario that the file *source* holds, and after it each of its variants.

    A configuration without a table ``simulate`` is tried with an outage of its first deployment.  *laid_over*: keys of
    that table that replace what it says, where they are not ``None``.

    Raises :class:`~asyncrouter.types.errors.ConfigError` with every fault found.
    """
    over = {key: value for key, value in laid_over.items() if value is not None}
    faults: list[ConfigFault] = []
    if isinstance(source, RouterConfig):
        head, made = "", [_made("configuration", source, None, over, faults)]
    else:
        head, made = f"{source}: ", _from_file(source, over, faults)
    if faults:
        head = f"{head}{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise ConfigError("\n".join([head, *map(str, faults)]), faults=faults)
    return tuple(scenario for scenario in made if scenario is not None)


def _from_file(path: Path, over: Raw, faults: list[ConfigFault]) -> list[Scenario | None]:
    table, repeated = read_file(path)
    faults += repeated
    raw = _based(table, path)
    variants = raw.pop(VARIANTS, {})
    made = [_scenario(path.stem, raw, over, faults)]
    if not isinstance(variants, Mapping):
        faults.append(unexpected(VARIANTS, "a table", variants))
        return made
    for name, overlay in variants.items():
        found: list[ConfigFault] = []
        if isinstance(overlay, Mapping):
            made.append(_scenario(name, _merged(raw, overlay), over, found))
        else:
            found.append(unexpected("", "a table", overlay))
        here = join(VARIANTS, named(name))
        faults += [attrs.evolve(fault, path=join(here, fault.path)) for fault in found if fault not in faults]
    return made


def _based(table: Raw, path: Path) -> dict[str, Any]:
    """Return *table* laid over the configuration that it names, if it names one."""
    simulate = table.get(SIMULATE)
    base = simulate.get("config") if isinstance(simulate, Mapping) else None
    if not isinstance(base, str) or not base.strip():
        return dict(table)
    return _merged(read_file(path.parent / base)[0], table)


def _merged(under: Raw, over: Raw) -> dict[str, Any]:
    """Return *over* laid over *under*: tables key by key, anything else as a whole."""
    both = {
        key: _merged(under[key], value) if isinstance(value, Mapping) and isinstance(under.get(key), Mapping) else value
        for key, value in over.items()
    }
    return {**under, **both}


def _scenario(name: str, raw: Raw, over: Raw, faults: list[ConfigFault]) -> Scenario | None:
    config = _config({key: item for key, item in raw.items() if key != SIMULATE}, faults)
    return _made(name, config, raw.get(SIMULATE), over, faults)


def _made(name: str, config: RouterConfig | None, table: Any, over: Raw, faults: list[ConfigFault]) -> Scenario | None:
    """Return the scenario of *config* and *table*; without a table the first deployment has an outage."""
    settings = _settings({**table, **over} if isinstance(table, Mapping) else over if table is None else table, faults)
    if config is None or settings is None:
        return None
    faults += _references(settings, config)
    if table is None and default_name(config) is not None:
        first = build_catalogue(config).resolve(None).group.deployments[0].name
        settings = attrs.evolve(settings, upstreams={first: UpstreamSettings(phases=(OUTAGE,))})
    return Scenario(name=name, config=config, settings=settings)


def _config(raw: Raw, faults: list[ConfigFault]) -> RouterConfig | None:
    """Return the configuration part, with a provider that deployments which exist nowhere else may name."""
    providers = raw.get("providers", {})
    if isinstance(providers, Mapping):
        raw = {**raw, "providers": {PROVIDER: ProviderSettings(instance=Unreachable()), **providers}}
    try:
        config = load_config(raw)
        build_catalogue(config)
    except ConfigError as error:
        faults += error.faults
        return None
    return config


def _settings(value: Any, faults: list[ConfigFault]) -> SimulationSettings | None:
    if not isinstance(value, Mapping):
        return one(value, SimulationSettings, SIMULATE, faults)
    table, found = dict(value), len(faults)
    for key, read in (("arrivals", _arrivals), ("prompts", _prompts), ("upstreams", _upstreams)):
        if key in table and (made := read(table.pop(key), join(SIMULATE, key), faults)) is not None:
            table[key] = made
    settings = one(table, SimulationSettings, SIMULATE, faults)
    return settings if len(faults) == found else None


def _arrivals(value: Any, path: str, faults: list[ConfigFault]) -> Any:
    if isinstance(value, Mapping) and value.get("kind") == "closed":
        value = _drawn(value, ("think_s",), path, faults)
    return variant(value, arrivals.KINDS, path, faults)


def _prompts(value: Any, path: str, faults: list[ConfigFault]) -> PromptSettings | None:
    return one(
        _drawn(value, ("complexity", "input_tokens", "output_tokens"), path, faults), PromptSettings, path, faults
    )


def _upstreams(value: Any, path: str, faults: list[ConfigFault]) -> dict[str, UpstreamSettings] | None:
    if not isinstance(value, Mapping):
        faults.append(unexpected(path, "a table", value))
        return None
    every = value.get(EVERY, {})
    tables = {
        name: {**every, **table} if isinstance(every, Mapping) and isinstance(table, Mapping) else table
        for name, table in value.items()
    }
    made = {name: _upstream(table, join(path, named(name)), faults) for name, table in tables.items()}
    return {name: one for name, one in made.items() if one is not None}


def _upstream(value: Any, path: str, faults: list[ConfigFault]) -> UpstreamSettings | None:
    value = _drawn(value, ("latency_s",), path, faults)
    if isinstance(value, dict) and "phases" in value:
        value["phases"] = _phases(value["phases"], join(path, "phases"), faults)
    return one(value, UpstreamSettings, path, faults)


def _phases(value: Any, path: str, faults: list[ConfigFault]) -> tuple[Phase, ...]:
    if not isinstance(value, list):
        cure = 'such as phases = [{ from_s = 60, to_s = 120, down = "500" }]'
        faults.append(unexpected(path, "a list of tables", value, cure))
        return ()
    made = (one(item, Phase, f"{path}[{index}]", faults) for index, item in enumerate(value))
    return tuple(phase for phase in made if phase is not None)


def _drawn(value: Any, keys: tuple[str, ...], path: str, faults: list[ConfigFault]) -> Any:
    """Return the table *value* with the distributions under *keys* made; the faulty ones are left out."""
    if not isinstance(value, Mapping):
        return value
    drawn = {key: draw(value[key], join(path, key), faults) for key in keys if key in value}
    kept = {key: item for key, item in value.items() if key not in drawn}
    return kept | {key: made for key, made in drawn.items() if made is not None}


def _references(settings: SimulationSettings, config: RouterConfig) -> list[ConfigFault]:
    """Return a fault for each name of a deployment or group that the configuration does not have."""
    catalogue = build_catalogue(config)
    deployments, faults = list(catalogue.deployments), []
    for name in settings.upstreams:
        if name not in deployments and name != EVERY:
            path = join(f"{SIMULATE}.upstreams", named(name))
            faults.append(ConfigFault(path, *unknown("deployment", name, deployments)))
    model, known = settings.prompts.model, [*catalogue.groups, *deployments]
    if model is not None and model not in known:
        path = f"{SIMULATE}.prompts.model"
        faults.append(ConfigFault(path, *unknown("group or deployment", model, known)))
    if model is None and catalogue.default is None:
        cure = f"set router.default or {SIMULATE}.prompts.model"
        faults.append(ConfigFault(f"{SIMULATE}.prompts.model", "nothing says which group is asked", cure))
    return faults
