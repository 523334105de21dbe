"""The file of what was spent: for one process at a time, and told where it is damaged or cannot be written."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from asyncrouter_cost import journal
from asyncrouter_cost.books import Key
from asyncrouter_cost.journal import Journal

from asyncrouter import ConfigError

KEY = Key("hour", '["", null]', "")


@pytest.fixture(autouse=True)
def tests_say_when_it_is_written(monkeypatch):
    monkeypatch.setattr(journal, "SAVE_S", 3600.0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "spent.db"


def taken_up(file):
    kept = Journal(file)
    spent = kept.open()
    kept.close()
    return spent


HOLD = """
import sys
from pathlib import Path
from asyncrouter_cost.factory import CostFactory
from asyncrouter_cost.journal import Journal
Journal(Path(sys.argv[1])).open()
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_is_for_one_process_and_free_when_that_is_killed(file):
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(ConfigError, match="is kept by another router"):
            taken_up(file)
        other.kill()
    assert taken_up(file) == {}


# ------------------------------------------------------------------ damage


def foreign(database):
    database.execute("CREATE TABLE t (x)")


def spoilt(statement):
    def spoil(database):
        database.executescript(journal.SCHEMA)
        database.execute(statement)
        database.commit()

    return spoil


ROW = "INSERT INTO spent VALUES ({}, '', '', {})"
DAMAGED = {
    "of something else": (foreign, "is a database of something else"),
    "a later version": (spoilt("PRAGMA user_version = 2"), "is of version 2, and this is 1"),
    "an unknown period": (spoilt(ROW.format("'year', 1", "1.0")), "is damaged"),
    "a place that is none": (spoilt(ROW.format("'hour', 'x'", "1.0")), "is damaged"),
    "text for money": (spoilt(ROW.format("'hour', 1", "'much'")), "is damaged"),
    "endless money": (spoilt(ROW.format("'hour', 1", "9e999")), "is damaged"),
    "no table": (spoilt("ALTER TABLE spent RENAME TO bought"), "cannot be read: no such table: spent"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_told(file, damage, told):
    with closing(sqlite3.connect(file)) as database:
        damage(database)
    content = file.read_bytes()
    with pytest.raises(ConfigError, match=rf"state: .*spent\.db ({told}).*move a damaged file away"):
        taken_up(file)
    assert file.read_bytes() == content


@pytest.mark.parametrize("where", ["text", "half", "middle"])
def test_a_broken_file_is_told(file, where):
    kept = Journal(file)
    kept.open()
    kept.spend(KEY, 0.5)
    kept.close()
    content = bytearray(file.read_bytes())
    half = len(content) // 2
    if where == "middle":
        content[half : half + 100] = b"\xff" * 100
    file.write_bytes(b"once upon a time" * 99 if where == "text" else content[: half if where == "half" else None])
    with pytest.raises(ConfigError, match=r"spent\.db (is damaged|cannot be read: ).*move a damaged file away"):
        taken_up(file)


def test_a_file_that_cannot_be_made_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"x\.db cannot be read: unable to open.*see that its folder is there"):
        taken_up(tmp_path / "gone" / "x.db")


def test_what_cannot_be_written_is_told_and_written_when_it_can_be(file):
    kept = Journal(file)
    assert kept.open() == {}
    kept.spend(KEY, 0.5)
    kept._file.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError):
        kept._write(kept._file)
    kept.spend(KEY, 0.25)
    kept._file.execute("PRAGMA query_only = OFF")
    kept.close()
    (row,) = taken_up(file)[KEY]
    assert row.usd == pytest.approx(0.75)


def test_at_the_end_what_cannot_be_written_is_an_error_and_the_file_is_free(file):
    kept = Journal(file)
    kept.open()
    kept.spend(KEY, 0.5)
    kept._file.execute("PRAGMA query_only = ON")
    with pytest.raises(ConfigError, match=r"spent\.db cannot be written: .*has room"):
        kept.close()
    assert taken_up(file) == {}


def test_the_thread_writes_every_so_often_and_tells_what_it_cannot(monkeypatch, file):
    kept = Journal(file)
    kept.open()
    kept.spend(KEY, 0.5)
    monkeypatch.setattr(kept, "_ended", Ends([False, False, True]))
    kept._file.execute("PRAGMA query_only = ON")
    with pytest.warns(UserWarning, match=r"spent\.db: what was spent is not kept: "):
        kept._write_now_and_then()
    kept._file.execute("PRAGMA query_only = OFF")
    kept._ended = Ends([False, True])
    kept._write_now_and_then()
    assert kept._file.execute("SELECT usd FROM spent").fetchall() == [(0.5,)]


class Ends:
    def __init__(self, answers):
        self._answers = iter(answers)

    def wait(self, _seconds):
        return next(self._answers)
