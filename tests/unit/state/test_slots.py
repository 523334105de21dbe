"""Slots and the line for them: first come, first served, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asyncrouter.state.gradient import ANSWERS, CEILING, Gradient
from asyncrouter.state.slots import Slots


def in_line(slots, *moments):
    """Put one request in line for each of the moments at which they came; return the order in which they are woken."""
    woken = []
    for number, came_at in enumerate(moments):
        assert slots.line_up(came_at, lambda number=number: woken.append(number)) is not None
    return woken


def test_slots_are_taken_while_there_are_some():
    slots = Slots(2, queue=10)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    assert (slots.in_use, slots.waiting) == (2, 0)
    slots.release()
    assert slots.take()


def test_a_slot_handed_back_goes_to_the_first_in_line():
    slots = Slots(1, queue=10)
    slots.take()
    woken = in_line(slots, 5.0, 5.0, 6.0)
    for expected in ([0], [0, 1], [0, 1, 2]):
        slots.release()
        assert (woken, slots.in_use) == (expected, 1)
    slots.release()
    assert (slots.in_use, slots.waiting) == (0, 0)


def test_who_came_earlier_has_his_old_place():
    slots = Slots(1, queue=10)
    slots.take()
    woken = in_line(slots, 5.0, 7.0, 6.0, 1.0, 5.0)
    for _ in range(5):
        slots.release()
    assert woken == [3, 0, 4, 2, 1]


def test_a_full_line_takes_nobody():
    slots = Slots(1, queue=2)
    slots.take()
    in_line(slots, 1.0, 2.0)
    assert slots.line_up(0.0, pytest.fail) is None
    assert Slots(1, queue=0).line_up(0.0, pytest.fail) is None
    assert slots.waiting == 2


def test_who_leaves_the_line_is_passed_over():
    slots = Slots(1, queue=10)
    slots.take()
    woken = []
    turns = [slots.line_up(3.0, lambda number=number: woken.append(number)) for number in range(4)]
    slots.leave(turns[1])
    slots.leave(turns[3])
    assert slots.waiting == 2
    for _ in range(3):
        slots.release()
    assert (woken, slots.in_use) == ([0, 2], 0)


def test_who_leaves_after_he_was_called_hands_the_slot_on():
    slots = Slots(1, queue=10)
    slots.take()
    turn = slots.line_up(0.0, lambda: None)
    woken = in_line(slots, 1.0)
    slots.release()
    assert turn.granted
    assert woken == []
    slots.leave(turn)
    assert (woken, slots.in_use, slots.waiting) == ([0], 1, 0)


def test_more_slots_call_those_in_line_and_fewer_wait_for_calls_to_end():
    slots = Slots(1, queue=10)
    slots.take()
    woken = in_line(slots, 1.0, 2.0, 3.0)
    slots.resize(3, 4)
    assert (woken, slots.in_use, slots.queue) == ([0, 1], 3, 4)
    slots.resize(1, 4)
    for _ in range(2):
        slots.release()
        assert (woken, slots.waiting) == ([0, 1], 1)
    slots.release()
    assert (woken, slots.in_use) == ([0, 1, 2], 1)


def test_a_gradient_sets_the_limit_and_those_in_line_have_what_it_finds():
    gradient = Gradient(CEILING)
    slots = Slots(gradient.limit, 10, gradient)
    for _ in range(3):
        slots.take()
    woken = in_line(slots, 1.0, 2.0, 3.0)
    for now in range(2 * ANSWERS):
        slots.adapt(gradient, float(now), now + 1.0, dropped=False)
    assert (slots.limit, gradient.limit, slots.in_use, woken) == (5, 5, 5, [0, 1])
    slots.adapt(gradient, 99.0, 100.0, dropped=True)
    assert slots.limit == 4
    slots.resize(7, 10)
    assert (slots.gradient, woken) == (None, [0, 1, 2])


def test_crowding_is_the_length_of_the_line_in_rounds():
    slots = Slots(2, queue=10)
    assert slots.crowding == 0.0
    slots.take()
    assert slots.crowding == 0.0
    slots.take()
    assert slots.crowding == 0.5
    in_line(slots, 1.0, 2.0, 3.0)
    assert slots.crowding == 2.0


class Machine(RuleBasedStateMachine):
    """Any order of coming, being served and leaving, against a plain list of who waits."""

    def __init__(self):
        super().__init__()
        self.slots = Slots(3, queue=5)
        self.held = 0
        self.line = []
        self.came = 0

    def woken(self, entry):
        assert entry == min(self.line, key=lambda one: one["place"])
        self.line.remove(entry)
        self.held += 1

    @rule()
    def take(self):
        free = self.held < 3
        assert self.slots.take() is free
        self.held += free

    @precondition(lambda self: self.held == 3)
    @rule(came_at=st.integers(0, 3))
    def line_up(self, came_at):
        self.came += 1
        entry = {"place": (came_at, self.came)}
        full = len(self.line) == 5
        turn = self.slots.line_up(float(came_at), lambda: self.woken(entry))
        assert (turn is None) is full
        if turn is not None:
            entry["turn"] = turn
            self.line.append(entry)

    @precondition(lambda self: self.held)
    @rule()
    def release(self):
        self.held -= 1
        self.slots.release()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def leave(self, data):
        entry = data.draw(st.sampled_from(self.line))
        self.line.remove(entry)
        self.slots.leave(entry["turn"])

    @invariant()
    def nothing_is_lost(self):
        assert (self.slots.in_use, self.slots.waiting) == (self.held, len(self.line))
        assert self.held == 3 or not self.line


TestMachine = Machine.TestCase
TestMachine.settings = settings(deadline=None, max_examples=200, stateful_step_count=40)
