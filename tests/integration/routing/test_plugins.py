"""Plugins that misbehave or decide: what the call is worth then, on both event loops."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import attrs
import pytest
from routed import EXACT, RawStreams, check_secrecy, delta, routed

from asyncrouter import (
    AllAttemptsFailed,
    Chunk,
    Fallback,
    GiveUp,
    InvalidRequest,
    MalformedResponse,
    PluginContractError,
    Retry,
    Selection,
    ServerError,
    Verdict,
    hookimpl,
)
from asyncrouter.testing import Fail, FakeProvider, Hang, Reply, Slow, Stream
from asyncrouter.types.errors import UnknownModelGroup

ALONE = {"chat": {"deployments": ["a"], "retry": "none"}}


async def both_ways(r, kind):
    """Make the call plain and streamed; both must end in *kind*; return both errors."""
    errors = [await r.fails(kind)]
    with pytest.raises(kind) as caught:
        await r.read()
    check_secrecy(caught.value)
    return [*errors, caught.value]


# ---------------------------------------------------------------- fallback and retry


async def test_a_fallback_to_a_deployment_that_is_not_left_is_refused():
    class Again:
        name = "again"

        @hookimpl
        def asyncrouter_fallback(self, trace):
            return Fallback(deployment=trace.selection.deployments[0])

    again = Again()
    async with routed(Fail(ServerError), plugins=[again]) as r:
        for error in await both_ways(r, PluginContractError):
            assert (error.plugin, error.hook) == ("again", "asyncrouter_fallback")
            assert "one of the remaining" in str(error)
            assert [one.deployment for one in error.trace.attempts] == ["a"]
        r.router.unregister(again)


async def test_give_up_as_a_fallback_stays_with_the_group():
    class Stay:
        @hookimpl
        def asyncrouter_fallback(self):
            return GiveUp("no")

    stay = Stay()
    async with routed([Fail(ServerError), Reply("again")], retry=EXACT, plugins=[stay]) as r:
        assert (await r.ask()).text == "again"
        assert r.timeline == [("a", 0.0), ("a", 1.0)]
        r.router.unregister(stay)


async def test_a_retry_may_come_before_the_fallback():
    class First:
        @hookimpl
        def asyncrouter_retry(self, trace):
            return Retry(3.0, "once more", before_fallback=True) if trace.waits == 0 else GiveUp()

    async with routed({"a": [Fail(ServerError), Fail(ServerError), Reply()], "b": Reply("b")}, plugins=[First()]) as r:
        reply = await r.ask()
        assert r.timeline == [("a", 0.0), ("a", 3.0), ("b", 3.0)]
    assert [one.reason for one in reply.trace.attempts] == ["configured order", "once more", "after ServerError on a"]


async def test_such_a_retry_waits_until_the_deployment_is_ready():
    class First:
        @hookimpl
        def asyncrouter_retry(self, trace):
            return Retry(1.0, before_fallback=True) if trace.waits == 0 else GiveUp()

    async with routed({"a": [Fail(ServerError, retry_after_s=7.0), Reply("a")], "b": Reply()}, plugins=[First()]) as r:
        assert (await r.ask()).text == "a"
        assert r.timeline == [("a", 0.0), ("a", 7.0)]


async def test_a_retry_that_does_not_fit_the_deadline_gives_way_to_the_fallback():
    class Long:
        @hookimpl
        def asyncrouter_retry(self):
            return Retry(100.0, before_fallback=True)

    async with routed({"a": [Fail(ServerError), Reply()], "b": Reply("b")}, plugins=[Long()], deadline_s=50) as r:
        assert (await r.ask()).text == "b"
        assert anyio.current_time() == 0.0


async def test_nobody_needs_to_decide_on_retries():
    class Nobody:
        @hookimpl
        def asyncrouter_retry(self):
            return None

    async with routed(Fail(ServerError), retry=Nobody()) as r:
        await r.fails(AllAttemptsFailed)
        assert r.timeline == [("a", 0.0), ("b", 0.0)]


# ---------------------------------------------------------------- judge and cascade


class Wants:
    """Accepts answers that hold a word; the score is their length over a hundred."""

    def __init__(self, word):
        self.word = word
        self.judged = []

    @hookimpl
    async def asyncrouter_judge(self, response):
        self.judged.append(response.deployment)
        return Verdict(accept=self.word in response.text, score=len(response.text) / 100, reason="missing word")


THREE = {"chat": {"deployments": ["a", "b", "c"], "retry": "none"}}


async def test_a_rejected_answer_goes_to_the_next_stronger():
    judge = Wants("good")
    script = {"a": Reply("bad"), "b": Reply("worse"), "c": Reply("good")}
    async with routed(script, groups=THREE, plugins=[judge]) as r:
        reply = await r.ask()
        metrics = r.router.metrics()
        assert [metrics.deployments[name].rejected for name in "abc"] == [1, 1, 0]
        assert (metrics.total.cascades, metrics.deployments["c"].cascades) == (2, 1)
        assert metrics.total.input_tokens == 30, "all three were paid for"
        r.router.unregister(judge)
    assert reply.text == "good"
    assert [str(one.outcome) for one in reply.trace.attempts] == ["rejected", "rejected", "ok"]
    assert [str(one.kind) for one in reply.trace.attempts] == ["first", "cascade", "cascade"]
    assert reply.trace.attempts[1].reason == "answer of a rejected: missing word"


async def test_only_stronger_ones_are_asked():
    class Middle:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            return Selection(deployments=(candidates[1], candidates[0], candidates[2]))

    judge, middle = Wants("good"), Middle()
    async with routed(Reply("bad"), groups=THREE, plugins=[judge, middle]) as r:
        await r.ask()
        assert judge.judged == ["b", "c"]
        r.router.unregister(judge)
        r.router.unregister(middle)


async def test_without_a_stronger_one_the_best_rejected_answer_is_returned():
    judge = Wants("nothing")
    script = {"a": Reply("short"), "b": Reply("the longest of them all"), "c": Reply("middling")}
    async with routed(script, groups=THREE, plugins=[judge]) as r:
        reply = await r.ask()
        r.router.unregister(judge)
    assert reply.deployment == "b"
    assert reply.trace.notes == ("no stronger deployment is left: the best rejected answer is returned",)
    assert [str(one.outcome) for one in reply.trace.attempts] == ["rejected"] * 3


async def test_a_stronger_one_that_fails_leaves_the_rejected_answer():
    judge = Wants("good")
    async with routed({"a": Reply("bad"), "b": Fail(ServerError), "c": Reply()}, groups=THREE, plugins=[judge]) as r:
        reply = await r.ask()
        r.router.unregister(judge)
    assert (reply.text, reply.deployment) == ("bad", "a")


async def test_a_stronger_one_that_is_set_aside_meanwhile_leaves_it_too():
    """The slot of the stronger deployment is waited for, and its breaker opens in that time."""
    judge = Wants("good")
    script = {"a": Reply("bad"), "b": [Slow(5, then=Fail(ServerError)), Reply("good")], "c": Reply("bad too")}
    groups = {
        "chat": {**THREE["chat"], "breaker": {"failures": 1}},
        "direct": {"deployments": ["b"], "retry": "none", "breaker": {"failures": 1}},
    }
    async with routed(script, groups=groups, deployments={"b": {"limits": {"concurrency": 1}}}, plugins=[judge]) as r:
        replies = []

        async def direct():
            with pytest.raises(AllAttemptsFailed):
                await r.ask(model="direct")

        async def ask():
            await anyio.sleep(1.0)
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(direct)
            tasks.start_soon(ask)
        assert replies[0].text == "bad too", "c is stronger still, and its answer the longer one"
        assert judge.judged == ["a", "c"]
        r.router.unregister(judge)


async def test_the_rejected_answer_stands_when_every_stronger_one_is_set_aside_meanwhile():
    judge = Wants("good")
    script = {"a": Reply("bad"), "b": [Slow(5, then=Fail(ServerError)), Reply("good")]}
    chat = {"deployments": ["a", "b"], "retry": "none", "breaker": {"failures": 1}}
    groups = {"chat": chat, "direct": {**chat, "deployments": ["b"]}}
    async with routed(script, groups=groups, deployments={"b": {"limits": {"concurrency": 1}}}, plugins=[judge]) as r:
        replies = []

        async def direct():
            with pytest.raises(AllAttemptsFailed):
                await r.ask(model="direct")

        async def ask():
            await anyio.sleep(1.0)
            replies.append(await r.ask())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(direct)
            tasks.start_soon(ask)
        assert replies[0].text == "bad"
        r.router.unregister(judge)


async def test_a_cascade_keeps_to_the_number_of_attempts():
    judge = Wants("good")
    async with routed(Reply("bad"), groups={"chat": {**THREE["chat"], "max_attempts": 2}}, plugins=[judge]) as r:
        await r.ask()
        assert judge.judged == ["a", "b"]
        r.router.unregister(judge)


async def test_a_judge_without_an_opinion_accepts():
    class Silent:
        @hookimpl
        async def asyncrouter_judge(self):
            return None

    async with routed(plugins=[Silent()]) as r:
        assert (await r.ask()).deployment == "a"


async def test_a_verdict_without_a_score_counts_nothing():
    class No:
        @hookimpl
        async def asyncrouter_judge(self, response):
            return Verdict(accept=False)

    no = No()
    async with routed({"a": Reply("first"), "b": Reply("second")}, plugins=[no]) as r:
        assert (await r.ask()).text == "first", "equally bad: the first stays"
        r.router.unregister(no)


# ---------------------------------------------------------------- a provider that misbehaves


class Broken(FakeProvider):
    """Answers calls to "a" with what no provider may answer with."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    async def complete(self, request, deployment, timeouts):
        if deployment.name != "a" or self.fault is None:
            return await super().complete(request, deployment, timeouts)
        if isinstance(self.fault, Exception):
            raise self.fault
        return self.fault


