"""The circuit breaker held against a model over random histories."""

from __future__ import annotations

from breakers import CLOSED, HALF_OPEN, OPEN, make
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncrouter.state.breaker import ALWAYS, FLAKY, SILENT


class BreakerMachine(RuleBasedStateMachine):
    """Any order of calls, ends, passes and time.

    The model knows rows only, of failures and of slow answers: ``min_calls`` is out of reach.
    """

    @initialize(
        failures=st.integers(1, 4),
        open_s=st.floats(0.5, 10.0),
        cap=st.floats(0.5, 40.0),
        ramp_s=st.sampled_from([0.0, 3.0]),
        seed=st.integers(0, 9),
    )
    def begin(self, failures, open_s, cap, ramp_s, seed):
        settings = {"failures": failures, "open_s": open_s, "open_cap_s": cap, "ramp_s": ramp_s}
        self.breaker = make(seed, slow_s=3.0, min_calls=10**9, **settings)
        self.failures, self.open_s, self.cap = failures, open_s, cap
        self.now = 1000.0
        self.state, self.generation, self.row, self.slow_row, self.openings = CLOSED, 0, 0, 0, 0
        self.out = []  # permits, each with the generation it was let in, and whether it is a probe
        self.until = self.opened_at = ALWAYS
        self.slow = False

    @property
    def probes(self):
        return [one for one in self.out if one[2]]

    @rule(passed=st.booleans())
    def admit(self, passed):
        ready_at = self.breaker.ready_at
        permit = self.breaker.admit(self.now, passed=passed)
        rested = self.now >= self.opened_at + self.open_s / 2
        if self.state is CLOSED:
            assert permit is not None
            self.out.append((permit, self.generation, False))
        elif passed and self.slow:
            assert permit == SILENT
            self.out.append((permit, ALWAYS, False))
        elif passed and (self.probes or not rested) and self.breaker.chance(self.now) > 0.0:
            assert permit == FLAKY
            self.out.append((permit, ALWAYS, False))
        elif self.probes or not (rested if passed else self.now >= ready_at):
            assert permit is None
        else:
            assert permit is not None
            self.state = HALF_OPEN
            self.out.append((permit, self.generation, True))
        if permit is None:
            assert self.breaker.ready_at >= ready_at

    @precondition(lambda self: self.out)
    @rule(place=st.integers(0, 99), end=st.sampled_from(["succeeded", "failed", "released", "slowly"]))
    def hand_back(self, place, end):
        permit, generation, is_probe = self.out.pop(place % len(self.out))
        before = self.breaker.ready_at
        if end == "slowly":
            self.breaker.took(permit, 9.0, self.now)
            self.breaker.succeeded(permit, self.now)
        else:
            getattr(self.breaker, end)(permit, self.now)
        if generation != self.generation:
            assert self.breaker.ready_at == before
        elif end == "slowly" and (is_probe or self.slow_row + 1 >= self.failures):
            self.open(slow=True)
        elif end in {"succeeded", "slowly"}:
            self.row = 0
            self.slow_row += end == "slowly"
            if is_probe:
                self.move(CLOSED)
                self.openings, self.until, self.slow, self.slow_row = 0, ALWAYS, False, 0
        elif end == "released":
            assert self.breaker.ready_at == (max(self.now, self.until) if is_probe else before)
        elif is_probe:
            self.open()
        else:
            self.row += 1
            if self.row >= self.failures:
                self.open()

    def open(self, *, slow=False):
        bound = min(self.cap, self.open_s * 2**self.openings)
        least, most = (max(self.until, self.now + seconds) for seconds in (bound / 2, bound))
        assert least - 1e-9 <= self.breaker.ready_at <= most + 1e-9
        assert self.breaker.ready_at >= self.until  # never shortened
        self.until, self.opened_at, self.slow = self.breaker.ready_at, self.now, slow
        self.openings += 1
        self.move(OPEN)

    def move(self, state):
        self.state, self.row = state, 0
        self.generation += 1

    @rule(seconds=st.floats(0.0, 5.0))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.breaker.ready_at > self.now)
    @rule()
    def wait_until_ready(self):
        self.now = self.breaker.ready_at

    @invariant()
    def agrees_with_the_model(self):
        assert self.breaker.state is self.state
        assert self.breaker.passable is self.slow
        assert len(self.probes) <= 1
        assert self.breaker.is_probing is bool(self.probes)

    def teardown(self):
        """Whatever happened: once every permit is back, it recovers with a single success."""
        while self.out:
            self.hand_back(0, "released")
        self.now = max(self.now, self.breaker.ready_at)
        self.admit(passed=False)
        self.hand_back(0, "succeeded")
        assert self.breaker.state is CLOSED


TestAgainstTheModel = BreakerMachine.TestCase
