"""Why the local model's server has a process of its own: start and stop, inside this process and in its own.

``python benchmarks/local_server.py [--patience SECONDS]`` needs asyncrouter-local and the packaged model.  "stands
still" is the longest time for which a thread that wants to run every 5 ms did not: so long an event loop would stand.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable

from asyncrouter_local.options import checked_options

TICK_S = 0.005
UNDER_WAY_S = 1.0
OPTIONS = checked_options(model_path=None, alias=None, threads=None, n_ctx=2048, n_parallel=2, seed=1, port=0)
CASES = ("idle", "stream", "plain")


class StandStill:
    """Measures how long the interpreter does not let a thread run."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        before = time.perf_counter()
        while True:
            time.sleep(TICK_S)
            now = time.perf_counter()
            self.longest_s, before = max(self.longest_s, now - before - TICK_S), now

    def during(self, work: Callable[[], object]) -> tuple[object, float, float]:
        self.longest_s = 0.0
        start = time.perf_counter()
        result = work()
        taken_s = time.perf_counter() - start
        time.sleep(2 * TICK_S)
        return result, taken_s, self.longest_s


def call(url: str, *, stream: bool) -> None:
    body = {"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 1900, "stream": stream}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request) as response:
            while response.read1():
                pass
    except (OSError, http.client.HTTPException):  # the server was stopped, as is the point
        pass


def measure(place: str, case: str) -> None:
    """Start a server, put the case's call under way, stop the server; print one line of JSON after each."""
    still = StandStill()
    start, stop = inside() if place == "inside" else apart()
    url, taken_s, still_s = still.during(start)
    print(json.dumps({"start_s": taken_s, "start_still_s": still_s}), flush=True)
    if case != "idle":
        threading.Thread(target=call, args=(url,), kwargs={"stream": case == "stream"}, daemon=True).start()
        time.sleep(UNDER_WAY_S)
    _, taken_s, still_s = still.during(stop)
    print(json.dumps({"stop_s": taken_s, "stop_still_s": still_s}), flush=True)


def inside() -> tuple[Callable[[], str], Callable[[], None]]:
    import xllamacpp

    servers = []

    def start() -> str:
        params = xllamacpp.CommonParams()
        params.model.path = str(OPTIONS.model_path)
        params.n_ctx, params.n_parallel = OPTIONS.n_ctx * OPTIONS.n_parallel, OPTIONS.n_parallel
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = OPTIONS.threads
        params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 0
        servers.append(xllamacpp.Server(params))
        return servers[0].listening_address

    return start, servers.clear


def apart() -> tuple[Callable[[], str], Callable[[], None]]:
    import asyncio

    from asyncrouter_local.server import ServerProcess

    processes = []

    def start() -> str:
        processes.append(ServerProcess(OPTIONS))
        return asyncio.run(processes[0].ready())

    return start, lambda: processes.pop().kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a stop is given up")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure)
        return
    print(f"{'':8}{'under way':12}{'start':>9}{'stands still':>14}{'stop':>9}{'stands still':>14}")
    for place in ("inside", "apart"):
        for case in CASES:
            print(f"{place:8}{case:12}{row(place, case, arguments.patience)}", flush=True)


def row(place: str, case: str, patience_s: float) -> str:
    command = [sys.executable, __file__, "--measure", place, case]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            out, _ = child.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            child.kill()
            out, _ = child.communicate()
    found: dict[str, float] = {}
    for line in out.splitlines():
        found |= json.loads(line)
    columns = (("start_s", 9), ("start_still_s", 14), ("stop_s", 9), ("stop_still_s", 14))
    return "".join(
        f"{found[name]:>{width - 2}.3f} s" if name in found else f"{'never':>{width}}" for name, width in columns
    )


if __name__ == "__main__":
    main()
