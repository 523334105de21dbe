"""Whatever the order of events, no call is lost and nothing is left: a state machine over one router.

Callers come and go, upstreams answer, fail, stream, break off and stay silent, plugins come and go, time passes; after
each step the invariants that can be told in the midst of it are checked, and at the end, when every call has had its
answer or its deadline, all ten.

``ORDERS=20000 pytest tests/property/test_event_orders.py`` tries more of them; ``ORDERS_SEED=7`` begins elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import anyio
import attrs
import faulted
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from routed import ROLE, STOP, USAGE, delta

from asyncrouter import (
    AsyncRouterError,
    AttemptTimedOut,
    AuthenticationFailed,
    Chunk,
    ConnectionFailed,
    InvalidRequest,
    RateLimited,
    Response,
    ServerError,
    StreamInterrupted,
    hookimpl,
)
from asyncrouter.testing import FakeProvider, Reply, VirtualClockLoop
from asyncrouter.testing.wire import completion
from asyncrouter.types.response import usage_of

ORDERS = int(os.environ.get("ORDERS", "1500"))
STEPS = 30
DEADLINES_S = [0.5, 5.0, 60.0]
NAMES = ("a", "b", "x")
FAILURES = {
    "500": lambda: ServerError("500", status=500),
    "429": lambda: RateLimited("429", status=429),
    "429 with a time": lambda: RateLimited("429", status=429, retry_after_s=3.0),
    "reset": lambda: ConnectionFailed("reset", lost_before_answer=True),
    "refused": lambda: ConnectionFailed("refused"),
    "timeout": lambda: AttemptTimedOut("connect"),
    "401": lambda: AuthenticationFailed("401", status=401),
    "400": lambda: InvalidRequest("400", status=400),
    "cut": lambda: StreamInterrupted("cut"),
    "bug": lambda: ZeroDivisionError("a provider's own"),
    "stray cancellation": asyncio.CancelledError,
}


@attrs.define(eq=False)
class Live:
    """A call of the provider that waits for the machine to say what happens to it."""

    deployment: str
    streamed: bool
    events: asyncio.Queue = attrs.field(factory=asyncio.Queue)


class Puppet(FakeProvider):
    """A provider that does nothing by itself, until it is told to answer everything."""

    def __init__(self):
        super().__init__()
        self.live = []
        self.at_once = None

    def play(self, script):
        """Answer everything from now on."""
        super().play(script)
        self.at_once = script

    @contextlib.contextmanager
    def _alive(self, request, deployment, timeouts, *, streamed):
        call, _step = self._begin(request, deployment, timeouts)
        live = Live(deployment.name, streamed)
        self.live.append(live)
        try:
            yield live
        except BaseException as error:
            self._end(call, error)
            raise
        else:
            self._end(call, None)
        finally:
            self.live.remove(live)

    async def complete(self, request, deployment, timeouts):
        with self._alive(request, deployment, timeouts, streamed=False) as live:
            event = "answer" if self.at_once else await live.events.get()
            while event not in FAILURES and event not in {"answer", "end"}:
                event = await live.events.get()
            if event in FAILURES:
                raise FAILURES[event]()
            raw = completion(Reply("alive"), deployment.model)
            return Response(raw=raw, deployment=deployment.name, model=deployment.model, usage=usage_of(raw))

    async def stream(self, request, deployment, timeouts):
        with self._alive(request, deployment, timeouts, streamed=True) as live:
            yield Chunk(dict(ROLE))
            while True:
                event = "answer" if self.at_once else await live.events.get()
                if event in FAILURES:
                    raise FAILURES[event]()
                if event in {"piece", "answer"}:
                    yield Chunk(delta("alive"))
                if event in {"answer", "end"}:
                    break
            yield Chunk(dict(STOP))
            yield Chunk(dict(USAGE))


class Dawdling:
    """A plugin that takes its time around everything."""

    name = "dawdling"

    @hookimpl
    async def asyncrouter_around_attempt(self, call, request, deployment):
        await anyio.sleep(0.2)
        response = await call(request, deployment)
        await anyio.sleep(0.2)
        return response

    @hookimpl
    async def asyncrouter_estimate(self):
        await anyio.sleep(0.2)


class Broken:
    """A plugin whose estimator fails; that costs nobody an answer."""

    name = "broken"

    @hookimpl
    async def asyncrouter_estimate(self):
        raise ValueError


GROUPS = st.fixed_dictionaries(
    {
        "hedge": st.sampled_from([None, {"at": 0.5, "max_extra_load": 1.0}]),
        "on_interrupt": st.sampled_from(["raise", "continue", "restart"]),
        "max_attempts": st.integers(1, 6),
        "breaker": st.sampled_from([{}, {"failures": 1, "open_s": 2.0}]),
        "timeouts": st.sampled_from([{}, {"attempt_s": 2.0, "first_token_s": 1.0, "idle_s": 1.0}]),
        "retry": st.sampled_from(["none", {"use": "exponential"}]),
        "select": st.sampled_from(["priority", "round_robin", "least_busy"]),
    }
)
LIMITS = st.sampled_from([{}, {"concurrency": 1}, {"rpm": 6}, {"concurrency": 2, "tpm": 1000}])


class Orders(RuleBasedStateMachine):
    """One router, its callers and its upstreams."""

    @initialize(group=GROUPS, limits=st.tuples(LIMITS, LIMITS, LIMITS), router_seed=st.integers(0, 9))
    def open(self, group, limits, router_seed):
        self.loop = VirtualClockLoop()
        self.provider = Puppet()
        self.tasks = []
        self.plugins = {}
        chat = {key: value for key, value in group.items() if value is not None}
        self.entered = faulted.faults(
            self.provider,
            groups={"chat": {"deployments": ["a", "b"], "fallbacks": ["other"], **chat}, "other": {"deployments": ["x"]}},
            deployments={name: {"limits": limits[index]} for index, name in enumerate(NAMES)},
            seed=router_seed,
            late_s=1.0,  # a stream that is left is closed within a second
        )
        self.f = self.run(self.entered.__aenter__())

    def run(self, waiting):
        """Run the loop until *waiting* is over, and what it has set going has come to rest."""
        return self.loop.run_until_complete(waiting)

    def settle(self):
        self.run(_turns())

    # ------------------------------------------------------------------ callers

    @rule(deadline_s=st.sampled_from(DEADLINES_S), streamed=st.booleans(), count=st.sampled_from([1, 1, 1, 3]))
    def callers_come(self, deadline_s, streamed, count):
        for _ in range(count):
            waiting = self.f.read(deadline_s=deadline_s) if streamed else self.f.ask(deadline_s=deadline_s)
            self.tasks.append(self.loop.create_task(self.f.caught(waiting)))
        self.settle()

    @precondition(lambda self: any(not task.done() for task in self.tasks))
    @rule(data=st.data())
    def a_caller_leaves(self, data):
        data.draw(st.sampled_from([task for task in self.tasks if not task.done()]), label="caller").cancel()
        self.settle()

    # ------------------------------------------------------------------ upstreams

    @precondition(lambda self: self.provider.live)
    @rule(index=st.integers(0, 5), event=st.sampled_from(["answer", "piece", "end", *FAILURES]))
    def an_upstream_acts(self, index, event):
        self.provider.live[index % len(self.provider.live)].events.put_nowait(event)
        self.settle()

    @precondition(lambda self: len(self.provider.live) > 1)
    @rule(event=st.sampled_from(["answer", "500", "429", "cut"]))
    def all_upstreams_act_at_once(self, event):
        for live in list(self.provider.live):
            live.events.put_nowait(event)
        self.settle()

    # ------------------------------------------------------------------ time and plugins

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0, 30.0]))
    def time_passes(self, seconds):
        self.run(asyncio.sleep(seconds))
        self.settle()

    @rule(kind=st.sampled_from([Dawdling, Broken]))
    def a_plugin_comes_or_goes(self, kind):
        plugin = self.plugins.pop(kind, None)
        if plugin is None:
            self.plugins[kind] = kind()
            self.f.router.register(self.plugins[kind])
            self.f.exact = False
        else:
            self.f.router.unregister(plugin)

    # ------------------------------------------------------------------ invariants

    @invariant()
    def no_call_outlives_its_deadline(self):
        for call in self.f.calls:
            assert call.outcomes or self.loop.time() <= call.deadline + 1.0, "I4: a call runs on after its deadline"

    @invariant()
    def nothing_is_held_by_nobody(self):
        fleet, live = self.f.router.fleet, self.provider.live
        for name in NAMES:
            state = fleet[name]
            calls = sum(one.deployment == name for one in live)
            assert state.in_flight >= calls, f"I5: {name} has {calls} calls, {state.in_flight} are known"
            limit = state.deployment.limits.concurrency
            assert limit is None or calls <= limit, f"I3: {calls} calls of {name} at once"
        assert self.provider.in_flight == len(live)
        assert fleet.budget._extra_in_flight >= 0, "I5: the budget was handed back twice"
        if all(task.done() for task in self.tasks):
            self.f.check_quiet()

    @invariant()
    def the_accounts_so_far_are_right(self):
        ended = sum(call.outcomes for call in self.f.calls)
        assert len(self.f.recorder.finished) == ended, "I1: an end was not told, or told twice"
        assert all(call.outcomes <= 1 for call in self.f.calls), "I1: a call ended twice"
        assert all(sum(one.outcome == "ok" for one in end.trace.attempts) <= 1 for end in self.f.recorder.finished)

    def teardown(self):
        if not hasattr(self, "f"):  # there was no order to try
            return
        try:
            self.run(asyncio.sleep(max(DEADLINES_S) + 2.0))
            lost = [task for task in self.tasks if not task.done()]
            assert not lost, f"I1: {len(lost)} calls have never ended"
            for plugin in self.plugins.values():
                self.f.router.unregister(plugin)
            self.run(self.entered.__aexit__(None, None, None))
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.settle()
            self.loop.close()


async def _turns():
    for _ in range(12):
        await asyncio.sleep(0)


def test_whatever_the_order_of_events_no_call_is_lost():
    run_state_machine_as_test(
        seed(int(os.environ.get("ORDERS_SEED", "0")))(Orders),
        settings=settings(
            max_examples=ORDERS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
