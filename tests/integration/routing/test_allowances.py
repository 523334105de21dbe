"""What an upstream says is left of its limits decides where the next call goes; and what of a reservation is kept."""

from __future__ import annotations

import contextlib

import anyio
import attrs
import pytest
from routed import ALONE, RawStreams, routed

from asyncrouter import NoDeploymentAvailable, RateLimited, ServerError, Usage
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Stream
from asyncrouter.types.allowances import Allowance, Allowances
from asyncrouter.types.errors import AllAttemptsFailed, ConnectionFailed, StreamInterrupted

BOTH = pytest.mark.parametrize("streamed", [False, True])


class Telling(FakeProvider):
    """Tells with its answers, plain and streamed, what is left; for each deployment one a call, the last repeated."""

    def __init__(self, script=Reply(), **told):  # noqa: B008 - it is frozen
        super().__init__(script)
        self._told = told

    def _next(self, deployment):
        told = self._told.get(deployment.name, [None])
        return told.pop(0) if len(told) > 1 else told[0]

    async def complete(self, request, deployment, timeouts):
        told = self._next(deployment)
        return attrs.evolve(await super().complete(request, deployment, timeouts), allowances=told)

    async def stream(self, request, deployment, timeouts):
        told = self._next(deployment)
        async with contextlib.aclosing(super().stream(request, deployment, timeouts)) as chunks:
            async for chunk in chunks:
                yield attrs.evolve(chunk, allowances=told)
                told = None

    def play(self, script):
        super().play(script)
        self._told = {}


def requests(remaining, reset_s=20.0, limit=None):
    return Allowances(requests=Allowance(remaining, reset_s, limit))


def tokens(remaining, reset_s, limit):
    return Allowances(tokens=Allowance(remaining, reset_s, limit))


def refused(**told):
    """Return a refusal that tells what is left."""
    error = RateLimited("too many", deployment="a", status=429)
    for name, value in told.items():
        setattr(error, name, value)
    return Fail(error)


async def call(r, streamed, **arguments):
    return (await r.read(**arguments))[1] if streamed else await r.ask(**arguments)


# ---------------------------------------------------------------- what is left


@BOTH
async def test_where_nothing_is_left_no_call_goes_until_the_reset(streamed):
    async with routed(Telling(a=[requests(1), requests(0), None])) as r:
        for _ in range(3):
            await call(r, streamed)
        assert r.called == ["a", "a", "b"]
        await anyio.sleep(19.9)
        assert (await call(r, streamed)).deployment == "b"
        await anyio.sleep(0.1)
        assert (await call(r, streamed)).deployment == "a"


@BOTH
async def test_a_limit_that_fills_up_evenly_is_waited_for_by_one_request(streamed):
    async with routed(Telling(a=[requests(0, 60.0, 60)]), groups=ALONE) as r:
        for _ in range(4):
            reply = await call(r, streamed)
        assert [moment for _, moment in r.timeline] == [0.0, 1.0, 2.0, 3.0]
        assert reply.trace.waits == 0


async def test_tokens_are_waited_for_by_the_size_of_the_call():
    used = Usage(input_tokens=900, output_tokens=100)
    script = Telling(Reply(usage=used), a=[tokens(400, 57.6, 10_000), None])
    async with routed(script, groups=ALONE) as r:
        await r.ask()
        await r.ask()
        assert [moment for _, moment in r.timeline] == pytest.approx([0.0, 3.6])


async def test_what_does_not_fit_the_deadline_is_told():
    async with routed(Telling(a=[requests(0, 300.0)]), groups=ALONE) as r:
        await r.ask()
        error = await r.fails(NoDeploymentAvailable)
        assert error.retry_after_s == 300.0


async def test_nothing_left_for_a_day_is_believed_for_as_long_as_a_cooldown():
    async with routed(Telling(a=[requests(0, 86_400.0)]), groups=ALONE) as r:
        await r.ask()
        assert r.state("a").ready_at == 300.0


async def test_a_configured_limit_is_lowered_to_what_is_left():
    limits = {"limits": {"rpm": 60}}
    async with routed(Telling(a=[requests(2, None), None]), deployments={"a": limits}) as r:
        assert [(await r.ask()).deployment for _ in range(4)] == ["a", "a", "a", "b"]
        await anyio.sleep(1.0)
        assert (await r.ask()).deployment == "a"