@pytest.mark.parametrize(
    "fault", [KeyError("PROMPT-SENTINEL"), TimeoutError("sk-KEY-SENTINEL"), {"no": "Response"}, "text"]
)
async def test_its_exceptions_and_junk_are_failed_attempts_without_a_word_of_theirs(fault):
    provider = Broken(fault)
    async with routed(provider) as r:
        reply = await r.ask()
        assert reply.deployment == "b"
        error = reply.trace.attempts[0].error
        assert type(error) is MalformedResponse
        assert str(error) in {
            f"the provider 'fake' raised {type(fault).__name__}",
            f"the provider 'fake' returned {type(fault).__name__}",
        }
        assert r.router.metrics().deployments["a"].failures == 1
        error.__cause__ = None  # the stranger's own words, which only a traceback shows
        provider.fault = None


async def test_the_same_holds_inside_the_hooks_around_an_attempt_of_a_stream():
    class Layer:
        name = "layer"

        @hookimpl
        async def asyncrouter_around_attempt_stream(self, chunks):
            async for chunk in chunks:
                yield chunk

    provider = RawStreams(a=[[ValueError("bug")]], b=[["junk"]], c=[[delta("ok"), delta(finish="stop")]])
    async with routed(provider, groups=THREE, plugins=[Layer()]) as r:
        _, response = await r.read()
        assert response.text == "ok"
        assert [type(one.error) for one in response.trace.attempts] == [
            MalformedResponse,
            MalformedResponse,
            type(None),
        ]


