"""The architecture, read off the syntax trees: floors, who may import what, sizes, documentation, no shared state.

Each rule is a function of a path and its source that returns what is wrong; ``SAMPLES`` holds for each at least one
source that it must find fault with, and one that it must let pass.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "asyncrouter"

FLOORS = {
    "types": 0,
    "version": 0,
    "hooks": 1,
    "config": 1,
    "providers": 1,
    "state": 1,
    "strategies": 2,
    "engine": 2,
    "assembler": 3,
    "versions": 3,
    "calls": 3,
    "routed_stream": 3,
    "router": 3,
    "sync": 4,
    "manager": 4,
    "container": 4,
    "backoff": 4,
    "__init__": 4,
}
"""The floor of each module or folder of the package; a new one is decided here."""
WINGS = frozenset({"telemetry", "gateway", "lab", "cli", "integrations", "testing", "examples", "__main__"})
TOP = max(FLOORS.values())

ONLY_IN = {
    "pluggy": ("asyncrouter/hooks/",),
    "structlog": ("asyncrouter/telemetry/",),
    "aiohttp": ("asyncrouter/providers/", "asyncrouter/testing/"),
    "yarl": ("asyncrouter/providers/",),
    "dependency_injector": ("asyncrouter/container.py",),
    "cattrs": ("asyncrouter/config/",),
    "yaml": ("asyncrouter/config/",),
    "click": ("asyncrouter/cli/", "asyncrouter/examples/"),
    "rich": ("asyncrouter/cli/", "asyncrouter/examples/"),
    "matplotlib": ("asyncrouter/examples/", "asyncrouter/lab/"),
    "numpy": ("asyncrouter/lab/", "plugins/"),
    "pyarrow": ("asyncrouter/lab/outcomes/",),
    "scipy": ("asyncrouter/lab/calibration/", "plugins/asyncrouter-semantic/src/asyncrouter_semantic/training/"),
    "xllamacpp": ("plugins/",),
    "jsonschema": ("plugins/",),
    "referencing": ("plugins/",),
    "orjson": ("asyncrouter/providers/",),
    "trio": ("asyncrouter/engine/apart.py",),
    "genai_prices": ("asyncrouter/config/",),
    "pytest": ("asyncrouter/testing/",),
}
"""Third-party modules, and the only places that may import them."""
EVERYWHERE = frozenset({"attrs", "anyio"})
"""Third-party modules that any floor above the first may import; attrs the first one too."""
HTTP = ("asyncrouter/providers/transport.py", "asyncrouter/providers/exchange.py", "asyncrouter/providers/failures.py")
HEAVY = {
    "aiohttp": HTTP,
    "yarl": HTTP,
    "structlog": ("asyncrouter/telemetry/log.py",),
    "cattrs": ("asyncrouter/config/structure.py",),
    "matplotlib": (),
    "genai_prices": (),
    "yaml": (),
    "trio": (),
}
"""What is imported when it is needed, inside functions; some modules may do so at their top, if imported that way."""
GATES = frozenset(gate for gates in HEAVY.values() for gate in gates)

FOR_PLUGINS = (
    "asyncrouter", "asyncrouter.types", "asyncrouter.hooks", "asyncrouter.providers", "asyncrouter.lab.outcomes",
)  # fmt: skip
PUBLISHED = {
    "strategies": ("asyncrouter.types", "asyncrouter.hooks", "asyncrouter.strategies"),
    "telemetry": ("asyncrouter.types", "asyncrouter.hooks", "asyncrouter.telemetry"),
    "plugins": FOR_PLUGINS,
    "plugins' tests": (*FOR_PLUGINS, "asyncrouter.testing"),
}
"""What plugins may import of the package; built-ins are plugins."""

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


# ------------------------------------------------------------------ reading sources


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


# ------------------------------------------------------------------ who may import what


def floors(path: str, source: str) -> list[str]:
    """A module imports from its own floor or lower; wings are imported by users, doors and wings only."""
    if not path.startswith(f"{PACKAGE}/"):
        return []
    here = part_of(path)
    if here in WINGS:
        return []
    if here not in FLOORS:
        return [f"{here}: a new part of the package; decide its floor in FLOORS, or make it a wing"]
    faults = []
    for one in imports(path, source):
        there = part(one.module) if is_ours(one.module) else None
        if there in WINGS and FLOORS[here] < TOP:
            faults.append(f"line {one.line}: floor {FLOORS[here]} imports the wing {there}")
        elif there is not None and FLOORS.get(there, 0) > FLOORS[here]:
            faults.append(f"line {one.line}: floor {FLOORS[here]} imports {one.module} of floor {FLOORS[there]}")
    return faults


def engine_and_strategies(path: str, source: str) -> list[str]:
    """The engine knows hooks, not strategies; strategies know no engine, state, provider or configuration."""
    forbidden = {
        "engine": ("asyncrouter.strategies",),
        "state": ("asyncrouter.config", "asyncrouter.providers", "asyncrouter.hooks"),
        "hooks": ("asyncrouter.config", "asyncrouter.providers", "asyncrouter.state"),
    }.get(part_of(path), ())
    return [f"line {one.line}: imports {one.module}" for one in imports(path, source) if under(one.module, forbidden)]


def built_ins_are_plugins(path: str, source: str) -> list[str]:
    """Strategies, observers and plugins import only what a stranger's plugin may."""
    published = PUBLISHED.get("plugins' tests" if "/tests/" in path else part_of(path))
    return [
        f"line {one.line}: imports {one.module}, which is not published to plugins"
        for one in imports(path, source)
        if published is not None and is_ours(one.module) and not _is_published(one.module, published)
    ]


