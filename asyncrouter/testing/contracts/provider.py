"""The contract of providers."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, ClassVar, TypeVar

import anyio
import attrs

from asyncrouter.engine.assembly import Assembler
from asyncrouter.providers.base import Provider
from asyncrouter.testing.contracts.checks import snapshot
from asyncrouter.testing.contracts.corpus import SENTINEL, request
from asyncrouter.testing.script import Fail, Hang, Reply, Step, Stream
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    AuthenticationFailed,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response, Usage

T = TypeVar("T")
PATIENCE_S = 5.0
"""Real seconds given to whatever must happen soon."""
POLL_S = 0.005
PIECES = ("The ", "sky is", " blue,\n", "空は青い.")
TEXT = "".join(PIECES)
USAGE = Usage(input_tokens=11, output_tokens=7)
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "it"}'}}


@attrs.frozen(kw_only=True)
class Upstream:
    """A provider with its scripted upstream: ``in_flight()`` is how many calls the upstream has open now."""

    provider: Provider
    deployment: Deployment
    in_flight: Callable[[], int]


class ProviderContract:
    """What every provider must keep.  Give ``upstream``.

    ``key`` is the secret to configure the provider with.  ``failures`` are the errors that your upstream can express;
    ``tools = False`` leaves tool calls out.
    """

    key: ClassVar[str] = "sk-contract-0123456789"
    tools: ClassVar[bool] = True
    failures: ClassVar[tuple[type[ProviderError], ...]] = (
        AuthenticationFailed,
        InvalidRequest,
        ModelNotFound,
        Overloaded,
        RateLimited,
        ServerError,
    )

    def upstream(self, step: Step) -> AbstractAsyncContextManager[Upstream]:
        """Run a server that does *step* at every call, as your wire API writes it, and a provider that calls it.

        To be written by the author.  The steps are those of :mod:`asyncrouter.testing.script`: a ``Reply`` or a
        ``Stream`` with text, usage and tool calls; a ``Fail`` with an error class, ``status``, ``retry_after_s`` and a
        ``message`` for the body; a ``Hang``.  A plain call and a stream may come to each.
        """
        raise NotImplementedError(f"{type(self).__name__}.upstream: run a scripted server and your provider")

    def run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run an async function, in real time; return ``run_virtual(...)`` when no socket is involved."""
        return anyio.run(function, *arguments)

    # ------------------------------------------------------------------ answers

    def test_is_a_provider(self) -> None:
        """It has ``complete``, ``aclose`` (both async) and ``stream`` (an async generator)."""

        async def check() -> None:
            async with self.upstream(Reply()) as up:
                for name in ("complete", "aclose"):
                    method = getattr(up.provider, name, None)
                    assert inspect.iscoroutinefunction(method), f"{name}: write it as async def"
                stream = getattr(up.provider, "stream", None)
                assert inspect.isasyncgenfunction(stream), "stream: write it as an async generator, async def … yield"

        self.run(check)

    def test_answers(self) -> None:
        """``complete`` returns text, usage, finish reason, and the names of deployment and model."""
        response = self._complete(Reply(TEXT, usage=USAGE))
        _same("text", response.text, TEXT)
        _same("finish_reason", response.finish_reason, "stop")
        _same("usage.input_tokens", response.usage.input_tokens, USAGE.input_tokens)
        _same("usage.output_tokens", response.usage.output_tokens, USAGE.output_tokens)
        assert response.deployment, "response.deployment is empty; put deployment.name there"
        assert response.model, "response.model is empty; put the upstream's, or deployment.model, there"

    def test_streams_the_same(self) -> None:
        """``stream`` gives the same text, finish reason and usage as ``complete``; the usage comes last."""
        chunks = self._stream(Stream(PIECES, usage=USAGE))
        assembled = _assembled(chunks)
        _same("the streamed text", assembled.text, TEXT)
        _same("the stream's finish_reason", assembled.finish_reason, "stop")
        usage = assembled.usage
        _same("the stream's usage", (usage.input_tokens, usage.output_tokens), (11, 7))
        assert isinstance(chunks[-1].raw.get("usage"), dict), "usage must be in the last chunk; ask the upstream for it"

    def test_brings_tool_calls(self) -> None:
        """Tool calls arrive whole, plain and streamed; ``tools = False`` lifts this clause."""
        if self.tools:
            step = Reply("", tool_calls=[TOOL_CALL], usage=USAGE)
            for how, response in (("complete", self._complete(step)), ("stream", _assembled(self._stream(step)))):
                found = [(call["id"], call["function"]) for call in response.tool_calls]
                _same(f"{how}: tool_calls", found, [(TOOL_CALL["id"], TOOL_CALL["function"])])
                _same(f"{how}: finish_reason", response.finish_reason, "tool_calls")

    def test_changes_no_request(self) -> None:
        """The request is left as it was: the next attempt sends it again."""
        for call in (_complete, _stream):
            one = request(params={"temperature": 0, "metadata": {"deep": [1]}})
            before = snapshot(one)
            self.run(self._with, Reply(), call, one)
            assert snapshot(one) == before, f"{call.__name__[1:]} changed the request; build a new body of it"

    # ------------------------------------------------------------------ failures

    def test_failures_are_translated(self) -> None:
        """Every failure is the :class:`ProviderError` of its class, names the deployment, keeps ``retry_after_s``."""
        for kind in self.failures:
            for how, error in self._errors(Fail(kind, retry_after_s=7.0, message="no")):
                name = type(error).__name__
                assert type(error) is kind, f"{how}: raised {name} where {kind.__name__} is right; look at the status"
                assert error.deployment == "contract", f"{how}: {name}.deployment is {error.deployment!r}; set its name"
                if kind is RateLimited:
                    _same(f"{how}: retry_after_s", error.retry_after_s, 7.0)

    def test_a_cut_is_no_end(self) -> None:
        """A stream that is cut raises :class:`StreamInterrupted`, whatever came before: half an answer is none."""
        for pieces in (1, 2):
            step = Stream(["a", "b", "c"], cut_after=pieces)
            error = self.run(self._with, step, _error_of(_stream))
            assert isinstance(error, StreamInterrupted), (
                f"cut after {pieces} pieces, the stream ended with {error!r}; raise StreamInterrupted unless the "
                "upstream's own mark of the end came"
            )

    def test_the_key_is_shown_nowhere(self) -> None:
        """The key is in no repr, no attribute, no exception, also when the upstream sends it back."""

        async def check() -> None:
            async with self.upstream(Fail(AuthenticationFailed, message=f"bad key {self.key}")) as up:
                shown = {"repr(provider)": repr(up.provider), "an attribute": repr(_attributes(up.provider))}
                for call in (_complete, _stream):
                    error = await _error_of(call)(up, request())
                    shown["an exception"] = "".join(traceback.format_exception(error)) if error else ""
                    shown["an exception's attribute"] = repr(vars(error)) if error else ""
                    for place, text in shown.items():
                        assert self.key not in text, f"the key is in {place}; keep it in a Secret, redact() messages"

        self.run(check)

    def test_prompts_are_in_no_error(self) -> None:
        """No exception holds the prompt."""
        for _how, error in self._errors(Fail(ServerError, message="no")):
            shown = "".join(traceback.format_exception(error)) + repr(vars(error))
            assert SENTINEL not in shown, "the exception holds the prompt; leave the request out of messages"

    # ------------------------------------------------------------------ endings

    def test_cancelling_closes_the_call(self) -> None:
        """Cancelled, a call ends with CancelledError at once and is closed upstream."""
        for call in (_complete, _stream):
            self.run(self._with, Hang(), _cancelled(call))

    def test_closing_a_stream_closes_the_call(self) -> None:
        """Closing the generator early closes the call upstream."""

        async def leave_early(up: Upstream, one: Request) -> None:
            stream = up.provider.stream(one, up.deployment, Timeouts())
            await anext(stream)
            await stream.aclose()
            await _until(up, 0, "the stream was closed, and the upstream's call is still open; close it in finally")

        self.run(self._with, Stream(["a", "b", "c"], stall_after=1), leave_early)

    def test_aclose_twice(self) -> None:
        """``aclose`` may be called again, and before any call."""

        async def check() -> None:
            for calls in (0, 1):
                async with self.upstream(Reply()) as up:
                    for _ in range(calls):
                        await _complete(up, request())
                    for _ in range(2):
                        try:
                            await up.provider.aclose()
                        except Exception as error:
                            raise AssertionError(f"aclose raised {error!r}; let it do nothing when closed") from error

        self.run(check)

    # ------------------------------------------------------------------ tools of the clauses

    async def _with(self, step: Step, call: Callable[[Upstream, Request], Awaitable[T]], *asked: Request) -> T:
        async with self.upstream(step) as up:
            deployment = attrs.evolve(up.deployment, name="contract")
            return await call(attrs.evolve(up, deployment=deployment), *(asked or (request(),)))

    def _complete(self, step: Step) -> Response:
        response: Response = self.run(self._with, step, _complete)
        return response

    def _stream(self, step: Step) -> list[Chunk]:
        chunks: list[Chunk] = self.run(self._with, step, _stream)
        return chunks

    def _errors(self, step: Fail) -> Iterator[tuple[str, ProviderError]]:
        for call in (_complete, _stream):
            how = call.__name__[1:]
            error = self.run(self._with, step, _error_of(call))
            assert isinstance(error, ProviderError), f"{how}: ended with {error!r}; translate failures to ProviderError"
            yield how, error


