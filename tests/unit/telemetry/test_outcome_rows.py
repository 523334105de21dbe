"""What the outcome log writes of a call, what feedback adds, and what never is written."""

from __future__ import annotations

import json
import time

import anyio
import attrs
import pytest
from outcome_log import PROMPT, call

from asyncrouter import ConfigError, Estimate, ServerError, hookimpl
from asyncrouter.telemetry.outcomes import LoggedCall, OutcomeLog, read_calls, record_feedback
from asyncrouter.telemetry.outcomes import writer as writing
from asyncrouter.telemetry.outcomes.schema import call_of, open_for_writing, row_of
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, fake_router, virtual_backend
from asyncrouter.types.errors import AuthenticationFailed
from asyncrouter.types.response import Usage

ANSWER = "ANSWER-SENTINEL for one pair of eyes"
PRICES = {"a": {"price": {"input": 1, "output": 2}}, "b": {"price": {"input": 10, "output": 20}}}
USAGE = Usage(input_tokens=1000, output_tokens=100)
ANSWERED = Reply(ANSWER, usage=USAGE)


def written(path):
    """Return every byte of the file and of those beside it."""
    return b"".join(one.read_bytes() for one in path.parent.iterdir() if one.name.startswith(path.name))


async def logged(path, *, script=ANSWERED, calls=1, **group):
    """Make *calls* calls with a log; return its rows."""
    log = OutcomeLog(path=path)
    async with fake_router(script, deployments=PRICES, plugins=[log], retry="none", **group) as router:
        for _ in range(calls):
            with anyio.move_on_after(1):
                try:
                    await router.generate(PROMPT, complexity=0.25, session="conv-1")
                except ServerError:
                    raise
                except Exception as error:
                    assert "attempts failed" in str(error)  # noqa: PT017 - the log tells of failures too
    return list(read_calls(path))


# What is written


async def test_a_call_is_a_row_with_what_was_decided_and_what_came_of_it(path):
    (row,) = await logged(path, script={"a": Fail(ServerError), "b": Reply(ANSWER, usage=USAGE)})
    assert (row.group, row.outcome, row.error) == ("chat", "answered", None)
    assert (row.ranking, row.chosen, row.propensity, row.reason) == (("a", "b"), "a", 1.0, "configured order")
    assert (row.complexity, row.estimator, row.expected_input_tokens > 0) == (0.25, "caller", True)
    assert [(one.deployment, one.kind, one.outcome, one.error) for one in row.attempts] == [
        ("a", "first", "failed", "ServerError"),
        ("b", "fallback", "ok", None),
    ]
    assert (row.deployment, row.model, row.finish_reason) == ("b", "model-b", "stop")
    assert (row.input_tokens, row.output_tokens, row.usage_estimated) == (1000, 100, False)
    assert (row.cost_usd, row.spent_usd) == pytest.approx((0.012, 0.012))
    assert (row.weak_usd, row.strong_usd) == pytest.approx((0.0012, 0.012))
    assert row.attempts[1].cost_usd == pytest.approx(0.012)
    assert time.time() - 60 < row.at <= time.time()
    assert row.session not in (None, "conv-1")


@pytest.mark.parametrize("anyio_backend", [virtual_backend], ids=["virtual"])
async def test_failures_and_cancellations_are_rows_too(path):
    failed, cancelled = await logged(path, script=FakeProvider([*[Fail(AuthenticationFailed)] * 2, Hang()]), calls=2)
    assert (failed.outcome, failed.error, failed.deployment) == ("failed", "AllAttemptsFailed", None)
    assert (cancelled.outcome, cancelled.error) == ("cancelled", None)
    assert [one.outcome for one in cancelled.attempts] == ["cancelled"]


async def test_what_the_estimator_said_is_kept(path):
    class Wise:
        name = "wise"

        @hookimpl
        async def asyncrouter_estimate(self, request):
            return Estimate(
                complexity=0.5,
                output_tokens=7,
                source="wise",
                contributions=((0.5, "length"),),
                qualities={"a": 0.5},
                features=(0.5, -2.0, 65504.0),
            )

    for vectors in (False, True):
        log = OutcomeLog(path=path, vectors=vectors, label="trial")
        async with fake_router(plugins=[Wise(), log]) as router:
            await router.generate(PROMPT)
    without, having = read_calls(path)
    assert (without.estimator, without.expected_output_tokens, without.label) == ("wise", 7, "trial")
    assert (without.contributions, without.qualities) == (((0.5, "length"),), {"a": 0.5})
    assert (without.features, having.features) == ((), (0.5, -2.0, 65504.0))


