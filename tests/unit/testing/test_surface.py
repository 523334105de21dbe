"""What the kit exports, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from asyncrouter import testing


def test_the_exported_names_are_sorted_and_documented():
    assert testing.__all__ == sorted(testing.__all__)
    for name in testing.__all__:
        thing = getattr(testing, name)
        if name not in {"Script", "Step", "virtual_backend"}:
            assert inspect.getdoc(thing), name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import asyncrouter.testing", []),
        ("from asyncrouter.testing import SelectorContract, ProviderContract, PluginContract", []),
        ("from asyncrouter.testing import ScriptedServer", []),
        ("from asyncrouter.testing import fake_router; fake_router()", []),
        ("import asyncrouter.testing.pytest_plugin", ["pytest"]),
    ],
)
def test_importing_it_loads_nothing_heavy(code, loaded):
    heavy = ["aiohttp", "pytest", "structlog", "trio"]
    code += f"\nimport sys; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (loaded, "")