async def test_a_stream_that_is_no_stream_is_a_failed_attempt():
    class Nothing(FakeProvider):
        def stream(self, request, deployment, timeouts):
            return None if deployment.name == "a" else super().stream(request, deployment, timeouts)

    async with routed(Nothing()) as r:
        _, response = await r.read()
        assert response.deployment == "b"
        assert isinstance(response.trace.attempts[0].error, MalformedResponse)


async def test_a_layer_around_an_attempt_that_fails_otherwise_is_a_failed_attempt_too():
    class Layer:
        name = "layer"

        @hookimpl
        async def asyncrouter_around_attempt(self, call, request, deployment):
            await call(request, deployment)
            raise KeyError("x")

    layer = Layer()
    async with routed(plugins=[layer], breaker={"failures": 1}) as r:
        error = await r.fails(PluginContractError)
        assert (error.plugin, error.hook) == ("layer", "asyncrouter_around_attempt")
        assert [str(one.outcome) for one in error.trace.attempts] == ["failed"]
        metrics = r.router.metrics()
        assert (metrics.total.failures, metrics.deployments["a"].failures) == (1, 1)
        assert metrics.deployments["a"].breaker == "closed", "the deployment is not to blame"
        r.router.unregister(layer)


# ---------------------------------------------------------------- the twins around a streamed call


