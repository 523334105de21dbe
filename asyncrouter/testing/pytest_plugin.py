"""Fixtures for pytest; switch them on with ``pytest_plugins = ["asyncrouter.testing.pytest_plugin"]`` or ``-p``.

``fake_provider``, ``recorder``, ``scripted_server``, ``virtual_clock`` and ``no_real_calls``.  The async ones need
anyio's own plugin, which comes with anyio: mark tests with ``@pytest.mark.anyio`` or set ``anyio_mode = "auto"``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anyio
import pytest

from asyncrouter.testing.clock import virtual_backend
from asyncrouter.testing.fake import FakeProvider
from asyncrouter.testing.guard import forbid_real_calls
from asyncrouter.testing.recorder import Recorder
from asyncrouter.testing.server import ScriptedServer, completion


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the async tests that ask for ``virtual_clock`` in virtual time, whatever ``anyio_backend`` says."""
    if {"virtual_clock", "anyio_backend"} <= set(metafunc.fixturenames):
        # a mark, read later in this hook, replaces a fixture with parameters; metafunc.parametrize would clash with it
        metafunc.definition.add_marker(pytest.mark.parametrize("anyio_backend", [virtual_backend], ids=["virtual"]))


class VirtualClock:
    """The virtual time of the test that asked for it; a :class:`~asyncrouter.types.clock.Clock`."""

    def now(self) -> float:
        """Return the seconds since the test began."""
        return anyio.current_time()


@pytest.fixture
def virtual_clock() -> VirtualClock:
    """Run the async test in virtual time: waits take no time, and end at their exact moment."""
    return VirtualClock()


@pytest.fixture
def fake_provider() -> FakeProvider:
    """Return a provider in memory that answers "ok"; give it another script with ``fake_provider.play(...)``."""
    return FakeProvider()


@pytest.fixture
def recorder() -> Recorder:
    """Return a recorder to register on a router."""
    return Recorder()


@pytest.fixture
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """Run a real HTTP server on 127.0.0.1 that answers "Hello"; set ``scripted_server.scripts`` for other answers."""
    async with ScriptedServer(completion()) as server:
        yield server


@pytest.fixture
def no_real_calls() -> Iterator[None]:
    """Forbid calls to any host but this machine while the test runs."""
    with forbid_real_calls():
        yield
