"""Rows S05s and S08s once more: a whole answer whose end is late, and a tool call that is ended in its midst."""

from __future__ import annotations

import pytest

from asyncrouter import DeadlineExceeded, StreamInterrupted
from asyncrouter.testing.http_script import End, Sse, chunk, chunks

BOUNDS = {"idle": {"timeouts": {"idle_s": 0.1}}, "deadline": {"deadline_s": 0.3}}
GRACE = {"a": {"finish_grace_s": 30.0}}
ROLE = chunk({"role": "assistant", "content": ""})
CALL = chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "pay", "arguments": '{"amount": '}}]})


@pytest.mark.parametrize("group", BOUNDS.values(), ids=BOUNDS)
async def test_s05s_what_is_whole_is_an_answer_when_time_runs_out_on_the_rest(wall, group):
    async with wall({"a": Sse(chunks("Hi you"), done=False, end=End.HANG)}, providers=GRACE, **group) as f:
        seen, response = await f.read()
        assert "".join(one.text for one in seen) == response.text == "Hi you"
        assert (response.finish_reason, response.usage.estimated) == ("stop", False)
        assert [attempt.outcome for attempt in response.trace.attempts] == ["ok"]


@pytest.mark.parametrize(
    ("group", "kind"), [(BOUNDS["idle"], StreamInterrupted), (BOUNDS["deadline"], DeadlineExceeded)]
)
async def test_s05s_one_of_two_answers_is_not_the_whole(wall, group, kind):
    async with wall({"a": Sse(chunks("Hi you"), done=False, end=End.HANG)}, providers=GRACE, **group) as f:
        with pytest.raises(kind):
            await f.read(n=2)


@pytest.mark.parametrize("policy", ["raise", "continue", "restart"])
async def test_s08s_a_tool_call_that_done_ends_in_its_midst_is_an_error(wall, policy):
    async with wall({"a": Sse([ROLE, CALL]), "b": Sse(chunks("Hi"))}, on_interrupt=policy) as f:
        with pytest.raises(StreamInterrupted, match="within the arguments of a tool call") as caught:
            await f.read()
        assert [one.raw for one in f.calls[-1].chunks] == [ROLE, CALL]
        assert [attempt.outcome for attempt in caught.value.trace.attempts] == ["failed"]