class Guard:
    """A layer around streamed calls, made of an async generator function of (chunks, request)."""

    name = "guard"

    def __init__(self, function):
        self.function = function

    @hookimpl
    async def asyncrouter_around_request_stream(self, chunks, request):
        async with aclosing(self.function(chunks, request)) as guarded:
            async for chunk in guarded:
                yield chunk


async def test_a_guard_that_refuses_ends_the_call_with_its_error_and_trace():
    async def refuse(chunks, request):
        raise InvalidRequest("not here")
        yield

    guard = Guard(refuse)
    async with routed(plugins=[guard]) as r:
        with pytest.raises(InvalidRequest) as caught:
            await r.read()
        assert caught.value.trace.attempts == ()
        assert r.router.metrics().total.failures == 1
        assert r.called == []
        r.router.unregister(guard)


async def test_a_guard_that_fails_in_the_middle_cancels_the_attempt():
    async def fail(chunks, request):
        async for chunk in chunks:
            yield chunk
            if chunk.text:
                raise ZeroDivisionError

    guard = Guard(fail)
    async with routed(Stream(["a ", "b ", "c"], pause_s=1.0), plugins=[guard]) as r:
        with pytest.raises(PluginContractError) as caught:
            await r.read()
        assert (caught.value.plugin, caught.value.hook) == ("guard", "asyncrouter_around_request_stream")
        assert [str(one.outcome) for one in caught.value.trace.attempts] == ["cancelled"]
        assert r.router.metrics().total.failures == 1
        r.router.unregister(guard)


async def test_a_guard_that_fails_after_the_last_chunk_fails_the_call():
    async def fail(chunks, request):
        async for chunk in chunks:
            yield chunk
        raise ZeroDivisionError

    guard = Guard(fail)
    async with routed(plugins=[guard]) as r:
        with pytest.raises(PluginContractError):
            await r.read()
        assert r.router.metrics().total.failures == 1
        assert r.router.metrics().deployments["a"].failures == 0
        r.router.unregister(guard)


async def test_the_response_is_what_the_caller_saw():
    async def shout(chunks, request):
        async for chunk in chunks:
            raw = chunk.raw
            if chunk.text:
                raw = delta(chunk.text.upper())
            yield Chunk(raw)

    async with routed(Stream(["some ", "words"]), plugins=[Guard(shout)]) as r:
        chunks, response = await r.read()
        assert "".join(chunk.text for chunk in chunks) == response.text == "SOME WORDS"
        assert response.usage.total_tokens == 15
        assert response.raw["usage"]["total_tokens"] == 15
        assert response.deployment == "a"