async def _complete(up: Upstream, one: Request) -> Response:
    return await up.provider.complete(one, up.deployment, Timeouts())


async def _stream(up: Upstream, one: Request) -> list[Chunk]:
    async with aclosing(up.provider.stream(attrs.evolve(one, stream=True), up.deployment, Timeouts())) as chunks:
        return [chunk async for chunk in chunks]


def _error_of(call: Callable[[Upstream, Request], Awaitable[Any]]) -> Callable[..., Awaitable[Exception | None]]:
    """Return a call that returns the exception that *call* raises."""

    async def error_of(up: Upstream, one: Request) -> Exception | None:
        try:
            await call(up, one)
        except Exception as error:
            return error
        return None

    return error_of


def _cancelled(call: Callable[[Upstream, Request], Awaitable[Any]]) -> Callable[..., Awaitable[None]]:
    """Return a call that cancels *call* once the upstream has it."""

    async def cancelled(up: Upstream, one: Request) -> None:
        how = call.__name__[1:]
        task = asyncio.ensure_future(call(up, one))
        try:
            await _until(up, 1, f"{how}: no call reached the upstream")
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=PATIENCE_S)
        assert task.cancelled(), f"{how}: cancelled, it ended otherwise; let CancelledError pass"
        await _until(up, 0, f"{how}: cancelled, and the upstream's call is still open; close it in finally")

    return cancelled


async def _until(up: Upstream, in_flight: int, problem: str) -> None:
    with anyio.move_on_after(PATIENCE_S):
        while up.in_flight() != in_flight:  # noqa: ASYNC110 - all that an author must give is a number
            await anyio.sleep(POLL_S)
    assert up.in_flight() == in_flight, problem


def _assembled(chunks: list[Chunk]) -> Response:
    assembler = Assembler()
    for chunk in chunks:
        assembler.add(chunk)
    return Response(raw=assembler.raw(), deployment="", model="", usage=assembler.usage or Usage())


def _attributes(thing: object) -> dict[str, Any]:
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return {**getattr(thing, "__dict__", {}), **{name: getattr(thing, name, None) for name in slots}}


def _same(what: str, found: object, wanted: object) -> None:
    assert found == wanted, f"{what}: {found!r} where the upstream sent {wanted!r}"
