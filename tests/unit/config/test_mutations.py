"""Whatever is done to a valid configuration, it is valid or refused with a ConfigError; nothing else happens."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncrouter.config.catalogue import Catalogue, build_catalogue
from asyncrouter.config.loading import load_config
from asyncrouter.types.errors import ConfigError, ConfigFault, UnknownModelGroup

VALID = {
    "router": {"default": "chat", "deadline_s": 60.0, "params": {"user": "u"}, "plugins": ["cache"]},
    "model": {"primary_model": "gpt-4", "backup_model": "small"},
    "providers": {"openai": {"api_key_env": "KEY", "headers": {"x": ["y"]}}, "house": {"kind": "openai"}},
    "deployments": {
        "small": {
            "provider": "house",
            "model": "m",
            "price": {"input": 1, "output": 2.5},
            "limits": {"rpm": 1},
            "tags": ["eu"],
        },
        "large": {"provider": "openai", "model": "gpt-4o", "capabilities": ["tools"]},
    },
    "groups": {
        "chat": {
            "deployments": ["small", "large"],
            "select": {"use": "complexity", "threshold": 0.7},
            "fallbacks": ["spare"],
            "breaker": {"open_s": 1.0},
            "hedge": {"at": "p95"},
            "timeouts": {"idle_s": 2},
            "filters": ["cooldown", {"use": "capability"}],
        },
        "spare": {"deployments": ["large"], "on_interrupt": "restart"},
    },
    "agents": {
        "recon": {"group": "chat", "complexity_threshold": 0.8},
        "own": {"model_name": "gpt-4", "backup_model": "large", "jitter": False},
    },
}

WORDS = st.sampled_from(
    [
        "chat",
        "spare",
        "small",
        "large",
        "openai",
        "house",
        "gpt-4",
        "openai/x",
        "recon",
        "own",
        "default",
        "p95",
        "use",
        "api_key",
        "api_key_env",
        "raise",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    WORDS,
    st.text(max_size=5),
    st.binary(max_size=3),
    st.builds(object),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(WORDS, st.text(max_size=5), st.integers()), inner, max_size=3),
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything in *value*."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in pairs for place in places(item, (*path, key)))]


def spoil(draw: st.DrawFn, config: dict[str, Any]) -> Any:
    """Replace, remove, rename, add or move something in *config*."""
    *tables, key = draw(st.sampled_from([place for place in places(config) if place]))
    table: Any = config
    for step in tables:
        table = table[step]
    change = draw(st.sampled_from(["replace", "remove", "rename", "add", "move"]))
    if change == "replace":
        table[key] = draw(VALUES)
    elif change == "move":
        table[key] = copy.deepcopy(VALID["groups"])
    elif isinstance(table, list):
        table.insert(key, draw(VALUES))
    elif change == "add":
        table[draw(WORDS)] = draw(VALUES)
    else:
        value = table.pop(key)
        if change == "rename":
            table[draw(st.one_of(WORDS, st.integers()))] = value
    return config


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    config: Any = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 4))):
        config = spoil(draw, config)
    return config


def outcome(source: Any) -> tuple[Catalogue | None, tuple[ConfigFault, ...]]:
    """Return the catalogue of *source*, or its faults."""
    try:
        return build_catalogue(load_config(source)), ()
    except ConfigError as error:
        return None, error.faults


def test_the_original_is_valid():
    assert build_catalogue(load_config(VALID)).default == "chat"


@given(config=spoilt())
@settings(max_examples=400, deadline=None)
def test_a_spoilt_mapping(config):
    catalogue, faults = outcome(config)
    assert (catalogue is None) == bool(faults)
    assert all(fault.message for fault in faults)
    if catalogue is None:
        return
    for name in [*catalogue.groups, *catalogue.deployments, catalogue.default]:
        try:
            plan = catalogue.resolve(name)
        except UnknownModelGroup:
            assert name is None
        else:
            assert plan.group.deployments


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_spoilt_file(data, tmp_path_factory):
    form = data.draw(st.sampled_from(["json", "yaml", "toml"]))
    text = TOML if form == "toml" else json.dumps(VALID, indent=1)
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 6))
    piece = data.draw(
        st.one_of(st.text(max_size=4), st.sampled_from(["&a ", "*a", "<<:", "[[", "]", "!!int ", "{", "'''"]))
    )
    path = tmp_path_factory.getbasetemp() / f"spoilt.{form}"
    path.write_text(text[:start] + piece + text[start + length :], encoding="utf-8", errors="surrogatepass")
    catalogue, faults = outcome(path)
    assert (catalogue is None) == bool(faults)


TOML = """
[router]
default = "chat"
deadline_s = 60.0
[providers.openai]
api_key_env = "KEY"
[deployments.small]
provider = "openai"
model = "gpt-4o-mini"
price = { input = 0.15, output = 0.60 }
[groups.chat]
deployments = ["small"]
select = { use = "complexity", threshold = 0.7 }
hedge = { at = "p95", max_extra_load = 0.05 }
[agents.recon]
group = "chat"
"""
