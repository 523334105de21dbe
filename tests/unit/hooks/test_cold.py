"""The cold hooks, as the router calls them: plain or async, all or none, in order and in reverse."""

from __future__ import annotations

import pytest

from asyncrouter import PluginContractError, hookimpl
from asyncrouter.testing import fake_router


class Waiting:
    """Async cold hooks."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    @hookimpl
    async def asyncrouter_startup(self, router):
        self.log.append(f"{self.name} up {type(router).__name__}")

    @hookimpl
    async def asyncrouter_shutdown(self):
        self.log.append(f"{self.name} down")


class Plain(Waiting):
    """The same without ``async``."""

    @hookimpl
    def asyncrouter_startup(self, router):
        self.log.append(f"{self.name} up {type(router).__name__}")

    @hookimpl
    def asyncrouter_shutdown(self):
        self.log.append(f"{self.name} down")


async def test_cold_hooks_may_be_plain_or_async():
    log = []
    async with fake_router(plugins=[Waiting(log, "one"), Plain(log, "two")]):
        assert log == ["one up Router", "two up Router"]
    assert log[2:] == ["two down", "one down"]


@pytest.mark.parametrize("kind", [Waiting, Plain])
async def test_one_that_fails_is_named_and_those_that_started_are_shut_down(kind):
    log = []

    class Failing(kind):
        @hookimpl
        def asyncrouter_startup(self):
            raise KeyError

    with pytest.raises(PluginContractError, match="plugin 'two', asyncrouter_startup: raised KeyError"):
        async with fake_router(plugins=[kind(log, "one"), Failing(log, "two")]):
            pytest.fail("it must not open")
    assert log == ["one up Router", "one down"]
