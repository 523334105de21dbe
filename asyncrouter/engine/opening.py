"""One streaming attempt: opened, read until its first output, read on, and closed, with all that it holds handed back.

What comes before the first output is kept with the attempt: it is void when another attempt is the first to have any.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator, Sequence
from types import AsyncGeneratorType, coroutine
from typing import Any, NoReturn, TypeVar

import anyio
import attrs

from asyncrouter.engine.apart import GRACE_S, Apart
from asyncrouter.engine.assembly import Assembler
from asyncrouter.engine.attempt import AttemptScope, begin, timed_out
from asyncrouter.engine.course import Course
from asyncrouter.engine.cutoff import CutOff, Recurring, cut_off_after, recurring_cut_off
from asyncrouter.engine.hedging import note_stray
from asyncrouter.engine.inflight import CLOSED
from asyncrouter.engine.route import provider_fault, raise_as_provider
from asyncrouter.engine.slots import take_slot
from asyncrouter.engine.step import Step
from asyncrouter.hooks.cancelled import STRANGERS_FAULTS
from asyncrouter.state.slots import Slots
from asyncrouter.types.deployments import Timeouts
from asyncrouter.types.errors import (
    AsyncRouterError,
    AttemptTimedOut,
    DeadlineExceeded,
    MalformedResponse,
    RouterClosed,
)
from asyncrouter.types.response import Chunk

T = TypeVar("T")
PACE_SPAN_S = 10.0
"""Seconds of waiting for a stream over which its rate is taken."""


@attrs.define(eq=False)
class OpenAttempt:
    """One streaming attempt; ``held`` is what came until its first output, that included."""

    accepted = True
    score = 1.0

    course: Course
    step: Step
    scope: AttemptScope
    slots: Slots | None
    timeouts: Timeouts
    first_output_by: float
    deadline: float
    bound: Recurring
    held: list[Chunk] = attrs.field(factory=list)
    has_output: bool = False
    ended: bool = False
    is_left: bool = False
    waited_s: float = 0.0
    outputs: int = 0
    upstream: Any = None
    by_reads: bool = False
    may_begin: bool = False
    begun: Awaitable[Chunk | None] | None = None
    """What :meth:`at_once` has begun in vain; :meth:`next` goes on with it."""

    async def reach_output(self) -> None:
        """Read until the first output, or until the end of an answer that has none.

        Raises :class:`~asyncrouter.types.errors.ProviderError` and :class:`DeadlineExceeded`.
        """
        while not self.has_output:
            chunks = await self.next()
            if chunks is None:
                if not _is_finished(self.held):
                    raise MalformedResponse("the stream held no answer", deployment=self.step.deployment.name)
                return
            self.held.extend(chunks)
            self.has_output = any(chunk.is_output for chunk in chunks)
        if not self.is_left:
            self.scope.first_output()

    def at_once(self) -> Chunk | None:
        """Return the upstream's next chunk when it is there already; else ``None``.

        Then await :meth:`next` directly after, unless it has ``ended``.  Only where it ``may_begin``.
        Of a network read that held several chunks all but the first are: bounding the wait for each, and a coroutine
        for it, would be a quarter of what they cost.
        """
        awaited: Any = self.upstream.__anext__()
        try:
            waits_for = awaited.send(None)
        except StopIteration as come:
            chunk = come.value
            if type(chunk) is Chunk and chunk.allowances is None:
                return chunk
            self.begun = _come(chunk)
        except StopAsyncIteration:
            self.ended = True
        except BaseException as error:
            self.begun = _failed(error)
        else:
            self.begun = _rest_of(awaited, waits_for)
        return None

    async def next(self) -> Sequence[Chunk] | None:
        """Return the upstream's next chunk, or several that came together, within the timeout; ``None`` at its end."""
        now = self.course.fleet.now()
        until = now + self.timeouts.idle_s if self.has_output else self.first_output_by
        self.ended = True  # an iterator that raises, also when it is cut off, has ended
        begun, self.begun = self.begun, None
        cut = self.bound.again(min(until, self.deadline) - now)
        try:
            upstream = self._opened() if self.upstream is None else self.upstream
            come: Any = await (begun or anext(upstream, None))
        except BaseException as error:
            if cut.leave(error):
                raise self._too_late(cut) from None
            self._raise(error)
        cut.leave(None)
        if come is None:
            return None
        self.ended = False
        chunks: Sequence[Chunk] = come if self.by_reads else (come,)
        for chunk in chunks:
            if type(chunk) is not Chunk or chunk.allowances is not None or self.timeouts.min_chunks_per_s:
                self._note(chunk, self.course.fleet.now() - now)
        return chunks

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise *error*, which came out of the upstream, as what it amounts to."""
        if isinstance(error, AsyncRouterError) and self.step.route.pipeline.around_attempt_stream is not None:
            raise error  # a hook's own, or a provider's that has been translated under the hooks
        if not isinstance(error, STRANGERS_FAULTS):
            raise error
        raise_as_provider(error, self.step.deployment)

    def _opened(self) -> Any:
        """Open the upstream's stream, by reads or else by chunks; the request is sent with its first."""
        route, deployment = self.step.route, self.step.deployment
        request = route.prepared(self.course.request, deployment)
        upstream: Any = route.reads(request, deployment)
        self.by_reads = upstream is not None
        if upstream is None:
            upstream = route.stream(request, deployment)
        self.upstream = upstream
        is_generator = type(upstream) is AsyncGeneratorType and not self.by_reads
        self.may_begin = is_generator and self.bound.may_follow and not self.timeouts.min_chunks_per_s
        return upstream

    def _too_late(self, cut: CutOff) -> AsyncRouterError:
        """Return the error of a chunk that *cut* has cut off."""
        if self.step.route.in_flight.closing:
            return RouterClosed(CLOSED)
        if self.course.fleet.now() >= self.course.deadline:
            return DeadlineExceeded(self.course.too_late())
        name = "idle_s" if self.has_output else "first_token_s"
        return timed_out(self.step, f"no output within {name} = {getattr(self.timeouts, name):g} s", cut)

    def _note(self, chunk: Chunk, waited_s: float) -> None:
        """Take note of what *chunk* tells besides its part of the answer; raise when the upstream drips too slowly.

        *waited_s*: how long it was waited for.  The time that the caller takes is not counted.
        """
        if not isinstance(chunk, Chunk):
            raise provider_fault(self.step.deployment, chunk)
        if chunk.allowances is not None:
            self.scope.heed(chunk.allowances)
        least = self.timeouts.min_chunks_per_s
        if not least or not self.has_output:
            return
        self.waited_s += waited_s
        self.outputs += chunk.is_output
        if self.waited_s < PACE_SPAN_S:
            return
        if self.outputs < least * self.waited_s:
            text = f"{self.outputs} chunks in {self.waited_s:.3g} s, under min_chunks_per_s = {least:g}"
            raise AttemptTimedOut(text, deployment=self.step.deployment.name)
        self.waited_s, self.outputs = 0.0, 0

    async def reach_output_apart(self) -> None:
        """Read until the first output, in a task that may be left behind: then it closes its upstream itself."""
        try:
            await self.reach_output()
        finally:
            if self.is_left:
                await self._close_upstream()

    def left_behind(self) -> None:
        """Note that it did not end when it was cancelled."""
        self.is_left = True
        note_stray(self.course, self.step)

    async def close(self, error: BaseException | None) -> None:
        """Record the end, close the upstream's connection even under cancellation, and give the slot back."""
        self.scope.end(error)
        self.bound.close()
        try:
            if not self.is_left:
                await self._close_upstream()
        finally:
            if self.slots is not None:
                self.slots.release()

    async def _close_upstream(self) -> None:
        aclose: Any = getattr(self.upstream, "aclose", None)
        if aclose is None:
            return
        notes, name = self.course.trace.notes, self.step.deployment.name
        try:
            if getattr(self.upstream, "ag_frame", self) is None:  # a generator that has ended has nothing left to close
                return
            if self.ended:
                with anyio.move_on_after(GRACE_S, shield=True) as scope:
                    await aclose()
                closed = not scope.cancelled_caught
            else:
                closing = Apart(aclose, self.course.fleet.strays)
                closed = await closing.ends_within(GRACE_S)
                if closed:
                    await closing.result()
                closing.cancel()
            if not closed:
                notes.append(f"{name} did not close its stream within {GRACE_S:g} s")
        except Exception as failure:  # how the call ended is decided already
            notes.append(f"{name}: {type(failure).__name__} while its stream was closed")


