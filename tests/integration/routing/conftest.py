"""Everything here runs in virtual time, on asyncio and on trio."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from asyncrouter.testing import virtual_backend


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return virtual_backend if request.param == "asyncio" else ("trio", {"clock": MockClock(autojump_threshold=0)})
