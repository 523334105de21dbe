"""Fixtures for every test."""

from __future__ import annotations

import pytest
from hypothesis import settings

# A busy machine is no fault of the code: examples have no deadline of their own.
settings.register_profile("asyncrouter", deadline=None)
settings.load_profile("asyncrouter")


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio unless a test asks for more."""
    return "asyncio"
