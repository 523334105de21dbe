"""The outcome log: what is written, what never is, what is lost when, and that no call waits for it."""

from __future__ import annotations

import itertools
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import anyio
import attrs
import pytest

from asyncrouter import ConfigError, Estimate, Router, ServerError, hookimpl
from asyncrouter.telemetry.outcomes import (
    LoggedCall,
    OutcomeLog,
    lost_rows,
    read_calls,
    record_feedback,
)
from asyncrouter.telemetry.outcomes import writer as writing
from asyncrouter.telemetry.outcomes.schema import BUSY_S, VERSION, call_of, open_for_writing, row_of
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, fake_router, virtual_backend
from asyncrouter.types.errors import AuthenticationFailed
from asyncrouter.types.response import Usage

PROMPT = "PROMPT-SENTINEL tell nobody"
ANSWER = "ANSWER-SENTINEL for one pair of eyes"
PRICES = {"a": {"price": {"input": 1, "output": 2}}, "b": {"price": {"input": 10, "output": 20}}}
USAGE = Usage(input_tokens=1000, output_tokens=100)
ANSWERED = Reply(ANSWER, usage=USAGE)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outcomes.sqlite"


def written(path):
    """Return every byte of the file and of those beside it."""
    return b"".join(one.read_bytes() for one in path.parent.iterdir() if one.name.startswith(path.name))


async def logged(path, *, script=ANSWERED, calls=1, **group):
    """Make *calls* calls with a log; return its rows."""
    log = OutcomeLog(path=path)
    async with fake_router(script, deployments=PRICES, plugins=[log], retry="none", **group) as router:
        for _ in range(calls):
            with anyio.move_on_after(1):
                try:
                    await router.generate(PROMPT, complexity=0.25, session="conv-1")
                except ServerError:
                    raise
                except Exception as error:
                    assert "attempts failed" in str(error)  # noqa: PT017 - the log tells of failures too
    return list(read_calls(path))


# What is written


async def test_a_call_is_a_row_with_what_was_decided_and_what_came_of_it(path):
    (row,) = await logged(path, script={"a": Fail(ServerError), "b": Reply(ANSWER, usage=USAGE)})
    assert (row.group, row.outcome, row.error) == ("chat", "answered", None)
    assert (row.ranking, row.chosen, row.propensity, row.reason) == (("a", "b"), "a", 1.0, "configured order")
    assert (row.complexity, row.estimator, row.expected_input_tokens > 0) == (0.25, "caller", True)
    assert [(one.deployment, one.kind, one.outcome, one.error) for one in row.attempts] == [
        ("a", "first", "failed", "ServerError"),
        ("b", "fallback", "ok", None),
    ]
    assert (row.deployment, row.model, row.finish_reason) == ("b", "model-b", "stop")
    assert (row.input_tokens, row.output_tokens, row.usage_estimated) == (1000, 100, False)
    assert (row.cost_usd, row.spent_usd) == pytest.approx((0.012, 0.012))
    assert (row.weak_usd, row.strong_usd) == pytest.approx((0.0012, 0.012))
    assert row.attempts[1].cost_usd == pytest.approx(0.012)
    assert time.time() - 60 < row.at <= time.time()
    assert row.session not in (None, "conv-1")


@pytest.mark.parametrize("anyio_backend", [virtual_backend], ids=["virtual"])
async def test_failures_and_cancellations_are_rows_too(path):
    failed, cancelled = await logged(path, script=FakeProvider([*[Fail(AuthenticationFailed)] * 2, Hang()]), calls=2)
    assert (failed.outcome, failed.error, failed.deployment) == ("failed", "AllAttemptsFailed", None)
    assert (cancelled.outcome, cancelled.error) == ("cancelled", None)
    assert [one.outcome for one in cancelled.attempts] == ["cancelled"]


async def test_what_the_estimator_said_is_kept(path):
    class Wise:
        name = "wise"

        @hookimpl
        async def asyncrouter_estimate(self, request):
            return Estimate(
                complexity=0.5,
                output_tokens=7,
                source="wise",
                contributions=((0.5, "length"),),
                qualities={"a": 0.5},
                features=(0.5, -2.0, 65504.0),
            )

    for vectors in (False, True):
        log = OutcomeLog(path=path, vectors=vectors, label="trial")
        async with fake_router(plugins=[Wise(), log]) as router:
            await router.generate(PROMPT)
    without, having = read_calls(path)
    assert (without.estimator, without.expected_output_tokens, without.label) == ("wise", 7, "trial")
    assert (without.contributions, without.qualities) == (((0.5, "length"),), {"a": 0.5})
    assert (without.features, having.features) == ((), (0.5, -2.0, 65504.0))


