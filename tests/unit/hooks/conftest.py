"""The registry under test: nothing that happens to be installed is in it."""

from __future__ import annotations

import pytest

from asyncrouter.hooks.registry import Registry


@pytest.fixture
def registry():
    """Return a registry that looks at no installed plugin."""
    made = Registry()
    made._installed_loaded = True
    return made
