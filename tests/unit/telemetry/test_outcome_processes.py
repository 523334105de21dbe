"""The outcome log and processes: those that are killed, those that share a file, those that end."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys

from asyncrouter.telemetry.outcomes import lost_rows, read_calls

KILLED = """
import os, sys, time
from asyncrouter.telemetry.outcomes.records import LoggedCall
from asyncrouter.telemetry.outcomes.writer import Writer
writer = Writer(sys.argv[1], capacity=100_000, keep_rows=None, keep_days=None, clock=time.time)
number = 0
while True:
    writer.put(LoggedCall(id=str(number), at=time.time(), group="g", outcome="answered"))
    print(number, time.time(), flush=True)
    number += 1
    time.sleep(0.002)
"""


def test_a_killed_process_loses_at_most_the_last_second(path):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        handed = []
        for line in process.stdout:
            handed.append(float(line.split()[1]))
            if handed[-1] - handed[0] > 1.6 and process.poll() is None:
                process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    kept = {int(row.id) for row in read_calls(path)}
    assert kept == set(range(len(kept))), "what is kept has no holes"
    lost = handed[len(kept) :]
    assert len(kept) > 0
    assert not lost or handed[-1] - lost[0] < 1.0


WRITING = """
import sys, time
from asyncrouter.telemetry.outcomes.records import LoggedCall
from asyncrouter.telemetry.outcomes.writer import Writer
writer = Writer(sys.argv[1], capacity=10_000, keep_rows=None, keep_days=None, clock=time.time)
for number in range(300):
    writer.put(LoggedCall(id=f"{sys.argv[2]}-{number}", at=time.time(), group="g", outcome="answered"))
    time.sleep(0.001)
writer.close()
"""


def test_several_processes_write_the_same_file(path):
    processes = [subprocess.Popen([sys.executable, "-c", WRITING, str(path), str(name)]) for name in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert {row.id for row in read_calls(path)} == {f"{a}-{b}" for a, b in itertools.product(range(3), range(300))}
    assert lost_rows(path) == 0


ENDS = """
import sys, time, atexit
from asyncrouter.telemetry.outcomes import OutcomeLog
from asyncrouter.testing import fake_router
import anyio
async def main():
    async with fake_router() as router:
        router.register(OutcomeLog(path=sys.argv[1]))
        await router.generate("hi")
anyio.run(main)
"""


def test_a_log_that_is_registered_with_an_open_router_is_whole_at_the_end_of_the_process(path):
    assert subprocess.run([sys.executable, "-c", ENDS, str(path)], check=False, timeout=60).returncode == 0
    assert len(list(read_calls(path))) == 1
