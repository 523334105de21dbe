"""The architecture, read off the syntax trees: floors, who may import what, sizes, documentation, no shared state.

Each rule (``tests/support/import_rules.py``, ``tests/support/source_rules.py``) is a function of a path and its source
that returns what is wrong; ``SAMPLES`` holds for each at least one source that it must find fault with, and one that it
must let pass.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from import_rules import (
    FLOORS,
    GATES,
    HEAVY,
    ONLY_IN,
    WINGS,
    built_ins_are_plugins,
    dynamic_imports,
    engine_and_strategies,
    floors,
    heavy_is_lazy,
    the_kit_is_for_tests,
    third_parties,
)
from source_rules import (
    ALLOWED,
    LONGEST_MODULE,
    clocks_and_dice,
    documented,
    injected_time_and_chance,
    no_shared_state,
    no_unfinished_business,
    sizes,
)
from sources import PACKAGE, ROOT, files, imports, part_of

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


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps_the_rule(rule):
    faults = []
    for path in files():
        if "/tests/" in path and rule not in OUTSIDE:
            continue
        faults += [f"{path}: {fault}" for fault in rule(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not faults, f"{rule.__doc__}\n" + "\n".join(faults)


def test_tests_and_benchmarks_are_no_longer_than_other_modules():
    paths = [path for folder in ("tests", "plugins", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 200
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


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