async def test_a_call_that_ends_before_anything_was_decided_is_a_row(path):
    class No:
        @hookimpl
        async def asyncrouter_around_request(self, call, request):
            raise ServerError("no", deployment="a")

    async with fake_router(plugins=[No(), OutcomeLog(path=path)]) as router:
        with pytest.raises(ServerError):
            await router.generate(PROMPT)
    (row,) = read_calls(path)
    assert (row.outcome, row.error, row.complexity, row.ranking, row.chosen) == (
        "failed",
        "ServerError",
        None,
        (),
        None,
    )


async def test_a_stream_is_one_row(path):
    async with fake_router(Reply(ANSWER), plugins=[OutcomeLog(path=path)]) as router, router.stream(PROMPT) as stream:
        assert [chunk async for chunk in stream]
    (row,) = read_calls(path)
    assert (row.stream, row.outcome, row.output_tokens) == (True, "answered", 5)


def test_every_field_comes_back_as_it_was_written(path):
    strange = {
        "tuple[Contribution, ...]": ((0.5, "x"),),
        "Mapping[str, float]": {"a": 0.25},
        "tuple[float, ...]": (0.5,),
        "tuple[str, ...]": ("a",),
        "tuple[LoggedAttempt, ...]": (),
        "tuple[Message, ...] | None": ({"role": "user", "content": "é"},),
    }
    plain = {"str": "t", "int": 3, "float": 1.5, "bool": True}
    values = {
        one.name: strange.get(one.type) or plain.get(one.type.removesuffix(" | None"), ())
        for one in attrs.fields(LoggedCall)
    }
    call = LoggedCall(**values)
    connection = open_for_writing(path)
    writing._insert(connection, call, None)
    connection.execute("INSERT INTO feedback (request, at, score) VALUES ('t', 1, 1.5)")
    connection.close()
    assert list(read_calls(path)) == [call]
    assert call_of((*row_of(call), 1.5)) == call


# Feedback


async def test_feedback_arrives_later_and_the_latest_counts(path):
    async with fake_router(plugins=[OutcomeLog(path=path)]) as router:
        first, second = [await router.generate(PROMPT) for _ in range(2)]
        await router.feedback(first, 0.25)
        await router.feedback(first, 0.75)
    assert [one.feedback for one in read_calls(path)] == [0.75, None]
    record_feedback(path, second.trace.request_id, 1)
    assert [one.feedback for one in read_calls(path)] == [0.75, 1.0]
    with pytest.raises(ValueError, match="score"):
        record_feedback(path, "x", 1.5)
    with pytest.raises(ConfigError, match="no such file"):
        record_feedback(path.with_suffix(".sqilte"), "x", 1.0)
    assert not path.with_suffix(".sqilte").exists()


# Privacy


async def test_no_text_of_prompt_answer_session_or_metadata_is_in_the_file(path):
    script = {"a": Fail(ServerError, message=f"quotes {PROMPT}"), "b": Reply(ANSWER)}
    async with fake_router(script, plugins=[OutcomeLog(path=path, vectors=True)]) as router:
        reply = await router.generate(PROMPT, session=PROMPT, metadata={"x": PROMPT}, user=PROMPT)
        await router.feedback(reply, 1.0)
    assert b"SENTINEL" not in written(path)
    (row,) = read_calls(path)
    assert (row.messages, row.prompt) == (None, None)


async def test_prompts_are_kept_when_asked_for_as_they_were(path):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT, "odd": object()}]
    async with fake_router(Reply(ANSWER), plugins=[OutcomeLog(path=path, prompts=True)]) as router:
        await router.generate(messages)
        messages.append({"role": "user", "content": "later"})
    (row,) = read_calls(path)
    assert row.prompt == f"Be brief.\n\n{PROMPT}"
    assert row.messages[1]["odd"] == "<object>"
    assert b"ANSWER-SENTINEL" not in written(path)
    assert "SENTINEL" not in repr(row)


async def test_ids_are_unique_across_routers(path):
    ids = set()
    for _ in range(3):
        async with fake_router(seed=1) as router:
            ids |= {(await router.generate("hi")).trace.request_id for _ in range(2)}
    assert len(ids) == 6


def test_the_rows_are_small(path):
    assert len(json.dumps(row_of(call()))) < 400
