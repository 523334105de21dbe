"""Conversations last for minutes, in virtual time."""

from __future__ import annotations

import pytest

from asyncrouter.testing import virtual_backend


@pytest.fixture
def anyio_backend():
    return virtual_backend
