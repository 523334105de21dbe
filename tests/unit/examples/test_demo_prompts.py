"""The demonstration's prompts are as varied as it says, and mixed so that the outage is met."""

from __future__ import annotations

import unicodedata

import pytest

from asyncrouter.config.embedded import THRESHOLD
from asyncrouter.examples.demo.conduct import CONCURRENCY, cues_for
from asyncrouter.examples.demo.prompts import Task, load_tasks
from asyncrouter.examples.demo.setting import STOPPED, chosen_by
from asyncrouter.strategies.estimators.heuristic import HeuristicEstimator
from asyncrouter.types.request import Request

TASKS = load_tasks()


def complexity(task):
    request = Request(messages=task.messages, params=task.params)
    return HeuristicEstimator().asyncrouter_estimate(request).complexity


def test_there_are_many_and_none_twice():
    assert len(TASKS) >= 40
    assert [task.number for task in TASKS] == list(range(1, len(TASKS) + 1))
    assert len({task.text for task in TASKS}) == len(TASKS)


def test_they_go_from_trivial_to_hard():
    found = [complexity(task) for task in TASKS]
    assert sum(one < 0.1 for one in found) >= 12
    assert sum(0.3 <= one < THRESHOLD for one in found) >= 6
    assert sum(one >= THRESHOLD for one in found) >= 12


@pytest.mark.parametrize("script", ["CYRILLIC", "ARABIC", "DEVANAGARI", "CJK", "HIRAGANA", "HANGUL", "LATIN"])
def test_they_are_in_several_scripts(script):
    assert any(unicodedata.name(letter, "").startswith(script) for task in TASKS for letter in task.text)


def test_some_are_streamed_hold_code_or_a_conversation_and_one_offers_tools():
    assert sum(task.stream for task in TASKS) >= 8
    assert sum("```" in task.text for task in TASKS) >= 2
    assert any(len(task.messages) > 2 for task in TASKS)
    assert [task.way for task in TASKS if "tools" in task.params] == ["tools"]
    assert {task.way for task in TASKS} == {"plain", "stream", "tools"}


def test_whatever_begins_in_the_outage_the_stopped_deployment_is_asked():
    unreserved = [task for task in TASKS if not task.reserved]
    cues = cues_for(TASKS)
    assert cues.start_after - cues.stop_after > CONCURRENCY  # so some calls begin and end within the outage
    for first in range(cues.stop_after, len(unreserved) - CONCURRENCY + 1):
        window = unreserved[first : first + cues.start_after - cues.stop_after - CONCURRENCY]
        assert any(chosen_by(complexity(task)) == STOPPED for task in window)


def test_the_reserved_ones_come_last_and_ask_for_both():
    reserved = [task for task in TASKS if task.reserved]
    assert TASKS[-len(reserved) :] == tuple(reserved)
    assert len(reserved) > CONCURRENCY
    assert {chosen_by(complexity(task)) for task in reserved} == {"small", "large"}


@pytest.mark.parametrize(("unreserved", "cues"), [(36, (12, 24)), (9, (3, 6)), (4, (1, 2))])
def test_the_server_is_down_for_the_middle_third(unreserved, cues):
    message = ({"role": "user", "content": "Hi"},)
    tasks = [Task(number=n, messages=message, reserved=n > unreserved) for n in range(1, unreserved + 4)]
    found = cues_for(tasks)
    assert (found.stop_after, found.start_after) == cues