async def open_attempt(course: Course, step: Step) -> OpenAttempt | None:
    """Open the attempt of *step*, once its deployment has a slot; ``None`` when it could not begin."""
    slots = course.fleet[step.deployment.name].slots
    if slots is not None and not await within_deadline(course, take_slot(course, step, slots)):
        return None
    scope = begin(course, step, course.fleet)
    if scope is None:
        if slots is not None:
            slots.release()
        return None
    timeouts = step.route.group.timeouts
    first_output_by = course.fleet.now() + min(timeouts.first_token_s, timeouts.attempt_s)
    bound = recurring_cut_off(step.route.in_flight.timers)
    return OpenAttempt(course, step, scope, slots, timeouts, first_output_by, course.deadline, bound)


async def within_deadline(course: Course, waiting: Coroutine[Any, Any, T]) -> T:
    """Return what *waiting* returns; raise :class:`DeadlineExceeded` when the deadline passes before."""
    remaining_s = course.deadline - course.fleet.now()
    if remaining_s <= 0:
        waiting.close()
        raise DeadlineExceeded(course.too_late())
    with cut_off_after(remaining_s):
        return await waiting
    raise DeadlineExceeded(course.too_late())


@coroutine
def _rest_of(awaited: Coroutine[Any, Any, Chunk], waits_for: Any) -> Generator[Any, Any, Chunk | None]:
    """Return what *awaited* comes to, which has been begun already and waits for *waits_for*; ``None`` at the end."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:
                waits_for = awaited.throw(error)
            else:
                waits_for = awaited.send(sent)
    except StopIteration as come:
        chunk: Chunk = come.value
        return chunk
    except StopAsyncIteration:
        return None


async def _come(chunk: Chunk | None) -> Chunk | None:
    return chunk


async def _failed(error: BaseException) -> Chunk | None:
    raise error


def _is_finished(chunks: list[Chunk]) -> bool:
    """Whether *chunks* alone are an answer: one that ran out of tokens before its first word, say."""
    assembler = Assembler()
    for chunk in chunks:
        assembler.add(chunk)
    return assembler.finished
