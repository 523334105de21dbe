"""What collecting returns where nobody could begin, and what it raises where nobody has answered."""

from __future__ import annotations

import pytest

from asyncrouter.engine.collecting import collect
from asyncrouter.engine.hedging import Rivals
from asyncrouter.testing import run_virtual
from asyncrouter.types.errors import ServerError


@pytest.mark.parametrize("take", ["best", "majority"])
def test_nobody_could_begin(take):
    async def cannot_begin(step):
        return None

    assert run_virtual(collect, cannot_begin, Rivals((1, 2), take=take)) is None


@pytest.mark.parametrize("take", ["best", "majority"])
def test_the_last_error_is_raised(take):
    async def fails(step):
        raise ServerError(f"number {step}")

    with pytest.raises(ServerError, match="number 2"):
        run_virtual(collect, fails, Rivals((1, 2), take=take))
