"""The opt-in pytest plugin: its fixtures at work in a test run of their own."""

from __future__ import annotations

import importlib.metadata

import pytest

pytest_plugins = ["pytester"]

INI = "[pytest]\nanyio_mode = auto\nfilterwarnings = error\n"
ON = 'pytest_plugins = ["asyncrouter.testing.pytest_plugin"]\n'

TESTS = """
import os, urllib.request
import anyio
import pytest
from asyncrouter.testing import Fail, Reply, VirtualClockLoop
from asyncrouter.types.clock import Clock
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import RateLimited
from asyncrouter.types.events import FeedbackGiven
from asyncrouter.types.request import Request

ASK = Request(messages=[{"role": "user", "content": "hi"}]), Deployment(name="d", provider="p", model="m"), Timeouts()


async def test_virtual(virtual_clock):
    assert isinstance(virtual_clock, Clock)
    assert virtual_clock.now() == 0.0
    await anyio.sleep(3600)
    assert virtual_clock.now() == 3600.0


@pytest.mark.parametrize("hours", [1, 2])
async def test_virtual_with_parameters(virtual_clock, hours):
    await anyio.sleep(hours * 3600)
    assert virtual_clock.now() == hours * 3600.0


async def test_real_without_it():
    import asyncio
    assert not isinstance(asyncio.get_running_loop(), VirtualClockLoop)


async def test_fake(fake_provider):
    assert (await fake_provider.complete(*ASK)).text == "ok"
    fake_provider.play(Fail(RateLimited))
    with pytest.raises(RateLimited):
        await fake_provider.complete(*ASK)


def test_recorder(recorder):
    recorder.asyncrouter_observe(FeedbackGiven(None, 1.0))
    assert len(recorder.of(FeedbackGiven)) == 1


async def test_server(scripted_server):
    from asyncrouter.testing.server import Http
    scripted_server.scripts = Http(200, b"changed")
    read = lambda: urllib.request.urlopen(scripted_server.url + "/x").read()
    assert await anyio.to_thread.run_sync(read) == b"changed"
    assert scripted_server.requests[0].path == "/x"


def test_forbidden(no_real_calls):
    assert os.environ["ASYNCROUTER_LOOPBACK_ONLY"] == "1"


def test_allowed_again():
    assert "ASYNCROUTER_LOOPBACK_ONLY" not in os.environ
"""


@pytest.fixture
def fresh(pytester, monkeypatch):
    monkeypatch.delenv("ASYNCROUTER_LOOPBACK_ONLY", raising=False)
    pytester.makeini(INI)
    pytester.makepyfile(TESTS)
    return pytester


def run(pytester, *arguments):
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_its_fixtures_work(fresh):
    fresh.makeconftest(ON + "import pytest\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n")
    run(fresh).assert_outcomes(passed=9)


def test_it_is_switched_on_at_the_command_line_too(fresh):
    result = run(fresh, "-p", "asyncrouter.testing.pytest_plugin", "-k", "test_virtual or forbidden")
    result.assert_outcomes(passed=4, deselected=8)


def test_it_is_off_unless_asked_for(fresh):
    result = run(fresh, "-k", "test_recorder")
    result.assert_outcomes(errors=1, deselected=14)
    result.stdout.fnmatch_lines(["*fixture 'recorder' not found*"])
    assert not [point for point in importlib.metadata.entry_points(group="pytest11") if "asyncrouter" in point.value]


def test_every_fixture_is_documented(fresh):
    result = run(fresh, "--fixtures", "-p", "asyncrouter.testing.pytest_plugin")
    for name in ("virtual_clock", "fake_provider", "recorder", "scripted_server", "no_real_calls"):
        result.stdout.fnmatch_lines([f"{name} -- *asyncrouter/testing/pytest_plugin.py:*", "    *[a-z]*."])
