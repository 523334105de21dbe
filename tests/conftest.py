"""Fixtures for every test."""

from __future__ import annotations

import gc
import signal

import pytest
from hypothesis import settings

# A busy machine is no fault of the code: examples have no deadline of their own.
settings.register_profile("asyncrouter", deadline=None)
settings.load_profile("asyncrouter")

# A shell has its background jobs ignore Ctrl-C, and processes that are started here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Take the thousands of tests themselves out of the garbage collector's sight.

    The tests that look whether anything is left collect all garbage, which took a third of a second each by it.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio unless a test asks for more."""
    return "asyncio"