async def test_a_guard_may_answer_by_itself():
    async def cached(chunks, request):
        yield Chunk(delta("from the cache", finish="stop", model="m"))

    guard = Guard(cached)
    async with routed(plugins=[guard]) as r:
        chunks, response = await r.read()
        assert (response.text, response.deployment, response.usage.total_tokens) == ("from the cache", "", 0)
        assert len(chunks) == 1
        assert r.called == []
        assert r.router.metrics().total.calls == 1
        assert r.router.metrics().total.input_tokens == 0
        r.router.unregister(guard)


async def test_a_guard_may_end_the_answer_early():
    async def short(chunks, request):
        async for chunk in chunks:
            yield chunk
            if chunk.text:
                return

    guard = Guard(short)
    async with routed(Stream(["some ", "words"], pause_s=1.0), plugins=[guard]) as r:
        _, response = await r.read()
        assert (response.text, response.deployment) == ("some ", "a")
        assert r.provider.calls[0].outcome == "closed"
        assert r.router.metrics().total.cancelled == 0
        assert r.router.metrics().deployments["a"].cancelled == 1
        r.router.unregister(guard)


async def test_a_guard_that_hangs_is_ended_at_the_deadline():
    from asyncrouter import DeadlineExceeded

    async def hang(chunks, request):
        await anyio.sleep_forever()
        yield

    guard = Guard(hang)
    async with routed(plugins=[guard]) as r:
        with pytest.raises(DeadlineExceeded, match="none ended"):
            await r.read(deadline_s=4.0)
        assert anyio.current_time() == 4.0
        r.router.unregister(guard)


async def test_a_restart_is_seen_through_the_guard():
    async def plain(chunks, request):
        async for chunk in chunks:
            yield chunk

    script = {"a": Stream(["never ", "mind"], cut_after=1), "b": Stream(["this"])}
    async with routed(script, on_interrupt="restart", plugins=[Guard(plain)]) as r:
        chunks, response = await r.read()
        assert [chunk.kind for chunk in chunks].count("restart") == 1
        assert response.text == "this"


async def test_a_guard_that_fails_while_it_is_closed_is_counted_and_harms_nobody():
    async def clumsy(chunks, request):
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            raise ZeroDivisionError

    guard = Guard(clumsy)
    async with routed(Stream(["some ", "words"], pause_s=1.0), plugins=[guard]) as r:
        async with r.stream() as stream:
            await anext(stream)
        assert r.router.metrics().plugin_failures == {"guard": 1}
        assert r.router.metrics().total.cancelled == 1
        assert r.provider.in_flight == 0
        r.router.unregister(guard)


async def test_leaving_after_the_finish_reason_is_no_cancellation_behind_a_guard_either():
    async def plain(chunks, request):
        async for chunk in chunks:
            yield chunk

    async with routed(Stream(["some ", "words"]), plugins=[Guard(plain)]) as r:
        async with r.stream() as stream:
            async for chunk in stream:
                if chunk.finish_reason:
                    break
        assert stream.response.text == "some words"
        assert r.router.metrics().total.cancelled == 0


# ---------------------------------------------------------------- transform, register


async def test_a_transform_may_choose_another_model():
    class Redirect:
        @hookimpl
        def asyncrouter_transform(self, request):
            return attrs.evolve(request, model=request.metadata.get("to"))

    groups = {"chat": {"deployments": ["a"]}, "other": {"deployments": ["x"]}}
    redirect = Redirect()
    async with routed(groups=groups, plugins=[redirect]) as r:
        assert (await r.ask(metadata={"to": "other"})).deployment == "x"
        assert (await r.ask(model="other", metadata={"to": "a"})).deployment == "a"
        assert (await r.ask(model="other")).deployment == "a", "no name is the default"
        _chunks, response = await r.read(metadata={"to": "other"})
        assert response.deployment == "x"
        began = r.began
        with pytest.raises(UnknownModelGroup):
            await r.ask(metadata={"to": "nowhere"})
        r.began = began  # nothing had begun
        r.router.unregister(redirect)