def _is_published(module: str, published: tuple[str, ...]) -> bool:
    """Whether *published* holds *module* or a package around it; the package as such is its public names only."""
    return module in published or under(module, tuple(one for one in published if one != PACKAGE))


def the_kit_is_for_tests(path: str, source: str) -> list[str]:
    """Nothing but tests and the kit itself imports the test kit, save the simulator for its virtual clock."""
    if path.startswith(f"{PACKAGE}/testing/") or "/tests/" in path:
        return []
    allowed = {"asyncrouter.testing.clock"} if path.startswith(f"{PACKAGE}/lab/") else set()
    return [
        f"line {one.line}: imports {one.module}"
        for one in imports(path, source)
        if under(one.module, ("asyncrouter.testing",)) and one.module not in allowed
    ]


def third_parties(path: str, source: str) -> list[str]:
    """Each third-party module is imported in its own places; the first floor knows the standard library and attrs."""
    faults = []
    for one in imports(path, source):
        top = one.module.split(".", maxsplit=1)[0]
        if top in sys.stdlib_module_names or top.startswith(PACKAGE):
            continue
        if top in EVERYWHERE:
            if part_of(path) == "types" and top != "attrs":
                faults.append(f"line {one.line}: imports {top}; the first floor knows attrs only")
        elif top not in ONLY_IN:
            faults.append(f"line {one.line}: imports {top}; decide its places in ONLY_IN")
        elif not path.startswith(ONLY_IN[top]):
            faults.append(f"line {one.line}: imports {top}, which belongs to {' and '.join(ONLY_IN[top])}")
        elif top == "aiohttp" and not path.startswith("asyncrouter/providers/") and one.module != "aiohttp.web":
            faults.append(f"line {one.line}: imports {one.module}; outside of providers only aiohttp.web")
    return faults


def heavy_is_lazy(path: str, source: str) -> list[str]:
    """What takes long to import is imported inside functions, and so are the modules that import it at their top."""
    heavy = {name for name, gates in HEAVY.items() if path not in gates}
    gates = set() if path in GATES else {gate.removesuffix(".py").replace("/", ".") for gate in GATES}
    return [
        f"line {one.line}: imports {one.module} at the top; import it inside the function that needs it"
        for one in imports(path, source)
        if not one.lazily
        and (one.module in gates or one.module.split(".", maxsplit=1)[0] in heavy)
        and path.startswith(f"{PACKAGE}/")
    ]


def dynamic_imports(path: str, source: str) -> list[str]:
    """Modules are imported by name in three places only: the two lazy surfaces, and the assembler for the built-ins."""
    if path in {"asyncrouter/__init__.py", "asyncrouter/testing/__init__.py", "asyncrouter/assembler.py"}:
        return []
    return [
        f"line {node.lineno}: {ast.unparse(node.func)}()"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Call) and re.search(r"\b(import_module|__import__)$", ast.unparse(node.func))
    ]


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


