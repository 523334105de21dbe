"""Rows H01 to H04: too many requests, and the times that upstreams ask for."""

from __future__ import annotations

import pytest
from http_errors import ALONE, answer, cooldown, fails, in_a_row, reply, said, streamed_too

from asyncrouter import AllAttemptsFailed, RateLimited
from asyncrouter.engine.attempt import LIMITED_S
from asyncrouter.testing import Fail
from asyncrouter.testing.http_script import Raw, completion


@streamed_too
async def test_h01_a_retry_after_is_waited_out_or_fled_from(wall, streamed):
    limited = said(429, headers={"retry-after": "2"})
    async with wall({"a": [limited, reply(streamed, "a")], "b": reply(streamed, "b")}) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("b", ["a", "b"], 0)
        assert 0.0 < cooldown(f) <= 2.0
        assert in_a_row(f) == 0, "whoever says when to come back is not broken"


async def test_h01_where_there_is_nobody_else_the_gap_is_two_seconds_and_more(wall):
    async with wall({"a": [said(429, headers={"retry-after": "2"}), completion("a")]}) as f:
        response = await f.ask()
        assert (response.text, f.asked, response.trace.waits) == ("a", ["a", "a"], 1)
        (_, first), (_, second) = f.timeline
        assert second - first >= 2.0


@pytest.mark.parametrize("seed", range(100))
async def test_h02_a_limit_without_a_time_is_asked_at_most_4_times_in_3_s_and_6_in_all(faults, seed):
    async with faults({"a": Fail(RateLimited)}, groups={"chat": ALONE}, seed=seed) as f:
        await f.fails(AllAttemptsFailed)
        assert len(f.timeline) == 6
        assert sum(moment < 3.0 for _, moment in f.timeline) <= 4


@streamed_too
async def test_h02_then_another_group_is_asked(wall, streamed):
    groups = {"chat": {**ALONE, "fallbacks": ["spare"]}, "spare": {"deployments": ["b"]}}
    async with wall({"a": said(429), "b": reply(streamed, "b")}, groups=groups) as f:
        response = await answer(f, streamed=streamed)
        assert (response.text, f.asked, response.trace.waits) == ("b", ["a", "a", "b"], 1)
        assert 0.0 < cooldown(f) <= LIMITED_S
    async with wall({"a": said(429), "b": reply(streamed, "b")}) as f:
        assert (await answer(f, streamed=streamed)).text == "b"
        assert f.asked == ["a", "b"]
        assert in_a_row(f) == 1


@pytest.mark.parametrize(
    ("asked", "deadline_s", "cooled_s"), [("61", 600.0, 61.0), ("45", 30.0, 45.0), ("1000000000", 600.0, 300.0)]
)
@streamed_too
async def test_h03_a_time_beyond_cap_or_deadline_is_not_waited_for(wall, asked, deadline_s, cooled_s, streamed):
    limited = said(429, headers={"retry-after": asked})
    async with wall({"a": limited, "b": reply(streamed, "b")}) as f:
        response = await answer(f, streamed=streamed, deadline_s=deadline_s)
        assert (response.text, f.asked, response.trace.waited_s) == ("b", ["a", "b"], 0.0)
        assert cooled_s - 30 < cooldown(f) <= cooled_s
    async with wall({"a": limited}) as f:
        error = await fails(f, AllAttemptsFailed, streamed=streamed, deadline_s=deadline_s)
        assert (f.asked, error.trace.waits) == (["a"], 0)
        assert error.errors[0].retry_after_s == float(asked)


BAD_TIMES = ["-5", "abc", "NaN", "inf", "", "1e3", "Thu, 01 Jan 1970 00:00:00 GMT", "2; 3"]


@pytest.mark.parametrize("bad", BAD_TIMES)
async def test_h04_a_time_that_is_none_counts_as_absent(wall, bad):
    async with wall({"a": said(429, headers={"retry-after": bad}), "b": completion("b")}) as f:
        response = await f.ask()
        assert (response.text, f.asked) == ("b", ["a", "b"])
        assert response.trace.attempts[0].error.retry_after_s is None
        assert 0.0 < cooldown(f) <= LIMITED_S
        assert in_a_row(f) == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Fri, 31 Dec 2032 23:59:59 GMT", "date": "Fri, 31 Dec 2032 23:59:57 GMT"}, 2.0),
    ],
)
async def test_h04_a_time_in_another_form_is_one(wall, headers, wait_s):
    async with wall({"a": said(429, headers=headers), "b": completion("b")}) as f:
        response = await f.ask()
        assert response.trace.attempts[0].error.retry_after_s == wait_s
        assert cooldown(f) <= wait_s


async def test_h04_two_times_that_contradict_each_other_are_none(wall):
    head = b"HTTP/1.1 429 Too Many\r\nretry-after: 2\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n"
    async with wall({"a": Raw(head), "b": completion("b")}) as f:
        response = await f.ask()
        assert response.trace.attempts[0].error.retry_after_s is None
