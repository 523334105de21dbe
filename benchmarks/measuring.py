"""What the benchmarks share: the server that they call, a core for each process, rounds in turn, and the results.

A script measures and fills a :class:`Results`; ``deliver`` prints it as a table or as JSON, draws it, and writes it to
``benchmarks/results/``, from where ``performance_page.py`` puts the tables into ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import platform
import selectors
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
from canned import serve

RESULTS = Path(__file__).parent / "results"
PROMPT = (
    "Our billing service rounds each line item to cents before summing, and some invoices differ from the ledger by a "
    "cent or two. Explain in detail why that happens, compare rounding per line with rounding the total, and propose a "
    "migration plan step by step. The plan must keep issued invoices unchanged, work without downtime, and be finished "
    "within two sprints. Which of the two would you choose, and what would you test first? Please keep the answer "
    "under three hundred words and give one worked example with three line items of 0.333 each."
)
MESSAGES = [{"role": "user", "content": PROMPT}]

Work = Callable[[int], Awaitable[None]]
"""Makes so many calls."""
Call = Callable[[], Awaitable[object]]


@attrs.frozen
class Column:
    """One column of a table: the key of its value in a row, its heading, and the decimals of a number."""

    key: str
    title: str
    decimals: int = 1


@attrs.define
class Results:
    """What one benchmark found out, and for what it holds."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]] = attrs.field(factory=list)
    conditions: dict[str, Any] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)
    libraries: tuple[str, ...] = ("asyncrouter", "aiohttp", "anyio", "orjson", "uvloop")

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        known = {name: found for name in self.libraries if (found := installed(name))}
        return {
            "benchmark": self.name,
            "title": self.title,
            "command": " ".join(["python", f"benchmarks/{self.name}.py", *sys.argv[1:]]),
            "conditions": self.conditions,
            "machine": machine(),
            "versions": known,
            "columns": [attrs.asdict(column) for column in self.columns],
            "rows": self.rows,
            "notes": self.notes,
        }


def installed(distribution: str) -> str | None:
    """Return the version of *distribution*, ``None`` where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def machine() -> str:
    """Return what the figures hold for."""
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{platform.machine()}, {os.cpu_count()} cores, {kernel}, {python}"


def pin(core: int) -> None:
    """Keep this process on one core where the system can."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})


