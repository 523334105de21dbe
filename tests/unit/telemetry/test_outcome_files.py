"""Whose file an outcome log may be, how it is read, and how a configuration names it."""

from __future__ import annotations

import sqlite3

import attrs
import pytest
from outcome_log import PROMPT, call, writer

from asyncrouter import ConfigError, Router
from asyncrouter.telemetry.outcomes import OutcomeLog, lost_rows, read_calls
from asyncrouter.telemetry.outcomes.schema import VERSION, open_for_writing
from asyncrouter.testing import FakeProvider

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
