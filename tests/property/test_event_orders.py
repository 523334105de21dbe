"""Whatever the order of events, no call is lost and nothing is left: a state machine over one router.

Callers come and go, upstreams answer, fail, stream, break off and stay silent, plugins come and go, time passes; after
each step the invariants that can be told in the midst of it are checked, and at the end, when every call has had its
answer or its deadline, all ten.

Hypothesis looks for an order that breaks one, and makes it short.  Plain seeds drive the same machine at a quarter of
the cost: ``SEEDS=100000 pytest tests/property/test_event_orders.py`` tries more of them, and the number of one that
fails, as in ``SEEDS=1234-1235``, repeats it.  ``ORDERS=5000`` gives Hypothesis more time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random

import anyio
import attrs
import faulted
import hypothesis.strategies as st
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from routed import ROLE, STOP, USAGE, delta

from asyncrouter import (
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

ORDERS = int(os.environ.get("ORDERS", "60"))
SEEDS = os.environ.get("SEEDS", "1500")
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
                raise FAILURES[event]()  # noqa: RSE102 - some are functions
            raw = completion(Reply("alive"), deployment.model)
            return Response(raw=raw, deployment=deployment.name, model=deployment.model, usage=usage_of(raw))

    async def stream(self, request, deployment, timeouts):
        with self._alive(request, deployment, timeouts, streamed=True) as live:
            yield Chunk(dict(ROLE))
            while True:
                event = "answer" if self.at_once else await live.events.get()
                if event in FAILURES:
                    raise FAILURES[event]()  # noqa: RSE102 - some are functions
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


GROUP = {
    "hedge": [None, {"at": 0.5, "max_extra_load": 1.0}],
    "on_interrupt": ["raise", "continue", "restart"],
    "max_attempts": [6, 3, 2, 1],
    "breaker": [{}, {"failures": 1, "open_s": 2.0}],
    "timeouts": [{}, {"attempt_s": 2.0, "first_token_s": 1.0, "idle_s": 1.0}],
    "retry": ["none", {"use": "exponential"}],
    "select": ["priority", "round_robin", "least_busy"],
}
LIMITS = [{}, {"concurrency": 1}, {"rpm": 6}, {"concurrency": 2, "tpm": 1000}]
EVENTS = [*["answer"] * 4, "piece", "end", *FAILURES]
BURSTS = ["answer", "500", "429", "cut"]
PAUSES_S = [0.1, 0.5, 1.0, 5.0, 30.0]
PLUGINS = [Dawdling, Broken]
ANY = st.integers(0, 11)


class Orders(RuleBasedStateMachine):
    """One router, its callers and its upstreams."""

    @initialize(
        group=st.fixed_dictionaries({key: st.sampled_from(values) for key, values in GROUP.items()}),
        limits=st.tuples(*[st.sampled_from(LIMITS)] * 3),
        router_seed=st.integers(0, 9),
    )
    def open(self, group, limits, router_seed):
        self.loop = VirtualClockLoop()
        self.provider = Puppet()
        self.tasks = []
        self.plugins = {}
        chat = {key: value for key, value in group.items() if value is not None}
        self.entered = faulted.faults(
            self.provider,
            groups={
                "chat": {"deployments": ["a", "b"], "fallbacks": ["other"], **chat},
                "other": {"deployments": ["x"]},
            },
            deployments={name: {"limits": limits[index]} for index, name in enumerate(NAMES)},
            seed=router_seed,
            alive=False,
            late_s=1.0,  # a stream that is left is closed within a second
        )
        self.f = self.run(self.entered.__aenter__())

    def run(self, waiting):
        """Run the loop until *waiting* is over, and what it has set going has come to rest."""
        return self.loop.run_until_complete(waiting)

    def settle(self):
        self.run(_turns())

    # ------------------------------------------------------------------ callers

    @rule(deadline_s=st.sampled_from(DEADLINES_S), streamed=st.booleans(), count=st.sampled_from([1, 3]))
    def callers_come(self, deadline_s, streamed, count):
        for _ in range(count):
            waiting = self.f.read(deadline_s=deadline_s) if streamed else self.f.ask(deadline_s=deadline_s)
            self.tasks.append(self.loop.create_task(self.f.caught(waiting)))
        self.settle()

    @precondition(lambda self: any(not task.done() for task in self.tasks))
    @rule(index=ANY)
    def a_caller_leaves(self, index):
        if waiting := [task for task in self.tasks if not task.done()]:
            waiting[index % len(waiting)].cancel()
        self.settle()

    # ------------------------------------------------------------------ upstreams

    @precondition(lambda self: self.provider.live)
    @rule(index=ANY, event=st.sampled_from(EVENTS))
    def an_upstream_acts(self, index, event):
        if live := self.provider.live:
            live[index % len(live)].events.put_nowait(event)
        self.settle()

    @precondition(lambda self: len(self.provider.live) > 1)
    @rule(event=st.sampled_from(BURSTS))
    def all_upstreams_act_at_once(self, event):
        for live in list(self.provider.live):
            live.events.put_nowait(event)
        self.settle()

    # ------------------------------------------------------------------ time and plugins

    @rule(seconds=st.sampled_from(PAUSES_S))
    def time_passes(self, seconds):
        self.run(asyncio.sleep(seconds))
        self.settle()

    @rule(kind=st.sampled_from(PLUGINS))
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
            self.run(self.f.check_healthy())
            self.run(self.entered.__aexit__(None, None, None))
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.settle()
            self.loop.close()


async def _turns():
    for _ in range(12):
        await asyncio.sleep(0)


def at_random(number):
    """Drive the machine through the order of events that belongs to a seed."""
    dice = random.Random(number)  # noqa: S311 - repeatable
    orders = Orders()
    steps = [
        (6, lambda: orders.callers_come(dice.choice(DEADLINES_S), dice.random() < 0.5, dice.choice([1, 1, 1, 3]))),
        (2, lambda: orders.a_caller_leaves(dice.randrange(12))),
        (12, lambda: orders.an_upstream_acts(dice.randrange(12), dice.choice(EVENTS))),
        (1, lambda: orders.all_upstreams_act_at_once(dice.choice(BURSTS))),
        (4, lambda: orders.time_passes(dice.choice(PAUSES_S))),
        (0.3, lambda: orders.a_plugin_comes_or_goes(dice.choice(PLUGINS))),
    ]
    orders.open(
        {key: dice.choice(values) for key, values in GROUP.items()}, dice.choices(LIMITS, k=3), dice.randrange(10)
    )
    try:
        for step in dice.choices([one for _, one in steps], [weight for weight, _ in steps], k=STEPS):
            step()
            orders.no_call_outlives_its_deadline()
            orders.nothing_is_held_by_nobody()
            orders.the_accounts_so_far_are_right()
    finally:
        orders.teardown()


def test_whatever_the_seed_no_call_is_lost():
    first, _, last = SEEDS.rpartition("-")
    for number in range(int(first or 0), int(last)):
        try:
            at_random(number)
        except BaseException as error:
            error.add_note(f"with SEEDS={number}-{number + 1}")
            raise


def test_whatever_the_order_of_events_no_call_is_lost():
    run_state_machine_as_test(
        seed(0)(Orders),
        settings=settings(
            max_examples=ORDERS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
