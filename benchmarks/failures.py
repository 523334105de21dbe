"""What routers make of failing upstreams: asyncrouter beside LiteLLM's Router, on the same scripted servers.

Every scenario is played by each contestant in turn, each time with fresh servers and a fresh router.  The servers run
in one process and count the calls that arrive; each contestant runs in a process of its own, warmed up before.
Requests come at their times whether earlier ones have been answered or not.  Traffic goes to 127.0.0.1 only.  Run it as
``python benchmarks/failures.py [--quick] [--rounds N] [--scenarios A;B] [--contestants A;B] [--json] [--save DIR]``.

Without LiteLLM (``make sidebyside`` installs it, in an environment of its own) asyncrouter plays alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

from failure_contestants import CONTESTANTS, Outcome, play, prepare
from failure_report import Row, document, markdown, plot
from failure_scenarios import BY_NAME, close_servers, open_servers

QUICK = ("healthy", "outage of 1 in 2", "chain of 2", "hang", "429 of all, short", "cut before output")
"""What ``--quick`` plays: under a minute."""
MOST_ROUNDS = 10


class Stage:
    """The processes: one for the servers, one for each contestant."""

    def __init__(self, stack: ExitStack, contestants: Sequence[str]) -> None:
        self._servers = stack.enter_context(own_process())
        self._players = {name: stack.enter_context(own_process()) for name in contestants}
        for name, player in self._players.items():
            player.submit(prepare).result()
            for scenario in ("healthy", "healthy, streamed"):  # imports are not what is measured
                self.play(name, scenario)

    def play(self, contestant: str, scenario: str) -> tuple[list[Outcome], dict[str, int]]:
        """Let the contestant play the scenario: how its requests ended, and the calls that each server received."""
        urls = self._servers.submit(open_servers, scenario).result()
        try:
            outcomes = self._players[contestant].submit(play, contestant, scenario, urls).result()
        finally:
            calls = self._servers.submit(close_servers).result()
        return outcomes, calls


def own_process() -> ProcessPoolExecutor:
    """Return a process that does one thing after another."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def run(scenarios: Sequence[str], contestants: Sequence[str], rounds: int) -> list[Row]:
    """Play everything; a row for each scenario and contestant."""
    rows = {(scenario, name): Row(scenario, name) for scenario in scenarios for name in contestants}
    with ExitStack() as stack:
        stage = Stage(stack, contestants)
        for number in range(rounds):
            for scenario in scenarios:
                for name in contestants if number % 2 == 0 else reversed(contestants):
                    if sys.stderr.isatty():
                        sys.stderr.write(f"\r\x1b[Kround {number + 1} of {rounds}: {scenario}, {name} ")
                    rows[scenario, name].add(*stage.play(name, scenario))
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    return list(rows.values())


def chosen(given: str | None, known: Sequence[str], what: str) -> list[str]:
    """Return the names in *given*, separated by semicolons; all that are known without it."""
    names = [name.strip() for name in given.split(";")] if given else list(known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown {what}: {', '.join(unknown)}; known: {'; '.join(known)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description="asyncrouter beside LiteLLM's Router on failing upstreams.")
    parser.add_argument("--quick", action="store_true", help="a few scenarios, as the routers ship: under a minute")
    parser.add_argument("--rounds", type=int, default=1, choices=range(1, MOST_ROUNDS + 1), metavar=f"1-{MOST_ROUNDS}")
    parser.add_argument("--scenarios", help="names, separated by semicolons")
    parser.add_argument("--contestants", help="names, separated by semicolons")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write failures.json, failures.md and failures.png")
    options = parser.parse_args()
    scenarios = chosen(options.scenarios, QUICK if options.quick else tuple(BY_NAME), "scenario")
    contestants = chosen(options.contestants, tuple(CONTESTANTS)[: 2 if options.quick else None], "contestant")
    absent = [name for name in contestants if not CONTESTANTS[name].is_installed]
    if absent:
        sys.stderr.write(f"not installed, left out: {', '.join(absent)}\n")
        contestants = [name for name in contestants if name not in absent]
    rows = run(scenarios, contestants, options.rounds)
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        (options.save / "failures.json").write_text(json.dumps(document(rows), indent=1) + "\n", encoding="utf-8")
        (options.save / "failures.md").write_text(markdown(rows), encoding="utf-8")
        plot(rows, options.save / "failures.png")
    print(json.dumps(document(rows)) if options.json else markdown(rows), end="\n" if options.json else "")


if __name__ == "__main__":
    main()
