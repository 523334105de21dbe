"""The file of an outcome log."""

from __future__ import annotations

import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outcomes.sqlite"
