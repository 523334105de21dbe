"""What was spent outlives the process: read again, shared by groups, kept by one router."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from contextlib import closing

import pytest
from asyncrouter_cost import cost, journal
from asyncrouter_cost.books import Books
from asyncrouter_cost.factory import CostFactory

from asyncrouter import BudgetExceeded, ConfigError, Router
from asyncrouter.testing import Fail, FakeProvider, Reply, Slow, fake_router, run_virtual
from asyncrouter.types.errors import ServerError
from asyncrouter.types.response import Usage

TOKENS = Usage(input_tokens=10, output_tokens=1000)
TABLES = {"large": {"price": {"input": 0.0, "output": 10.0}}}
"""A call of so many tokens costs 0.01 USD."""
HOUR = 3600.0


class Wall:
    """A wall clock that goes on from one virtual loop to the next."""

    def __init__(self):
        self.at = 1.7e9
        self.loop = None

    def __call__(self):
        return self.at + (0.0 if self.loop is None else self.loop.time())

    def run(self, function, *args):
        """Run *function* on a virtual clock of its own."""

        async def main():
            self.loop = asyncio.get_running_loop()
            self.at -= self.loop.time()
            return await function(*args)

        try:
            return run_virtual(main)
        finally:
            self.at, self.loop = self(), None


@pytest.fixture
def wall(monkeypatch):
    wall = Wall()
    monkeypatch.setattr(journal, "wall_s", wall)
    monkeypatch.setattr(journal, "SAVE_S", HOUR)  # tests say when it is written
    return wall


@pytest.fixture
def file(tmp_path):
    return tmp_path / "spent.db"


def select(file, usd=0.1, **budget):
    budgets = [{"usd": usd, "per": "hour", **budget}]
    return {"use": "cost", "usd_per_quality": 1.0, "output_tokens": 1000, "budgets": budgets, "state": str(file)}


def router(file, usd=0.1, script=None, **budget):
    return fake_router(script or Reply(usage=TOKENS), deployments=TABLES, select=select(file, usd, **budget))


async def calls(file, count, usd=0.1, then_s=0.0, **budget):
    """Make calls until one is refused; return how many were answered."""
    async with router(file, usd, **budget) as r:
        answered = await until_refused(r, count)
        await asyncio.sleep(then_s)
    return answered


async def until_refused(r, count, **arguments):
    for answered in range(count):
        try:
            await r.generate("hi", max_tokens=1000, **arguments)
        except BudgetExceeded:
            return answered
    return count


# ------------------------------------------------------------------ over a restart


def test_what_was_spent_stays_spent_over_a_restart_and_comes_back_after_the_period(wall, file):
    assert wall.run(calls, file, 7) == 7
    assert wall.run(calls, file, 9, 0.1, HOUR - 60.0) == 3
    assert wall.run(calls, file, 9, 0.1, 3 * 60.0) == 0
    assert wall.run(calls, file, 99) == 10
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_without_a_file_a_restart_forgets(wall):
    async def main():
        options = {"use": "cost", "output_tokens": 1000, "budgets": [{"usd": 0.1, "per": "hour"}]}
        async with fake_router(Reply(usage=TOKENS), deployments=TABLES, select=options) as r:
            return await until_refused(r, 99)

    assert wall.run(main) == wall.run(main) == 10


def test_a_wall_clock_that_went_back_gives_no_money(wall, file):
    assert wall.run(calls, file, 99) == 10
    wall.at -= 10 * HOUR
    assert wall.run(calls, file, 99) == 0


@pytest.mark.parametrize("seed", range(6))
def test_within_no_hour_is_more_spent_whenever_it_is_restarted(wall, file, seed):
    rng, spent = random.Random(seed), []  # noqa: S311

    async def a_while():
        async with router(file) as r:
            for _ in range(rng.randrange(12)):
                await asyncio.sleep(rng.expovariate(1 / 200))
                if await until_refused(r, 1):
                    spent.append(wall())

    for _ in range(12):
        wall.run(a_while)
        wall.at += rng.expovariate(1 / 600)
    assert len(spent) > 12
    for start in spent:
        assert sum(start <= at < start + HOUR for at in spent) <= 10


def test_pacing_goes_on_where_it_was(wall, file):
    async def urgency(count):
        async with router(file) as r:
            for _ in range(count):
                await r.generate("hi")
                await asyncio.sleep(60.0)
            return (await r.explain("hi")).selection.reason

    before = wall.run(urgency, 7)
    after = wall.run(urgency, 0)
    assert before.partition("money ")[2] > "4"
    assert float(after.partition("money ")[2].split()[0]) == pytest.approx(
        float(before.partition("money ")[2].split()[0]), rel=0.2
    )


def test_each_has_an_account_of_his_own_in_the_file(wall, file):
    async def main(count):
        async with router(file, by="metadata.user") as r:
            users = [{}, {"user": ""}, {"user": "a"}]
            return [await until_refused(r, count, metadata=user) for user in users]

    assert wall.run(main, 6) == [6, 6, 6]
    assert wall.run(main, 99) == [4, 4, 4]


def test_a_limit_that_is_raised_keeps_what_was_spent(wall, file):
    assert wall.run(calls, file, 99) == 10
    assert wall.run(calls, file, 99, 0.15) == 5


def test_what_was_under_way_when_the_process_died_counts_as_spent(wall, file, tmp_path):
    async def main():
        async with router(file, script=Slow(50.0, Reply(usage=TOKENS))) as r, asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(r.generate("hi", max_tokens=1000))
            await asyncio.sleep(1.0)
            write(r)
            shutil.copy(file, tmp_path / "at-death.db")

    wall.run(main)
    assert wall.run(calls, file, 99) == 7
    assert wall.run(calls, tmp_path / "at-death.db", 4) == 4
    assert wall.run(calls, tmp_path / "at-death.db", 99) == 3


def write(r):
    """Do what the thread does every second."""
    kept = books(r)[0].journal
    kept._write(kept._file)


def books(r):
    return [one.instance.books for one in r._assembler.instances() if hasattr(one.instance, "books")]


def test_a_file_holds_what_is_within_the_period_and_no_more(wall, file):
    async def main():
        async with router(file, 100.0, script={"large": Reply(usage=TOKENS)}) as r:
            for _ in range(500):
                await r.generate("hi")
                await asyncio.sleep(60.0)
                write(r)

    wall.run(main)
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT usd FROM spent").fetchall()
    assert 60 <= len(rows) <= 62
    assert all(usd == pytest.approx(0.01) for (usd,) in rows)


def test_calls_that_fail_leave_nothing_in_the_file(wall, file):
    async def main():
        async with router(file, script=Fail(ServerError)) as r:
            for _ in range(3):
                with pytest.raises(Exception, match="large"):
                    await r.generate("hi")
                write(r)

    wall.run(main)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT sum(abs(usd)) < 1e-9 OR count(*) = 0 FROM spent").fetchone() == (1,)


# ------------------------------------------------------------------ who shares it


def test_groups_of_one_file_have_the_same_accounts_and_keep_them_when_reconfigured(wall, file):
    provider = FakeProvider(Reply(usage=TOKENS))

    def configuration(usd):
        return {
            "router": {"default": "one"},
            "providers": {"fake": provider},
            "deployments": {"large": {"provider": "fake", "model": "large", **TABLES["large"]}},
            "groups": {name: {"deployments": ["large"], "select": select(file, usd)} for name in ("one", "two")},
        }

    async def main():
        async with Router.from_config(configuration(0.1)) as r:
            assert books(r)[0] is books(r)[1]
            first = [await until_refused(r, 4, model="one"), await until_refused(r, 99, model="two")]
            await r.reconfigure(configuration(0.205))
            return [*first, await until_refused(r, 99, model="one")]

    assert wall.run(main) == [4, 6, 10]


def test_two_routers_do_not_keep_one_file(wall, file):
    async def main():
        async with router(file) as first:
            await until_refused(first, 3)
            with pytest.raises(ConfigError, match=r"state: .*spent\.db is kept by another router.*end that one first"):
                async with router(file):
                    pass
            assert await until_refused(first, 99) == 7

    wall.run(main)
    assert wall.run(calls, file, 99) == 0


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": 3, "budgets": [{"usd": 1, "per": "day"}]}, "state: expected the path of a file, not 3"),
        ({"state": "", "budgets": [{"usd": 1, "per": "day"}]}, "state: expected the path of a file, not the string ''"),
        ({"state": "x"}, "state: keeps budgets, and there are none"),
        ({"budgets": [{"usd": 1, "per": "day"}, {"usd": 2, "per": "day"}]}, r"budgets\[1\]: has the same per, by and"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(ConfigError, match=message):
        cost(**options)


def test_one_factory_gives_one_file_one_set_of_books(file):
    factory, options = CostFactory(), {"budgets": [{"usd": 1, "per": "day"}]}
    first = factory(state=str(file), **options)
    assert factory(state=file, **options).books is first.books
    assert factory(state=f"{file}x", **options).books is not first.books
    assert factory(**options).books is not factory(**options).books
    assert CostFactory()(state=file, **options).books is not first.books
    assert isinstance(first.books, Books)
