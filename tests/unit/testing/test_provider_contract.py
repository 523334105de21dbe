"""The provider's contract: every clause is failed by a provider wrong in just that, and passed by right ones."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager

import anyio
import attrs
import pytest

from asyncrouter.testing import FakeProvider, ProviderContract, Reply, Upstream, run_virtual
from asyncrouter.testing.contracts import provider as module
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import ProviderError, ServerError, StreamInterrupted
from asyncrouter.types.request import text_of
from asyncrouter.types.response import NO_USAGE, Chunk
from asyncrouter.types.secrets import Secret, redact


class Right:
    """Speaks to an upstream in memory, and redacts what it sends back."""

    def __init__(self, upstream, key):
        self.upstream = upstream
        self.key = Secret(key)

    async def complete(self, request, deployment, timeouts):
        try:
            return self.answered(await self.upstream.complete(request, deployment, timeouts))
        except ProviderError as error:
            raise self.translated(error, request) from None

    async def stream(self, request, deployment, timeouts):
        try:
            async with aclosing(self.upstream.stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ProviderError as error:
            raise self.translated(error, request) from None

    async def aclose(self):
        await self.upstream.aclose()

    def answered(self, response):
        return response

    def translated(self, error, request):
        error.args = (redact(str(error), self.key.reveal()),)
        return error


class RightCase(ProviderContract):
    provider = Right

    def run(self, function, *arguments):
        return run_virtual(function, *arguments)

    @asynccontextmanager
    async def upstream(self, step):
        upstream = FakeProvider(step)
        yield Upstream(
            provider=self.provider(upstream, self.key),
            deployment=Deployment(name="d", provider="fake", model="model-d"),
            in_flight=lambda: upstream.in_flight,
        )


WRONG = []


def wrong(clause, message, case=RightCase):
    def register(provider):
        made = type(f"{provider.__name__}Case", (case,), {"provider": provider})
        WRONG.append(pytest.param(made, clause, message, id=f"{provider.__name__}-{clause}"))
        return provider

    return register


def answering(name, clause, message, change):
    wrong(clause, message)(type(name, (Right,), {"answered": lambda self, response: change(response)}))


def failing(name, clause, message, change):
    """Register a provider whose errors are *change*\\ d."""

    def translated(self, error, request):
        return change(Right.translated(self, error, request), request)

    wrong(clause, message)(type(name, (Right,), {"translated": translated}))


def streaming(name, clause, message, change):
    """Register a provider whose chunks are *change*\\ d; ``None`` is left out."""

    class Changed(Right):
        async def stream(self, request, deployment, timeouts):
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    changed = change(chunk)
                    if changed is not None:
                        yield changed

    Changed.__name__ = name
    wrong(clause, message)(Changed)


def rewritten(response, **message):
    (choice,) = response.raw["choices"]
    return attrs.evolve(
        response, raw={**response.raw, "choices": [{**choice, "message": {**choice["message"], **message}}]}
    )


# ---------------------------------------------------------------------------------------------- wrong ones


@wrong("test_is_a_provider", "complete: write it as async def")
class PlainComplete(Right):
    def complete(self, request, deployment, timeouts):
        return super().complete(request, deployment, timeouts)


@wrong("test_is_a_provider", "stream: write it as an async generator")
class ReturnsAList(Right):
    async def stream(self, request, deployment, timeouts):
        return [chunk async for chunk in super().stream(request, deployment, timeouts)]


answering("WrongText", "test_answers", r"text: 'The.*' where the upstream sent", lambda r: rewritten(r, content="The"))
answering("NoUsage", "test_answers", r"usage.input_tokens: 0 where", lambda r: attrs.evolve(r, usage=NO_USAGE))
answering("NoNames", "test_answers", r"deployment is empty", lambda r: attrs.evolve(r, deployment=""))
answering("NoModel", "test_answers", r"model is empty", lambda r: attrs.evolve(r, model=""))
answering(
    "LosesToolCalls", "test_brings_tool_calls", r"complete: tool_calls: \[\]", lambda r: rewritten(r, tool_calls=[])
)
streaming("LosesUsage", "test_streams_the_same", r"usage", lambda chunk: None if "usage" in chunk.raw else chunk)
streaming(
    "StreamsNoToolCalls",
    "test_brings_tool_calls",
    r"stream: tool_calls: \[\]",
    lambda chunk: None if "tool_calls" in chunk.delta else chunk,
)
streaming(
    "DropsThePiecesFinish",
    "test_streams_the_same",
    r"finish_reason: None",
    lambda chunk: None if chunk.finish_reason else chunk,
)
streaming(
    "StripsPieces",
    "test_streams_the_same",
    r"the streamed text: ",
    lambda chunk: Chunk({"choices": [{"index": 0, "delta": {"content": chunk.text.strip()}}]}) if chunk.text else chunk,
)


@wrong("test_streams_the_same", "usage must be in the last chunk")
class UsageComesFirst(Right):
    async def stream(self, request, deployment, timeouts):
        chunks = [chunk async for chunk in super().stream(request, deployment, timeouts)]
        for chunk in (chunks[-1], *chunks[:-1]):
            yield chunk


@wrong("test_changes_no_request", "complete changed the request; build a new body")
class ChangesParams(Right):
    async def complete(self, request, deployment, timeouts):
        request.params["model"] = deployment.model
        return await super().complete(request, deployment, timeouts)


@wrong("test_changes_no_request", "stream changed the request")
class ChangesMessages(Right):
    async def stream(self, request, deployment, timeouts):
        request.messages.append({"role": "user", "content": "go on"})
        async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
            async for chunk in chunks:
                yield chunk


failing(
    "AllIsOne", "test_failures_are_translated", r"raised ServerError where .* is right", lambda e, _: ServerError("x")
)
failing(
    "LeaksForeignErrors", "test_failures_are_translated", r"ended with OSError.*translate", lambda _e, _r: OSError("x")
)


def without(name):
    def change(error, _request):
        setattr(error, name, None)
        return error

    return change


failing("NamesNobody", "test_failures_are_translated", r"deployment is None; set its name", without("deployment"))
failing("ForgetsPatience", "test_failures_are_translated", r"retry_after_s: None where", without("retry_after_s"))


@wrong("test_a_cut_is_no_end", "cut after 1 pieces, the stream ended with None; raise StreamInterrupted")
class EndsWhereItIsCut(Right):
    async def stream(self, request, deployment, timeouts):
        try:
            async with aclosing(super().stream(request, deployment, timeouts)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except StreamInterrupted:
            return


@wrong("test_the_key_is_shown_nowhere", r"the key is in an attribute; keep it in a Secret")
class KeepsHeaders(Right):
    def __init__(self, upstream, key):
        super().__init__(upstream, key)
        self.headers = {"authorization": f"Bearer {key}"}


@wrong("test_the_key_is_shown_nowhere", r"the key is in an attribute")
class KeepsTheKeyInASlot(Right):
    __slots__ = ("plain",)

    def __init__(self, upstream, key):
        super().__init__(upstream, key)
        self.plain = key


@wrong("test_the_key_is_shown_nowhere", r"the key is in repr\(provider\)")
class ShowsTheKey(Right):
    def __repr__(self):
        return f"Provider({self.key.reveal()})"


@wrong("test_the_key_is_shown_nowhere", r"the key is in an exception;")
class PassesMessagesOn(Right):
    def translated(self, error, request):
        return error


def with_note(error, _request):
    error.headers = {"authorization": RightCase.key}
    return error


failing("ErrorsKeepHeaders", "test_the_key_is_shown_nowhere", r"the key is in an exception's attribute", with_note)
failing(
    "ErrorsQuotePrompts",
    "test_prompts_are_in_no_error",
    r"the exception holds the prompt",
    lambda error, request: type(error)(f"{error}: {text_of(request.messages[0])}"),
)


@wrong("test_cancelling_closes_the_call", "complete: cancelled, it ended otherwise")
class TranslatesCancellation(Right):
    async def complete(self, request, deployment, timeouts):
        try:
            return await super().complete(request, deployment, timeouts)
        except BaseException as error:
            raise ServerError("cancelled") from error


@wrong("test_cancelling_closes_the_call", "complete: cancelled, and the upstream's call is still open")
class ShieldsTheCall(Right):
    async def complete(self, request, deployment, timeouts):
        self.task = asyncio.ensure_future(super().complete(request, deployment, timeouts))
        return await asyncio.shield(self.task)


@wrong("test_cancelling_closes_the_call", "complete: no call reached the upstream")
class NeverCalls(Right):
    async def complete(self, request, deployment, timeouts):
        await anyio.sleep_forever()


@wrong("test_closing_a_stream_closes_the_call", "the stream was closed, and the upstream's call is still open")
class LeavesTheStreamOpen(Right):
    async def stream(self, request, deployment, timeouts):
        self.chunks = self.upstream.stream(request, deployment, timeouts)
        async for chunk in self.chunks:
            yield chunk


@wrong("test_aclose_twice", "aclose raised RuntimeError.*let it do nothing when closed")
class ClosesOnce(Right):
    async def aclose(self):
        if self.upstream.closed:
            raise RuntimeError("closed already")
        await super().aclose()


# ---------------------------------------------------------------------------------------------- the tests

CLAUSES = sorted(name for name in dir(ProviderContract) if name.startswith("test_"))


@pytest.mark.parametrize("clause", CLAUSES)
def test_the_right_provider_passes(clause):
    getattr(RightCase(), clause)()


@pytest.mark.parametrize(("contract", "clause", "message"), WRONG)
def test_the_wrong_provider_fails(contract, clause, message):
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        getattr(contract(), clause)()


def test_every_clause_has_a_wrong_provider():
    assert sorted({case.values[1] for case in WRONG}) == CLAUSES
    assert all(getattr(ProviderContract, clause).__doc__ for clause in CLAUSES)


def test_a_provider_without_tools_is_not_asked_for_them():
    class Plain(RightCase):
        tools = False

        def upstream(self, step):
            raise AssertionError("asked")

    Plain().test_brings_tool_calls()


def test_an_author_who_forgot_the_upstream_is_told_so():
    with pytest.raises(NotImplementedError, match=r"upstream: run a scripted server"):
        ProviderContract().test_answers()


def test_real_time_is_the_default(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.02)

    class Real(RightCase):
        run = ProviderContract.run

    Real().test_cancelling_closes_the_call()

    class RealWrong(Real):
        provider = NeverCalls

    with pytest.raises(AssertionError, match="no call reached the upstream"):
        RealWrong().test_cancelling_closes_the_call()


async def test_the_double_itself_answers():
    async with RightCase().upstream(Reply("x")) as up:
        assert isinstance(up.provider, Right)
