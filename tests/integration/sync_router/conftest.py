"""Nothing of the sync door is left over by any test."""

from __future__ import annotations

import gc
import warnings

import pytest
from sync_routers import loop_threads


@pytest.fixture(autouse=True)
def nothing_left():
    """No thread of the router stands after a test, and nothing complains when it is collected."""
    assert not loop_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert not loop_threads()
