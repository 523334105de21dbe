"""Of several answers: once the choice is settled nothing changes it, and the choice is what it is said to be."""

from __future__ import annotations

from collections import Counter

import anyio
import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from asyncrouter.engine.collecting import chosen, collect, is_settled
from asyncrouter.engine.hedging import Rivals
from asyncrouter.testing import run_virtual
from asyncrouter.types.errors import ServerError

TAKES = ("best", "majority")


@attrs.frozen
class Said:
    """An answer of the test."""

    form: str
    score: float
    accepted: bool


ANSWERS = st.builds(Said, st.sampled_from("xyz"), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())


@st.composite
def some_of(draw, elements):
    """Draw a few answers at places of the selection, and how many more are to come."""
    answers = draw(st.lists(elements, min_size=1, max_size=4))
    waiting = draw(st.integers(1, 2))
    places = draw(st.permutations(range(len(answers) + waiting)))
    return dict(zip(places, answers, strict=False)), places[len(answers) :]


@given(some_of(ANSWERS), st.sampled_from(TAKES), st.lists(ANSWERS, min_size=2, max_size=2))
@settings(max_examples=400, deadline=None)
def test_what_is_settled_is_settled(drawn, take, later):
    answers, to_come = drawn
    if not is_settled(answers, len(to_come), take):
        return
    before = chosen(answers, take)
    for count in range(len(to_come) + 1):
        after = chosen({**answers, **dict(zip(to_come[:count], later, strict=False))}, take)
        if take == "majority":
            assert after.form == before.form
        assert after.accepted
        assert take == "majority" or after.score == before.score


@given(some_of(ANSWERS), st.sampled_from(TAKES))
@settings(max_examples=200, deadline=None)
def test_the_choice_is_what_it_is_said_to_be(drawn, take):
    answers, _ = drawn
    taken = chosen(answers, take)
    accepted = [one for one in answers.values() if one.accepted]
    pool = accepted or list(answers.values())
    assert taken in pool
    if take == "best":
        assert taken.score == max(one.score for one in pool)
    else:
        votes = Counter(one.form for one in pool)
        assert votes[taken.form] == max(votes.values())
        tied = [one.score for one in pool if votes[one.form] == votes[taken.form]]
        assert taken.score == max(tied)


ENDS = st.one_of(ANSWERS, st.just("fails"), st.just("none"))


@given(st.lists(st.tuples(st.integers(0, 3), ENDS), min_size=2, max_size=5), st.sampled_from(TAKES))
@settings(max_examples=150, deadline=None)
def test_collecting_waits_for_no_more_than_it_needs(plan, take):
    steps = tuple(range(len(plan)))
    ended = {}

    async def contend(step):
        delay, end = plan[step]
        await anyio.sleep(delay)
        ended[step] = delay
        if end == "fails":
            raise ServerError("scripted")
        return None if end == "none" else end

    async def run():
        taken = await collect(contend, Rivals(steps, take=take))
        return taken, anyio.current_time()

    whole = {place: end for place, (_, end) in enumerate(plan) if isinstance(end, Said)}
    if not whole:
        if any(end == "fails" for _, end in plan):
            with pytest.raises(ServerError):
                run_virtual(run)
        else:
            assert run_virtual(run)[0] is None
        return
    taken, took = run_virtual(run)
    best = chosen(whole, take)
    assert taken.accepted is best.accepted
    assert (taken.form == best.form) if take == "majority" else (taken.score == best.score)
    moments = sorted({delay for delay, _ in plan})
    settled = next(
        (now for now in moments if _is_settled_at(plan, now, take)),
        moments[-1],
    )
    assert took == pytest.approx(settled)


def _is_settled_at(plan, now, take):
    answers = {place: end for place, (delay, end) in enumerate(plan) if delay <= now and isinstance(end, Said)}
    waiting = sum(delay > now for delay, _ in plan)
    return is_settled(answers, waiting, take)
