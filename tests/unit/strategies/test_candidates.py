"""What is known of candidates is found once, for the few sets of them that take turns."""

from __future__ import annotations

from asyncrouter.strategies.candidates import KEPT, OncePerCandidates


def test_it_is_found_once_while_the_same_few_come(deploy):
    asked = []
    once = OncePerCandidates(lambda candidates: asked.append(candidates) or len(candidates))
    sets = [deploy(*"abcdef"[: count + 1]) for count in range(KEPT)]
    assert [once.of(one) for _ in range(3) for one in sets] == [1, 2, 3, 4] * 3
    assert asked == sets


def test_of_more_the_oldest_are_found_again(deploy):
    asked = []
    once = OncePerCandidates(asked.append)
    sets = [deploy("a") for _ in range(KEPT + 1)]
    for one in (*sets, sets[1], sets[0]):
        once.of(one)
    assert list(map(id, asked)) == list(map(id, (*sets, sets[0])))
