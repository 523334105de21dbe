"""Fixtures for every test."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio unless a test asks for more."""
    return "asyncio"
