"""Configuration files: TOML, YAML and JSON, read with bounds and with every fault of their syntax named."""

from __future__ import annotations

import json
import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncrouter.config.checks import named
from asyncrouter.config.tree import MAX_VALUES
from asyncrouter.hooks.options import fault, wrong
from asyncrouter.types.errors import ConfigError, ConfigFault

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1 << 20
"""Largest file read, in bytes."""

Parsed = tuple[Any, list[ConfigFault]]


def read_file(path: Path) -> tuple[Mapping[Any, Any], list[ConfigFault]]:
    """Return the table that the file at *path* holds, and the faults that do not keep it from being read.

    Raises :class:`~asyncrouter.types.errors.ConfigError` naming the file: it is missing, no file, too large, not
    UTF-8, of an unknown form, of wrong syntax (with line and column), or no table.
    """
    where = str(path)
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise fault(where, f"unknown kind of file {path.suffix!r}", f"known: {', '.join(_PARSERS)}")
    try:
        data, faults = parse(_text(path), where)
    except RecursionError:
        raise fault(where, "is nested too deeply") from None
    if data is None:
        return {}, faults
    if not isinstance(data, Mapping):
        raise wrong(where, "a table at the top", data)
    return data, faults


def _text(path: Path) -> str:
    if not path.exists():
        raise fault(str(path), "no such file")
    if not path.is_file():
        raise fault(str(path), "is a directory" if path.is_dir() else "is no regular file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise fault(str(path), f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise fault(str(path), f"is larger than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fault(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error


def _toml(text: str, where: str) -> Parsed:
    try:
        return tomllib.loads(text), []
    except ValueError as error:
        raise fault(where, f"bad TOML: {error}") from error


def _json(text: str, where: str) -> Parsed:
    faults: list[ConfigFault] = []

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(key for key, _ in pairs)
        faults.extend(_repeated(where, key) for key, count in counts.items() if count > 1)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=table), faults
    except json.JSONDecodeError as error:
        raise fault(where, f"bad JSON: {error.msg} (at line {error.lineno}, column {error.colno})") from error
    except ValueError as error:
        raise fault(where, f"bad JSON: {error}") from error


def _yaml(text: str, where: str) -> Parsed:
    try:
        import yaml  # only where a file asks for it
    except ImportError:
        raise fault(where, "YAML needs a package that is not installed", 'pip install "asyncrouter[yaml]"') from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, []
        if _unfolded(node, {}) > MAX_VALUES:
            raise fault(where, f"unfolds to more than {MAX_VALUES} values by its aliases", "write it out")
        faults = list(_repeated_in(node, where, set()))
        return loader.construct_document(node), faults
    except (ConfigError, RecursionError):
        raise
    except yaml.MarkedYAMLError as error:
        raise fault(where, f"bad YAML: {error.problem or error.context}{_position(error)}") from error
    except Exception as error:  # a tag with a value that does not suit it raises anything
        raise fault(where, "bad YAML: holds a character or a tagged value that cannot be read") from error


def _position(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f" (at line {mark.line + 1}, column {mark.column + 1})" if mark else ""


_PARSERS = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml, ".json": _json}


def _unfolded(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Return how many values *node* makes once its aliases are unfolded: infinitely many when it holds itself."""
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        sizes[id(node)] = 1 + sum(_unfolded(child, sizes) for child in _children(node))
    return sizes[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node.value, list):
        for child in node.value:
            yield from child if isinstance(child, tuple) else (child,)


def _repeated_in(node: yaml.Node, where: str, seen: set[int]) -> Iterator[ConfigFault]:
    """Yield a fault for each key that stands twice in a mapping; "<<" may, since it merges."""
    import yaml

    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key.value, str) and key.value != "<<"):
            if key.value in keys:
                yield _repeated(where, key.value, f" (at line {key.start_mark.line + 1})")
            keys.add(key.value)
    for child in _children(node):
        yield from _repeated_in(child, where, seen)


def _repeated(where: str, key: str, position: str = "") -> ConfigFault:
    return ConfigFault(where, f"the key {named(key)} stands twice in one table{position}", "remove one")