async def test_a_call_that_ends_before_anything_was_decided_is_a_row(path):
    class No:
        @hookimpl
        async def asyncrouter_around_request(self, call, request):
            raise ServerError("no", deployment="a")

    async with fake_router(plugins=[No(), OutcomeLog(path=path)]) as router:
        with pytest.raises(ServerError):
            await router.generate(PROMPT)
    (row,) = read_calls(path)
    assert (row.outcome, row.error, row.complexity, row.ranking, row.chosen) == (
        "failed",
        "ServerError",
        None,
        (),
        None,
    )


async def test_a_stream_is_one_row(path):
    async with fake_router(Reply(ANSWER), plugins=[OutcomeLog(path=path)]) as router, router.stream(PROMPT) as stream:
        assert [chunk async for chunk in stream]
    (row,) = read_calls(path)
    assert (row.stream, row.outcome, row.output_tokens) == (True, "answered", 5)


def test_every_field_comes_back_as_it_was_written(path):
    strange = {
        "tuple[Contribution, ...]": ((0.5, "x"),),
        "Mapping[str, float]": {"a": 0.25},
        "tuple[float, ...]": (0.5,),
        "tuple[str, ...]": ("a",),
        "tuple[LoggedAttempt, ...]": (),
        "tuple[Message, ...] | None": ({"role": "user", "content": "é"},),
    }
    plain = {"str": "t", "int": 3, "float": 1.5, "bool": True}
    values = {
        one.name: strange.get(one.type) or plain.get(one.type.removesuffix(" | None"), ())
        for one in attrs.fields(LoggedCall)
    }
    call = LoggedCall(**values)
    connection = open_for_writing(path)
    writing._insert(connection, call, None)
    connection.execute("INSERT INTO feedback (request, at, score) VALUES ('t', 1, 1.5)")
    connection.close()
    assert list(read_calls(path)) == [call]
    assert call_of((*row_of(call), 1.5)) == call


# Feedback


async def test_feedback_arrives_later_and_the_latest_counts(path):
    async with fake_router(plugins=[OutcomeLog(path=path)]) as router:
        first, second = [await router.generate(PROMPT) for _ in range(2)]
        await router.feedback(first, 0.25)
        await router.feedback(first, 0.75)
    assert [one.feedback for one in read_calls(path)] == [0.75, None]
    record_feedback(path, second.trace.request_id, 1)
    assert [one.feedback for one in read_calls(path)] == [0.75, 1.0]
    with pytest.raises(ValueError, match="score"):
        record_feedback(path, "x", 1.5)
    with pytest.raises(ConfigError, match="no such file"):
        record_feedback(path.with_suffix(".sqilte"), "x", 1.0)
    assert not path.with_suffix(".sqilte").exists()


# Privacy


async def test_no_text_of_prompt_answer_session_or_metadata_is_in_the_file(path):
    script = {"a": Fail(ServerError, message=f"quotes {PROMPT}"), "b": Reply(ANSWER)}
    async with fake_router(script, plugins=[OutcomeLog(path=path, vectors=True)]) as router:
        reply = await router.generate(PROMPT, session=PROMPT, metadata={"x": PROMPT}, user=PROMPT)
        await router.feedback(reply, 1.0)
    assert b"SENTINEL" not in written(path)
    (row,) = read_calls(path)
    assert (row.messages, row.prompt) == (None, None)


async def test_prompts_are_kept_when_asked_for_as_they_were(path):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT, "odd": object()}]
    async with fake_router(Reply(ANSWER), plugins=[OutcomeLog(path=path, prompts=True)]) as router:
        await router.generate(messages)
        messages.append({"role": "user", "content": "later"})
    (row,) = read_calls(path)
    assert row.prompt == f"Be brief.\n\n{PROMPT}"
    assert row.messages[1]["odd"] == "<object>"
    assert b"ANSWER-SENTINEL" not in written(path)
    assert "SENTINEL" not in repr(row)


# The writer


def call(number=0, **fields):
    return LoggedCall(id=f"r{number}", at=float(number), group="chat", outcome="answered", **fields)


def writer(path, **options):
    return writing.Writer(
        path, **{"capacity": 100, "keep_rows": None, "keep_days": None, "clock": lambda: 5.0, **options}
    )


def test_what_does_not_fit_is_dropped_counted_and_told(path):
    one = writer(path, capacity=3)
    one._start = lambda: None  # the disk hangs
    assert [one.put(call(number)) for number in range(5)] == [True, True, True, False, False]
    assert one.dropped == 2
    del one._start
    one._start()
    one.close()
    assert [row.id for row in read_calls(path)] == ["r0", "r1", "r2"]
    assert lost_rows(path) == 2


