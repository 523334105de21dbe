"""Fixtures for every test."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

# A busy machine is no fault of the code: examples have no deadline of their own.
settings.register_profile("asyncrouter", deadline=None)
settings.load_profile("asyncrouter")


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
