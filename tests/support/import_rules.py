"""The architecture's rules of who may import what: floors, what is published, third parties, what is lazy."""

from __future__ import annotations

import ast
import re
import sys

from sources import PACKAGE, imports, is_ours, parsed, part, part_of, under

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
HTTP = tuple(
    f"asyncrouter/providers/{name}.py"
    for name in ("transport", "exchange", "doubles", "failures", "line", "pool", "waiting")
)
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
    """Nothing but tests and the kit itself imports the test kit, save the lab for the virtual clock."""
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