def test_long_prompts_are_bounded_by_bytes(path, monkeypatch):
    monkeypatch.setattr(writing, "LARGEST_BACKLOG", 100)
    one = writer(path)
    one._start = lambda: None
    assert [one.put(call(number), '["' + "x" * 60 + '"]') for number in range(2)] == [True, False]
    one._take()
    assert not one.put(call(3), '["' + "x" * 60 + '"]')
    one._commit(connection := open_for_writing(path))
    connection.close()
    assert one.put(call(4), '["' + "x" * 60 + '"]')


async def test_a_dropped_row_is_counted_in_the_metrics_and_harms_no_call(path):
    log = OutcomeLog(path=path, capacity=1)
    log._writer._start = lambda: None
    async with fake_router(plugins=[log]) as router:
        for _ in range(3):
            assert (await router.generate(PROMPT)).text == "ok"
        assert router.metrics().plugin_failures["outcomes"] == 2
    assert log.dropped == 2


def test_a_value_that_no_table_can_hold_loses_its_row_only(path):
    one = writer(path)
    for entry in (call(0), call(1, waits=2**70), call(2, reason="\ud800")):
        one.put(entry)
    one.close()
    assert [row.id for row in read_calls(path)] == ["r0", "r2"]
    assert (one.dropped, lost_rows(path)) == (1, 1)


def test_a_file_that_cannot_be_written_is_tried_again(path, monkeypatch):
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    monkeypatch.setattr(writing, "COMMIT_S", 0.01)
    tried = threading.Event()

    def unwilling(at):
        if not tried.is_set():
            tried.set()
            raise sqlite3.OperationalError("disk I/O error")
        return open_for_writing(at)

    monkeypatch.setattr(writing, "open_for_writing", unwilling)
    one = writer(path)
    one.put(call())
    assert tried.wait(10)
    one.close()
    assert [row.id for row in read_calls(path)] == ["r0"]


def test_a_commit_that_fails_half_way_writes_nothing_and_loses_nothing(path):
    one = writer(path)
    connection = open_for_writing(path)
    one._unwritten = [(call(0), None), (writing.Feedback("r0", 1.0, 0.5), None)]
    one._prune = lambda _connection: (_ for _ in ()).throw(sqlite3.OperationalError("database or disk is full"))
    with pytest.raises(sqlite3.OperationalError):
        one._commit(connection)
    assert list(read_calls(path)) == []
    del one._prune
    one._commit(connection)
    assert [(row.id, row.feedback) for row in read_calls(path)] == [("r0", 0.5)]
    assert connection.execute("SELECT COUNT(*) FROM feedback").fetchone() == (1,)
    connection.close()


async def test_calls_go_on_while_another_process_holds_the_file(path):
    log = OutcomeLog(path=path)
    async with fake_router(plugins=[log]) as router:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        before = time.monotonic()
        for _ in range(100):
            await router.generate("hi")
        assert time.monotonic() - before < BUSY_S
        assert list(read_calls(path)) == []
        other.execute("COMMIT")
        other.close()
    assert (len(list(read_calls(path))), log.dropped) == (100, 0)