async def test_registering_changes_later_requests_only():
    class Other:
        @hookimpl
        async def asyncrouter_select(self, candidates):
            return Selection(deployments=candidates[::-1])

    other = Other()
    async with routed({"a": [Slow(5, then=Fail(ServerError)), Reply("a")], "b": Reply("b")}, retry=EXACT) as r:
        replies = {}

        async def ask(name):
            replies[name] = await r.ask()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "before")
            await anyio.sleep(1.0)
            r.router.register(other)
            tasks.start_soon(ask, "after")
        assert [one.deployment for one in replies["before"].trace.attempts] == ["a", "b"]
        assert replies["after"].deployment == "b"
        r.router.unregister(other)
        assert (await r.ask()).deployment == "a"


async def test_a_plugin_that_cannot_be_registered_changes_nothing():
    class Taken:
        name = "selector:priority"

        @hookimpl
        async def asyncrouter_select(self):
            return None

    async with routed() as r:
        with pytest.raises(PluginContractError):
            r.router.register(Taken())
        assert (await r.ask()).deployment == "a"
        r.router.register(Recounting())
        assert (await r.ask()).deployment == "a"


class Recounting:
    @hookimpl
    def asyncrouter_observe(self, event):
        pass


async def test_a_plugin_may_cancel_only_itself():
    """A cancellation that a plugin makes of its own is its own failure, not the caller's departure."""

    class Cancels:
        name = "cancels"

        @hookimpl
        async def asyncrouter_estimate(self):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.sleep(1)

    async with routed(plugins=[Cancels()]) as r:
        assert (await r.ask()).text == "ok"


def hanging(hook):
    async def function(self):
        await anyio.sleep_forever()

    function.__name__ = hook
    return type("Hanging", (), {"name": "hangs", hook: hookimpl(function)})()


async def test_a_selector_that_hangs_is_ended_at_the_deadline():
    from asyncrouter import DeadlineExceeded

    async with routed() as r:
        plugin = hanging("asyncrouter_select")
        r.router.register(plugin)
        before = anyio.current_time()
        await r.fails(DeadlineExceeded, deadline_s=4.0)
        assert anyio.current_time() == before + 4.0
        r.router.unregister(plugin)


async def test_p02_an_estimator_that_hangs_costs_its_own_bound_and_the_route_works_on():
    async with routed(timeouts={"estimate_s": 0.5}, plugins=[hanging("asyncrouter_estimate")]) as r:
        before = anyio.current_time()
        reply = await r.ask(deadline_s=4.0)
        assert anyio.current_time() == before + 0.5
        assert (reply.trace.estimate.complexity, reply.trace.estimate.source) == (0.5, "default")
        assert "no estimate within estimate_s = 0.5 s" in reply.trace.notes[0]
        assert r.router.metrics().plugin_failures == {"hangs": 1}


async def test_p01_an_answer_whose_judge_hangs_is_returned_at_the_deadline():
    async with routed() as r:
        plugin = hanging("asyncrouter_judge")
        r.router.register(plugin)
        before = anyio.current_time()
        reply = await r.ask(deadline_s=4.0)
        assert anyio.current_time() == before + 4.0
        assert reply.text == "ok"
        assert "the best so far is returned" in reply.trace.notes[-1]
        r.router.unregister(plugin)


async def test_p01_the_best_rejected_answer_is_returned_when_the_deadline_ends_the_cascade():
    class Strict:
        name = "strict"

        @hookimpl
        def asyncrouter_judge(self):
            return Verdict(accept=False, score=0.4, reason="weak")

    script = {"a": Reply("weak"), "b": Hang()}
    async with routed(script, plugins=[Strict()], alive=False) as r:
        reply = await r.ask(deadline_s=4.0, complexity=0.0)
        assert reply.text == "weak"
        assert [(one.deployment, one.outcome) for one in reply.trace.attempts] == [("a", "rejected"), ("b", "failed")]
