"""The tests of every fault, and the fixtures that hold each of them to the ten invariants.

A row is one fault: its test has the row's id in its name, scripts the fault, makes the call and says what comes of it.
The invariants (tests/support/invariants.py) are checked on leaving the block, and are no care of the test.  ::

    async def test_t01_an_upstream_that_never_answers_is_left(faults):
        async with faults({"a": Hang(), "b": Reply("b")}, timeouts={"attempt_s": 2.0}) as f:
            assert (await f.ask()).text == "b"
            assert f.timeline == [("a", 0.0), ("b", 2.0)]

``faults(script, **group)`` is a router in memory in virtual time: deployments "a" and "b" in a group "chat", a provider
that does what the script says (``asyncrouter.testing``), times that are exact.  ``groups=``, ``deployments=``,
``agents=``, ``settings=`` (of the router), ``plugins=`` and ``seed=`` as in tests/support/routed.py.  ::

    async def test_n05_a_connection_reset_before_the_headers_is_made_anew(wall):
        async with wall({"a": [Reset(), completion("again")], "b": completion("b")}) as f:
            assert (await f.ask()).text == "again"
            assert f.asked == ["a", "a"]

``wall(scripts, **group)`` is a router over real sockets on the loopback: the scripts, one a deployment, are steps of
``asyncrouter.testing`` or of its ``http_script``; ``down={"x": "http://127.0.0.1:1"}`` adds deployments at an address
of their own, ``providers={"a": {...}}`` options of a deployment's provider.  Time is real, so make waits short
(``retry=FAST``), gate answers instead of delaying them, and use ``await f.pass_time(30)`` to put the router's clock
forward between two calls.

Make calls through what the block yields: ``f.ask()``, ``f.read()`` (a whole stream), ``f.stream()``,
``f.fails(ErrorClass)``, ``f.many(100)``, ``f.begin()`` (in a task, to cancel it).  Look at ``f.called``,
``f.timeline``, ``f.asked`` (over sockets: what arrived), ``f.router``, ``f.recorder``, ``f.state("a")``, ``f.server``.
The sentinels ``PROMPT`` and ``KEY`` are in every call; ``alive=False`` leaves out the healthy call at the end, where
there can be none; ``rewritten=True`` is for hooks that change answers, ``late_s=`` for upstreams that do not let go.
"""

from __future__ import annotations

import functools
import logging

import faulted
import pytest
import walled

from asyncrouter.telemetry.log import LogObserver
from asyncrouter.testing import virtual_backend


@pytest.fixture
def anyio_backend(request):
    """Run in virtual time, unless the test speaks over sockets."""
    return "asyncio" if "wall" in request.fixturenames else virtual_backend


@pytest.fixture
def sinks(caplog, capfd):
    """Return a function that tells all that was logged or printed so far, at the most talkative level."""
    caplog.set_level(logging.DEBUG)
    seen = {"standard output": "", "standard error": ""}

    def told():
        out, err = capfd.readouterr()
        seen["standard output"] += out
        seen["standard error"] += err
        return seen | {"log": caplog.text}

    return told


@pytest.fixture
def faults(sinks):
    """Enter a router in memory, in virtual time; see the module."""
    return functools.partial(_logged, faulted.faults, sinks)


@pytest.fixture
def wall(sinks):
    """Enter a router over sockets, in real time; see the module."""
    return functools.partial(_logged, walled.wall, sinks)


def _logged(enter, sinks, *script, **settings):
    return enter(*script, sinks=sinks, log=LogObserver(level="debug"), **settings)