async def test_a_configured_limit_is_not_raised_by_what_is_left():
    limits = {"limits": {"rpm": 2}}
    async with routed(Telling(a=[requests(500, 1.0, 500)]), deployments={"a": limits}) as r:
        assert [(await r.ask()).deployment for _ in range(3)] == ["a", "a", "b"]


@BOTH
async def test_a_refusal_tells_it_too(streamed):
    script = {"a": [refused(allowances=requests(0, 7.0)), Reply("a")], "b": Reply("b")}
    async with routed(script) as r:
        assert (await call(r, streamed)).deployment == "b"
        assert r.state("a").ready_at == 7.0
        await anyio.sleep(7.0)
        assert (await call(r, streamed)).deployment == "a"


async def test_who_says_when_to_come_back_is_taken_at_its_word():
    script = {"a": [refused(retry_after_s=2.0, allowances=requests(0, 60.0)), Reply("a")], "b": Reply("b")}
    async with routed(script) as r:
        assert (await r.ask()).deployment == "b"
        assert r.state("a").ready_at == 2.0


async def test_a_refusal_of_one_key_of_several_tells_nothing_of_the_others():
    script = [refused(other_keys=1, allowances=requests(0, 60.0)), Reply("with the other key")]
    async with routed(script, groups=ALONE) as r:
        assert (await r.ask()).text == "with the other key"
        assert r.timeline == [("a", 0.0), ("a", 0.0)]


async def test_a_streams_first_chunk_tells_it_while_the_stream_runs():
    async with routed(Telling(Stream(["x"] * 9, pause_s=1.0), a=[requests(0)])) as r, r.stream() as stream:
        await anext(stream)
        assert r.state("a").ready_at == 20.0


# ---------------------------------------------------------------- what of a reservation is kept

WORDS = "word " * 60
TPM = {"a": {"limits": {"tpm": 100}}}


async def freed_after(script, *, kind=AllAttemptsFailed, streamed=False, **settings):
    """Return when the tokens of a call that ended badly are there again for the next one."""
    settings = {"groups": ALONE, "deployments": TPM, "alive": False, **settings}
    async with routed(script, **settings) as r:
        with pytest.raises(kind):
            await call(r, streamed, prompt=WORDS)
        started = anyio.current_time()
        return r.state("a").limits.ready_at(100, started) - started


async def test_who_answers_with_an_error_has_taken_no_tokens():
    assert await freed_after(Fail(ServerError)) == 0.0


async def test_who_was_cut_off_may_have_been_at_work():
    groups = {"chat": {**ALONE["chat"], "timeouts": {"attempt_s": 1.0}}}
    assert await freed_after(Hang(), groups=groups) > 30.0


async def test_so_may_who_was_left():
    async with routed(Hang(), groups=ALONE, deployments=TPM, alive=False) as r:
        with anyio.move_on_after(1.0):
            await r.ask(WORDS)
        assert r.state("a").limits.ready_at(100, 1.0) > 30.0


async def test_so_may_who_broke_off():
    cut = RawStreams(a=[[StreamInterrupted("cut", deployment="a")]])
    assert await freed_after(cut, streamed=True) > 30.0
    assert await freed_after(Fail(ConnectionFailed("lost within the answer", deployment="a"))) > 30.0


async def test_who_was_never_reached_has_had_no_request():
    unreached = ConnectionFailed("refused", deployment="a")
    unreached.sent = False
    limits = {"a": {"limits": {"rpm": 1, "tpm": 100}}}
    assert await freed_after(Fail(unreached), deployments=limits) == 0.0
    assert await freed_after(Fail(ServerError), deployments=limits) == 60.0


async def test_a_connection_lost_and_made_anew_is_one_request():
    lost = ConnectionFailed("stale", deployment="a", lost_before_answer=True)
    limits = {"a": {"limits": {"rpm": 1, "tpm": 100}}}
    async with routed([Fail(lost), Reply()], groups=ALONE, deployments=limits, alive=False) as r:
        await r.ask(WORDS)
        assert r.timeline == [("a", 0.0), ("a", 0.0)]