Rule = Callable[[str, str], list[str]]
RULES: tuple[Rule, ...] = (
    floors,
    engine_and_strategies,
    built_ins_are_plugins,
    the_kit_is_for_tests,
    third_parties,
    heavy_is_lazy,
    dynamic_imports,
    no_shared_state,
    injected_time_and_chance,
    sizes,
    documented,
    no_unfinished_business,
)
OUTSIDE = (built_ins_are_plugins, no_unfinished_business)
"""The rules that hold for the plugins' tests too."""


# ------------------------------------------------------------------ the sources, held against the rules


def files() -> list[str]:
    found = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    return sorted(file.relative_to(ROOT).as_posix() for file in found if ".venv" not in file.parts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule):
    faults = []
    for path in files():
        if "/tests/" in path and rule not in OUTSIDE:
            continue
        faults += [f"{path}: {fault}" for fault in rule(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not faults, f"{rule.__doc__}\n" + "\n".join(faults)


def test_there_is_a_tree():
    assert len(files()) > 100


def test_every_part_of_the_package_has_its_place():
    parts = {part_of(path) for path in files() if path.startswith(f"{PACKAGE}/")}
    assert parts <= set(FLOORS) | WINGS
    assert set(FLOORS) <= parts


@pytest.mark.parametrize(("path", "name"), ALLOWED)
def test_every_allowance_is_needed(path, name):
    assert name in {found for _line, found in clocks_and_dice(path, (ROOT / path).read_text(encoding="utf-8"))}


@pytest.mark.parametrize(("module", "places"), ONLY_IN.items())
def test_every_third_party_has_a_place(module, places):
    used = [path for path in files() for one in imports(path, (ROOT / path).read_text(encoding="utf-8"))
            if one.module.split(".")[0] == module and path.startswith(places)]  # fmt: skip
    assert used


@pytest.mark.parametrize("gate", sorted(GATES))
def test_every_gate_is_one(gate):
    heavy = {name for name, gates in HEAVY.items() if gate in gates}
    assert heavy & {one.module.split(".")[0] for one in imports(gate, (ROOT / gate).read_text(encoding="utf-8"))}


# ------------------------------------------------------------------ the rules, held against samples

ENGINE, STRATEGY = "asyncrouter/engine/loop.py", "asyncrouter/strategies/filters/tags.py"
PLUGIN = "plugins/asyncrouter-word/src/asyncrouter_word/__init__.py"
PLUGIN_TEST = "plugins/asyncrouter-word/tests/test_contract.py"
DOC = '"""What it is."""\n'

SAMPLES = [
    # rule, path, a source that breaks it, a source that does not
    (floors, "asyncrouter/types/request.py", "from asyncrouter.hooks.markers import hookimpl", "import math"),
    (floors, "asyncrouter/state/fleet.py", "from asyncrouter import router", "from asyncrouter.types import clock"),
    (floors, "asyncrouter/state/fleet.py", "from asyncrouter import Router", "import asyncrouter.types.clock"),
    (floors, "asyncrouter/hooks/specs.py", "def f():\n    from asyncrouter.engine.loop import Engine", ""),
    (floors, "asyncrouter/types/trace.py", "if TYPE_CHECKING:\n    from asyncrouter.engine.loop import Engine", ""),
    (floors, "asyncrouter/assembler.py", "import asyncrouter.telemetry.builtin", "x = 'asyncrouter.telemetry.builtin'"),
    (floors, "asyncrouter/engine/loop.py", "from ..router import Router", "from ..types.request import Request"),
    (floors, "asyncrouter/engine/__init__.py", "from ..router import Router", "from .loop import Engine"),
    (floors, "asyncrouter/router.py", "from .sync import SyncRouter", "from .assembler import Assembler"),
    (floors, "asyncrouter/brandnew.py", "import math", None),
    (floors, "asyncrouter/manager.py", None, "from asyncrouter.router import Router"),
    (engine_and_strategies, ENGINE, "from asyncrouter.strategies import options", "import asyncrouter.state.fleet"),
    (engine_and_strategies, "asyncrouter/state/fleet.py", "import asyncrouter.providers.base", "import random"),
    (built_ins_are_plugins, STRATEGY, "from asyncrouter.state.fleet import Fleet", "import asyncrouter.types.trace"),
    (built_ins_are_plugins, STRATEGY, "from asyncrouter import Request", "from asyncrouter.strategies import options"),
    (built_ins_are_plugins, STRATEGY, "import asyncrouter.version", "from asyncrouter.hooks.markers import hookimpl"),
    (built_ins_are_plugins, PLUGIN, "import asyncrouter.config.schema", "from asyncrouter import hookimpl"),
    (built_ins_are_plugins, PLUGIN, "import asyncrouter.testing", "from asyncrouter.providers.base import Provider"),
    (built_ins_are_plugins, PLUGIN, "import asyncrouter.strategies.options", "import asyncrouter_word.options"),
    (built_ins_are_plugins, PLUGIN_TEST, "import asyncrouter.router", "import asyncrouter.testing.server"),
    (built_ins_are_plugins, "asyncrouter/telemetry/log.py", "import asyncrouter.engine.loop", "import structlog"),
    (the_kit_is_for_tests, "asyncrouter/cli/demo.py", "import asyncrouter.testing.fake", "import asyncrouter.router"),
    (the_kit_is_for_tests, PLUGIN, "from asyncrouter.testing import FakeProvider", "import anyio"),
    (the_kit_is_for_tests, "asyncrouter/lab/simulation/run.py", "from asyncrouter.testing import run_virtual",
     "from asyncrouter.testing.clock import VirtualClockLoop"),
    (the_kit_is_for_tests, "asyncrouter/examples/demo/main.py", "import asyncrouter.testing.clock", ""),
    (the_kit_is_for_tests, PLUGIN_TEST, None, "from asyncrouter.testing import FakeProvider"),
    (third_parties, ENGINE, "import pluggy", "import anyio"),
    (third_parties, "asyncrouter/types/clock.py", "import anyio", "import attrs"),
    (third_parties, ENGINE, "def f():\n    import aiohttp", ""),
    (third_parties, "asyncrouter/testing/server.py", "import aiohttp", "from aiohttp import web\nimport aiohttp.web"),
    (third_parties, "asyncrouter/config/files.py", "import requests", "import yaml"),
    (third_parties, "asyncrouter/manager.py", "from rich.table import Table", "import functools"),
    (third_parties, "asyncrouter/cli/app.py", "import matplotlib.figure", "import click"),
    (third_parties, "asyncrouter/providers/local.py", "import xllamacpp", "import orjson"),
    (third_parties, PLUGIN, "import structlog", "import xllamacpp"),
    (heavy_is_lazy, "asyncrouter/providers/sse.py", "import aiohttp", "def f():\n    import aiohttp"),
    (heavy_is_lazy, "asyncrouter/providers/builtin.py", "from asyncrouter.providers import transport", "import json"),
    (heavy_is_lazy, "asyncrouter/providers/builtin.py", "from asyncrouter.providers.transport import Transport",
     "if TYPE_CHECKING:\n    from asyncrouter.providers.transport import Transport"),
    (heavy_is_lazy, "asyncrouter/providers/builtin.py", "if TYPE_CHECKING:\n    x = 1\nelse:\n    import aiohttp",
     "async def f():\n    from asyncrouter.providers.transport import Transport"),
    (heavy_is_lazy, "asyncrouter/examples/demo/plot.py", "from matplotlib.figure import Figure",
     "def draw():\n    from matplotlib.figure import Figure"),
    (heavy_is_lazy, "asyncrouter/telemetry/builtin.py", "import structlog", "import typing"),
    (dynamic_imports, ENGINE, "import importlib\nimportlib.import_module('pluggy')", "importlib.util.find_spec('x')"),
    (dynamic_imports, ENGINE, "__import__('pluggy')", ""),
    (no_shared_state, ENGINE, "cache = {}", "CACHE = {}"),
    (no_shared_state, ENGINE, "seen: list[int] = []", "SEEN: list[int] = []"),
    (no_shared_state, ENGINE, "from collections import deque\nqueue = deque()", "def f():\n    queue = deque()"),
    (no_shared_state, ENGINE, "known = {name for name in ()}", "known = frozenset({1})"),
    (no_shared_state, ENGINE, "COUNT = 0\ndef f():\n    global COUNT\n    COUNT += 1", "COUNT = 0"),
    (no_shared_state, ENGINE, "CACHE = {}\ndef f(x):\n    CACHE[x] = 1", "CACHE = {}\ndef f(x):\n    return CACHE[x]"),
    (no_shared_state, ENGINE, "CACHE = []\ndef f(x):\n    CACHE.append(x)",
     "CACHE = []\ndef f(CACHE):\n    CACHE.append(1)"),
    (no_shared_state, ENGINE, "CACHE = {}\nasync def f(x):\n    del CACHE[x]", "CACHE = {}\nCACHE.get(1)"),
    (no_shared_state, ENGINE, "CACHE = {}\ndef f(x):\n    CACHE[x] += 1", None),
    (no_shared_state, ENGINE, "def f(x):\n    globals()['x'] = x", "def f(x):\n    return globals()['x']"),
    (no_shared_state, ENGINE, "class A:\n    items = []", "class A:\n    items: tuple[int, ...] = ()"),
    (no_shared_state, ENGINE, "class A:\n    items: ClassVar[dict[str, int]] = {}",
     "class A:\n    items: ClassVar[Mapping[str, int]] = {}"),
    (injected_time_and_chance, ENGINE, "import time\ndef f():\n    return time.time()", "import time"),
    (injected_time_and_chance, ENGINE, "from time import monotonic", "from time import struct_time"),
    (injected_time_and_chance, STRATEGY, "import random\ndef f():\n    return random.random()",
     "import random\ndef f(random: random.Random):\n    return random.uniform(0, 1)"),
    (injected_time_and_chance, STRATEGY, "import random\ndef f(x):\n    return random.choice(x)",
     "import random\ndef f(state):\n    return state.random.random()"),
    (injected_time_and_chance, "asyncrouter/providers/sse.py",
     "import datetime\ndef f():\n    return datetime.datetime.now()", "import datetime\nX = datetime.timezone.utc"),
    (injected_time_and_chance, "asyncrouter/engine/clock.py", "import time\nx = time.sleep(1)",
     "import time\nx = time.monotonic()"),
    (injected_time_and_chance, "asyncrouter/backoff.py", None, "import time\ndef f():\n    time.sleep(1)"),
    (sizes, ENGINE, "\n" * 401, "\n" * 400),
    (sizes, ENGINE, "def f():\n" + "    x = 1\n" * 60, "def f():\n" + "    x = 1\n" * 59),
    (sizes, ENGINE, "class A:\n    async def f(self):\n" + "        x = 1\n" * 60, ""),
    (documented, ENGINE, "x = 1", DOC),
    (documented, ENGINE, DOC + "def f(): ...", DOC + "def _f(): ..."),
    (documented, ENGINE, DOC + "class A: ...", DOC + "class _A:\n    def f(self): ..."),
    (documented, ENGINE, DOC + "class A:\n    '''A.'''\n    async def f(self): ...",
     DOC + "class A:\n    '''A.'''\n    def __init__(self): ..."),
    (documented, ENGINE, DOC + "if x:\n    y = 1\ndef f(): ...", DOC + "@overload\ndef f(): ..."),
    (no_unfinished_business, ENGINE, "x = 1  # TODO: two", "todo = 1"),
    (no_unfinished_business, ENGINE, "'''FIXME'''", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "path", "bad", "good"), SAMPLES, ids=[f"{sample[0].__name__}-{n}" for n, sample in enumerate(SAMPLES)]
)
def test_a_rule_finds_what_breaks_it(rule, path, bad, good):
    assert bad is None or rule(path, bad), f"{rule.__name__} lets pass:\n{bad}"
    assert good is None or not rule(path, good), f"{rule.__name__} finds fault with:\n{good}"


def test_every_rule_has_samples_of_both_kinds():
    assert {rule for rule, _, bad, _ in SAMPLES if bad is not None} == set(RULES)
    assert {rule for rule, _, _, good in SAMPLES if good is not None} == set(RULES)