class Polling(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Never sleeps while somebody is connected: who sends need not wake it."""

    def select(self, timeout: float | None = None) -> Any:
        is_connected = len(self.get_map()) > 2  # there are the loop's own socket and the one that listens
        return super().select(0 if is_connected else timeout)


def _serve_on_own_core(port: multiprocessing.Queue[int], polling: bool) -> None:
    pin(1)
    selector = Polling() if polling else None
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as run:
        run.run(serve(port.put))


@contextlib.contextmanager
def server(*, polling: bool = False) -> Iterator[str]:
    """Run the canned server in a process of its own, on another core than this one, and give its address.

    *polling*: it never sleeps.  To send to one that does costs three times as much, for it has to be woken, and whether
    it sleeps when a contestant sends depends on how its sends are spread.
    """
    os.environ["BENCHMARK_KEY"] = "key"
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=_serve_on_own_core, args=(port, polling), daemon=True)
    process.start()
    everywhere = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    pin(0)
    try:
        yield f"http://127.0.0.1:{port.get(timeout=30)}"
    finally:
        process.kill()
        process.join()
        if everywhere:
            os.sched_setaffinity(0, everywhere)


def runner(loop: str) -> asyncio.Runner:
    """Return what runs coroutines on *loop*: "asyncio" or "uvloop"."""
    if loop == "asyncio":
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def at_concurrency(call: Call, concurrency: int) -> Work:
    """Return the work of making calls with so many under way at once."""

    async def lane(calls: int) -> None:
        for _ in range(calls):
            await call()

    async def work(calls: int) -> None:
        await asyncio.gather(*(lane(calls // concurrency) for _ in range(concurrency)))

    return lane if concurrency == 1 else work


async def in_turn(works: Mapping[str, Work], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the CPU microseconds per call of every round, by name.

    The contestants take turns, so that a drift of the machine meets all alike; the first round warms up, and nobody
    collects the garbage of another.
    """
    figures: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            gc.collect()
            before = time.process_time()
            await work(calls)
            spent = (time.process_time() - before) / calls * 1e6
            if number:
                figures[name].append(spent)
        progress(f"round {number} of {rounds}")
    return figures


def beside(figures: Mapping[str, list[float]], base: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each contestant: median and least, and the median of its rounds over those of *base*."""
    for name, spent in figures.items():
        ratios = [own / other for own, other in zip(spent, figures[base], strict=True)]
        yield {
            "contestant": name,
            "median": statistics.median(spent),
            "least": min(spent),
            "over": statistics.median(ratios),
        }


def measure_each(
    results: Results, names: Iterable[str], measure: Callable[[str], AsyncIterator[dict[str, Any]]]
) -> None:
    """Put into *results* the rows that *measure* yields for each of *names*, on one core of asyncio."""

    async def one_by_one() -> None:
        for name in names:
            async for row in measure(name):
                results.rows.append(row)
            progress(f"{name} measured")

    pin(0)
    with runner("asyncio") as run:
        run.run(one_by_one())


def progress(text: str) -> None:
    """Show on a terminal how far it is."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{text:<70}")


def options_of(
    description: str, argv: list[str] | None = None, **defaults: tuple[type, Any, str]
) -> argparse.Namespace:
    """Return the options: those that every benchmark has, and *defaults* as name to type, default and help."""
    parser = argparse.ArgumentParser(description=description)
    for name, (kind, default, told) in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        if kind is bool:
            parser.add_argument(flag, action="store_true", help=told)
        elif isinstance(default, list):
            parser.add_argument(flag, type=kind, nargs="+", default=default, help=f"{told} ({default})")
        else:
            parser.add_argument(flag, type=kind, default=default, help=f"{told} ({default})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--plot", type=Path, metavar="F.png", help="draw the results")
    parser.add_argument(
        "--save",
        type=Path,
        nargs="?",
        const=RESULTS,
        metavar="DIR",
        help="write the results to DIR (benchmarks/results)",
    )
    return parser.parse_args(argv)


def deliver(results: Results, options: argparse.Namespace, draw: Callable[[Mapping[str, Any], Path], None]) -> None:
    """Print, draw and save *results* as *options* ask."""
    progress("")
    document = results.document()
    print(json.dumps(document, indent=1) if options.json else "\n" + as_text(document))
    if options.plot:
        draw(document, options.plot)
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        (options.save / f"{results.name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def cells(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the table's cells, the headings first."""
    columns = document["columns"]
    heading = [column["title"] for column in columns]
    rows = document["rows"]
    return [heading, *([_cell(row.get(one["key"]), one["decimals"]) for one in columns] for row in rows)]


def _cell(value: Any, decimals: int) -> str:
    if value is None:
        return "-"
    return (
        f"{value:,.{decimals}f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def as_text(document: Mapping[str, Any]) -> str:
    """Return the table for a terminal, with what it holds for."""
    lines = cells(document)
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    numeric = [_is_numeric(document, column["key"]) for column in document["columns"]]
    table = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([document["title"], "", *table, "", held_for(document), *document["notes"]])


def as_markdown(document: Mapping[str, Any]) -> str:
    """Return the table as Markdown, with what it holds for."""
    head, *lines = cells(document)
    marks = ["---:" if _is_numeric(document, column["key"]) else "---" for column in document["columns"]]
    table = ["| " + " | ".join(line) + " |" for line in (head, marks, *lines)]
    notes = [f"{note}." for note in document["notes"]]
    return "\n\n".join(["\n".join(table), " ".join([f"`{document['command']}`: {held_for(document)}.", *notes])])


def _is_numeric(document: Mapping[str, Any], key: str) -> bool:
    return any(isinstance(row.get(key), (int, float)) for row in document["rows"])


def held_for(document: Mapping[str, Any]) -> str:
    """Return machine, versions and conditions of *document*."""
    versions = [f"{name} {found}" for name, found in document["versions"].items()]
    conditions = [f"{key.replace('_', ' ')} {value}" for key, value in document["conditions"].items()]
    return "; ".join(filter(None, [document["machine"], ", ".join(versions), ", ".join(conditions)]))
