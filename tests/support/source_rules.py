"""The architecture's rules of what a source holds: shared state, clocks and dice, sizes and words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from import_rules import FLOORS, TOP
from sources import PACKAGE, imports, parsed, part_of

CLOCKS_AND_DICE = {
    "time": {"sleep", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"},
    "random": {"random", "uniform", "randint", "randrange", "choice", "choices", "shuffle", "sample", "gauss", "seed"},
    "datetime": {"now", "utcnow", "today"},
    "secrets": {"token_hex", "token_bytes", "token_urlsafe", "randbelow", "choice"},
    "uuid": {"uuid1", "uuid4"},
}
"""Functions that look at the clock, wait, or throw dice: floors 0 to 2 are handed a clock and a ``Random`` instead."""
ALLOWED = {
    ("asyncrouter/engine/clock.py", "time.monotonic"): "it is the clock",
    ("asyncrouter/providers/openai_compatible.py", "time.time"): "a Retry-After date is told in wall-clock time",
}

CONTAINERS = frozenset(
    {"dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "ChainMap", "SimpleQueue"}
    | {"WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "ContextVar", "local"}
)
MUTATORS = frozenset(
    {"append", "appendleft", "extend", "insert", "pop", "popleft", "popitem", "remove", "discard", "clear", "update"}
    | {"add", "setdefault", "sort", "reverse", "__setitem__", "__delitem__"}
)

LONGEST_MODULE = 400
LONGEST_FUNCTION = 60


# ------------------------------------------------------------------ state, clocks, dice


def no_shared_state(path: str, source: str) -> list[str]:
    """No module-level or class-level container is a variable, and no function changes one, or rebinds a global."""
    tree = parsed(source)
    faults = []
    containers: set[str] = set()
    for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
        for name, value, line in _assignments(scope):
            if not _is_container(value):
                continue
            if scope is tree:
                containers.add(name)
            if not re.fullmatch(r"_*[A-Z][A-Z0-9_]*|__all__|__slots__", name) and not _is_class_var(scope, name):
                faults.append(f"line {line}: {name} is a container that all share; make it a constant or an attribute")
    for function in (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
        faults += _changes(function, containers, path)
    return faults


def _assignments(scope: ast.AST) -> Iterator[tuple[str, ast.expr, int]]:
    for node in scope.body:  # type: ignore[attr-defined]
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and value is not None:
                yield target.id, value, node.lineno


def _is_container(value: ast.expr) -> bool:
    if isinstance(value, (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)):
        return True
    name = ast.unparse(value.func).rpartition(".")[2] if isinstance(value, ast.Call) else ""
    return name in CONTAINERS


def _is_class_var(scope: ast.AST, name: str) -> bool:
    return isinstance(scope, ast.ClassDef) and any(
        isinstance(node, ast.AnnAssign)
        and getattr(node.target, "id", None) == name
        and re.match(r"ClassVar\[(Mapping|Sequence|frozenset|tuple)\b", ast.unparse(node.annotation))
        for node in scope.body
    )


def _changes(function: ast.FunctionDef | ast.AsyncFunctionDef, containers: set[str], path: str) -> Iterator[str]:
    local = _locals(function)
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            yield f"line {node.lineno}: global {', '.join(node.names)}"
        changed: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            changed = [target.value for target in node.targets if isinstance(target, ast.Subscript)]
        elif isinstance(node, ast.AugAssign):
            changed = [node.target.value if isinstance(node.target, ast.Subscript) else node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            changed = [node.func.value]
        for one in changed:
            if isinstance(one, ast.Name) and one.id in containers - local:
                yield f"line {node.lineno}: changes the module's {one.id}"
            if ast.unparse(one) == "globals()" and path != "asyncrouter/__init__.py":
                yield f"line {node.lineno}: changes the module's globals()"


def _locals(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    arguments = function.args
    names = {one.arg for one in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    names |= {one.arg for one in (arguments.vararg, arguments.kwarg) if one is not None}
    return names | {
        node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def injected_time_and_chance(path: str, source: str) -> list[str]:
    """Floors 0 to 2 are handed their clock and their random numbers."""
    if not path.startswith(f"{PACKAGE}/") or FLOORS.get(part_of(path), TOP) > 2:
        return []
    return [
        f"line {line}: {name}; take the time and random numbers as arguments"
        for line, name in clocks_and_dice(path, source)
        if (path, name) not in ALLOWED
    ]


def clocks_and_dice(path: str, source: str) -> list[tuple[int, str]]:
    """Return every use of :data:`CLOCKS_AND_DICE` in *source*, by line."""
    tree = parsed(source)
    modules = {one.module for one in imports(path, source)} & set(CLOCKS_AND_DICE)
    shadowed = {name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
                for name in _locals(node)}  # fmt: skip
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in CLOCKS_AND_DICE:
            names = [alias.name for alias in node.names if alias.name in CLOCKS_AND_DICE[node.module]]
            found += [(node.lineno, f"{node.module}.{name}") for name in names]
        elif isinstance(node, ast.Attribute):
            module = ast.unparse(node.value).partition(".")[0]
            if module in modules and node.attr in CLOCKS_AND_DICE[module] and module not in shadowed:
                found.append((node.lineno, f"{module}.{node.attr}"))
    return found


# ------------------------------------------------------------------ sizes and words


def sizes(path: str, source: str) -> list[str]:
    """No module is over 400 lines long, no function over 60."""
    lines = source.count("\n") + 1
    faults = [f"{lines - 1} lines; make it a folder"] if lines - 1 > LONGEST_MODULE else []
    for node in ast.walk(parsed(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > LONGEST_FUNCTION:
                faults.append(f"line {node.lineno}: {node.name} has {length} lines")
    return faults


def documented(path: str, source: str) -> list[str]:
    """Every module and every public name has a docstring."""
    tree = parsed(source)
    faults = [] if ast.get_docstring(tree) or not source.strip() else ["the module has no docstring"]
    return faults + [f"line {node.lineno}: {node.name} has no docstring" for node in _public(tree)
                     if not ast.get_docstring(node)]  # fmt: skip


def _public(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in scope.body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        marks = {ast.unparse(mark) for mark in node.decorator_list}
        if "overload" not in marks and not any(mark.endswith((".validator", ".default", ".setter")) for mark in marks):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


def no_unfinished_business(path: str, source: str) -> list[str]:
    """Nothing is left to be done later."""
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    return [
        f"line {number}: {line.strip()}" for number, line in enumerate(source.splitlines(), 1) if words.search(line)
    ]
