"""What a start costs: the time of imports and of building a router, and the size of what is installed.

Each import is timed in a fresh process, without that process's own start; a router in one that has imported already.
The size is that of the distribution's own files, and with all that it needs.

Run it as ``python benchmarks/startup.py [--rounds N] [--json] [--plot F.png] [--save [DIR]]``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from contestants import LIBRARIES
from measuring import Column, Results, deliver, installed, options_of, pin, progress
from plotting import bars

COLUMNS = (
    Column("what", "what"),
    Column("median", "median, ms"),
    Column("least", "least, ms"),
    Column("own_mib", "own files, MiB", 2),
    Column("all_mib", "with all it needs, MiB"),
)
IMPORTS = {
    "import asyncrouter": ("asyncrouter", "import asyncrouter"),
    "from asyncrouter import Router": ("asyncrouter", "from asyncrouter import Router"),
    "import aiohttp": ("aiohttp", "import aiohttp"),
    "import openai": ("openai", "import openai"),
    "import litellm": ("litellm", "import litellm"),
    "import pydantic_ai": ("pydantic-ai-slim", "from pydantic_ai.models.fallback import FallbackModel"),
    "import langchain_openai": ("langchain-openai", "import langchain_openai"),
}
TIMED = """
import os, time
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched
begun = time.perf_counter()
{code}
print((time.perf_counter() - begun) * 1e3)
"""
BUILD = """
import time
from asyncrouter import Router
names = [f"d{{number}}" for number in range({count})]
deployments = {{name: {{"provider": "p", "model": name, "price": {{"input": 0.15, "output": 0.6}}}} for name in names}}
provider = {{"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": lambda: "key"}}
config = {{"providers": {{"p": provider}}, "deployments": deployments, "groups": {{"chat": {{"deployments": names}}}}}}
few = {{"d0": deployments["d0"]}}
Router.from_config({{**config, "deployments": few, "groups": {{"chat": {{"deployments": ["d0"]}}}}}})  # imports
begun = time.perf_counter()
Router.from_config(config)
print((time.perf_counter() - begun) * 1e3)
"""


def timed(code: str, rounds: int) -> dict[str, float]:
    """Return median and least milliseconds that fresh processes print for *code*; the first warms the disk."""
    spent = []
    for _ in range(rounds + 1):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        spent.append(float(done.stdout.split()[-1]))
    return {"median": statistics.median(spent[1:]), "least": min(spent[1:])}


def needed(distribution: str, known: set[str]) -> set[str]:
    """Return the names of *distribution* and of all that it needs without extras, as far as installed."""
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    if name in known or installed(name) is None:
        return known
    known.add(name)
    for line in importlib.metadata.requires(name) or ():
        if "extra ==" not in line:
            needed(re.split(r"[^\w.-]", line, maxsplit=1)[0], known)
    return known


def size_mib(distribution: str) -> float:
    """Return the size of the installed files of *distribution*, without compiled caches."""
    files = [path for path in importlib.metadata.files(distribution) or () if path.suffix != ".pyc"]
    located = [Path(str(path.locate())) for path in files]
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    if spec is not None and spec.submodule_search_locations and len(files) < 20:  # an editable install: look there
        located = [path for root in spec.submodule_search_locations for path in Path(root).rglob("*.*")]
    return sum(path.stat().st_size for path in located if path.is_file() and path.suffix != ".pyc") / 2**20


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return the rows."""
    rows: list[dict[str, Any]] = []
    for what, (distribution, code) in IMPORTS.items():
        if installed(distribution) is not None:
            sizes = {"own_mib": size_mib(distribution), "all_mib": sum(map(size_mib, needed(distribution, set())))}
            rows.append({"what": what, **timed(TIMED.format(code=code), rounds), **sizes})
            progress(what)
    for count in (10, 1000):
        what = f"router of {count:,} deployments"
        rows.append({"what": what, **timed(BUILD.format(count=count), rounds)})
        progress(what)
    return rows


def main() -> None:
    options = options_of("Import time, construction, and size.", rounds=(int, 7, "processes timed for each"))
    pin(0)
    results = Results(
        "startup", "Time to start", COLUMNS, measure(options.rounds), {"rounds": options.rounds}, [], LIBRARIES
    )
    deliver(results, options, bars("what", "median", "panel", "ms"))


if __name__ == "__main__":
    main()
