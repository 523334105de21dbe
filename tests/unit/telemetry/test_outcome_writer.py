"""The outcome log's writer: what is lost when, what is tried again, and that no call waits for it."""

from __future__ import annotations

import sqlite3
import threading

import attrs
import pytest
from outcome_log import PROMPT, call, writer

from asyncrouter.telemetry.outcomes import OutcomeLog, lost_rows, read_calls
from asyncrouter.telemetry.outcomes import writer as writing
from asyncrouter.telemetry.outcomes.schema import open_for_writing
from asyncrouter.testing import fake_router


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


def test_what_was_lost_is_told_once(path):
    one = writer(path, capacity=1)
    connection = open_for_writing(path)
    one._start = lambda: None
    for _commit in range(2):
        one.put(call(0))
        one.put(call(1))
        for _again in range(2):
            one._take()
            one._commit(connection)
    connection.close()
    assert one.dropped == lost_rows(path) == 2


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
        for _ in range(100):
            await router.generate("hi")
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