def test_another_process_that_holds_the_file_is_waited_for(path):
    open_for_writing(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    one = writer(path)
    one.put(call())
    other.execute("COMMIT")
    other.close()
    one.close()
    assert [row.id for row in read_calls(path)] == ["r0"]


def test_what_cannot_be_written_until_the_end_is_counted(tmp_path):
    one = writer(tmp_path / "no" / "such" / "directory.sqlite")
    one.put(call())
    one.close()
    assert one.dropped == 1
    assert not one.put(call())
    assert one.dropped == 2


def test_too_many_and_too_old_rows_are_deleted_with_their_feedback(path):
    now = 10 * 86_400.0
    one = writer(path, keep_days=2, clock=lambda: now)
    for day in range(11):
        one.put(attrs.evolve(call(day), at=day * 86_400.0))
        one.put(writing.Feedback(f"r{day}", day * 86_400.0, 1.0))
    one.close()
    assert [row.id for row in read_calls(path)] == ["r8", "r9", "r10"]
    other = writer(path, keep_rows=2)
    other.put(call(99))
    other.close()
    assert [row.id for row in read_calls(path)] == ["r10", "r99"]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM feedback").fetchone() == (3,)
    connection.close()


def test_rows_are_counted_off_every_thousand(path, monkeypatch):
    monkeypatch.setattr(writing, "PRUNE_EVERY", 10)
    one = writer(path, keep_rows=5)
    connection = open_for_writing(path)
    left = []
    for number in range(25):
        one._unwritten.append((call(number), None))
        one._commit(connection)
        left.append(connection.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
    connection.close()
    assert max(left) <= 15
    assert left[10] == left[20] == 5


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


async def test_ids_are_unique_across_routers(path):
    ids = set()
    for _ in range(3):
        async with fake_router(seed=1) as router:
            ids |= {(await router.generate("hi")).trace.request_id for _ in range(2)}
    assert len(ids) == 6


# The reader


def test_the_reader_can_be_narrowed_down(path):
    one = writer(path)
    for number, (group, of) in enumerate([("x", None), ("y", None), ("x", "r0"), ("x", None)]):
        one.put(attrs.evolve(call(number), group=group, shadow_of=of))
    one.close()
    assert [row.id for row in read_calls(path, group="x", shadows=False)] == ["r0", "r3"]
    assert [row.id for row in read_calls(path, since=2)] == ["r2", "r3"]


def test_other_files_are_refused_with_the_cure(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        list(read_calls(tmp_path / "none.sqlite"))
    text = tmp_path / "text.sqlite"
    text.write_text("hello " * 500)
    with pytest.raises(ConfigError, match="no SQLite file"):
        list(read_calls(text))
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with pytest.raises(ConfigError, match="holds no outcome log"):
        list(read_calls(empty))
    foreign = tmp_path / "foreign.sqlite"
    newer = tmp_path / "newer.sqlite"
    for path, statement in ((foreign, "CREATE TABLE x (y)"), (newer, f"PRAGMA user_version = {VERSION + 1}")):
        if path is newer:
            open_for_writing(path).close()
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
    with pytest.raises(ConfigError, match="another program"):
        open_for_writing(foreign)
    with pytest.raises(ConfigError, match="a newer version"):
        lost_rows(newer)


# Configuration


def configured(outcomes, **router):
    config = {
        "router": router,
        "providers": {"fake": FakeProvider()},
        "deployments": {"a": {"provider": "fake", "model": "m"}},
        "outcomes": outcomes,
    }
    return Router.from_config(config)


async def test_the_table_of_the_configuration_switches_it_on(path):
    async with configured({"path": str(path), "prompts": True}) as router:
        await router.generate(PROMPT)
    assert [row.prompt for row in read_calls(path)] == [PROMPT]


async def test_so_does_the_plugin_by_name_and_the_object(path):
    async with configured(None, plugins=[{"use": "outcomes", "path": str(path)}]) as router:
        await router.generate(PROMPT)
    async with configured(OutcomeLog(path=path)) as router:
        await router.generate(PROMPT)
    assert len(list(read_calls(path))) == 2


async def test_another_configuration_goes_on_in_the_same_file(path):
    async with configured({"path": str(path), "label": "one"}) as router:
        await router.generate(PROMPT)
        await router.reconfigure(
            {
                "providers": {"fake": FakeProvider()},
                "deployments": {"a": {"provider": "fake", "model": "m"}},
                "outcomes": {"path": str(path), "label": "two"},
            }
        )
        await router.generate(PROMPT)
    assert [row.label for row in read_calls(path)] == ["one", "two"]


def test_every_fault_is_told_with_its_path(tmp_path):
    with pytest.raises(ConfigError) as caught:
        configured(
            {"path": str(tmp_path / "no" / "x"), "prompts": 1, "vectors": "x", "keep_rows": 0, "keep_days": -1.0}
        )
    assert sorted(fault.path for fault in caught.value.faults) == [
        "outcomes.keep_days",
        "outcomes.keep_rows",
        "outcomes.path",
        "outcomes.prompts",
        "outcomes.vectors",
    ]


@pytest.mark.parametrize(
    ("outcomes", "path"),
    [({"path": " "}, "outcomes.path"), ({}, "outcomes.path"), ("x.sqlite", "outcomes"), ({"pat": "x"}, "outcomes.pat")],
)
def test_what_is_no_outcome_log_is_refused(outcomes, path):
    with pytest.raises(ConfigError) as caught:
        configured(outcomes)
    assert [fault.path for fault in caught.value.faults] == [path]


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="is a directory"):
        configured({"path": str(tmp_path)})


async def test_another_programs_file_is_told_before_the_first_call(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    router = configured({"path": str(path)})
    with pytest.raises(ConfigError, match="another program"):
        await router.__aenter__()


def test_the_rows_are_small(path):
    assert len(json.dumps(row_of(call()))) < 400
