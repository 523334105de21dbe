"""The project's Python sources as syntax trees, and the modules that they import."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PACKAGE = "asyncrouter"


@attrs.frozen
class Imported:
    """One imported module, as far as it can be named; ``lazily``: inside a function, or for type checkers only."""

    module: str
    line: int
    lazily: bool


@functools.cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


@functools.cache
def imports(path: str, source: str) -> tuple[Imported, ...]:
    return tuple(_imports(path, parsed(source), lazily=False))


def _imports(path: str, node: ast.AST, *, lazily: bool) -> Iterator[Imported]:
    if isinstance(node, ast.Import):
        yield from (Imported(alias.name, node.lineno, lazily) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            folder = path.removesuffix(".py").removesuffix("/__init__").split("/")
            kept = folder[: len(folder) - node.level + path.endswith("/__init__.py")]
            base = ".".join([*kept, *([base] if base else [])])
        yield from (Imported(_named(base, alias.name), node.lineno, lazily) for alias in node.names)
    for child in ast.iter_child_nodes(node):
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(node, child)
        yield from _imports(path, child, lazily=lazily or inside)


def _is_type_checking(node: ast.AST, child: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and child in node.body


def _named(base: str, name: str) -> str:
    """Return the module that ``from base import name`` loads: a module called *name* is one itself."""
    inner = f"{base}.{name}"
    return inner if inner == "aiohttp.web" or (base.startswith(PACKAGE) and _is_module(inner)) else base


@functools.cache
def _is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def part(module: str) -> str:
    """Return the module or folder of the package that *module* is, or is in."""
    steps = module.split(".")
    return steps[1] if len(steps) > 1 else "__init__"


def part_of(path: str) -> str:
    steps = path.removesuffix(".py").split("/")
    return steps[1] if steps[0] == PACKAGE else "plugins"


def is_ours(module: str) -> bool:
    return module.split(".", maxsplit=1)[0] == PACKAGE


def under(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def files() -> list[str]:
    found = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    return sorted(file.relative_to(ROOT).as_posix() for file in found if ".venv" not in file.parts)
