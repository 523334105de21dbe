"""What a scripted upstream does with a call: the vocabulary of :class:`~asyncrouter.testing.fake.FakeProvider`.

A *step* is one of :class:`Reply`, :class:`Fail`, :class:`Hang`, :class:`Slow` and :class:`Stream`.  A *script* is

- a step: done at every call;
- a sequence of steps: one a call, in the order in which the calls arrive; **the last is repeated** for ever;
- a mapping of deployment names to steps, sequences or callables: each deployment has its own script;
- a callable ``(request, deployment, number) -> step``; ``number`` counts the calls to that deployment from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import (
    AuthenticationFailed,
    ContentFiltered,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    ServerError,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import Usage

USAGE = Usage(input_tokens=10, output_tokens=5)
"""The usage of an answer that says nothing else."""

_STATUS: dict[type[BaseException], int] = {
    InvalidRequest: 400,
    ContentFiltered: 400,
    AuthenticationFailed: 401,
    QuotaExhausted: 429,
    ModelNotFound: 404,
    RateLimited: 429,
    ServerError: 500,
    Overloaded: 503,
}


def _finish_reason(step: Reply | Stream) -> str:
    return "tool_calls" if step.tool_calls else "stop"


_DEFAULT_FINISH_REASON: Any = attrs.Factory(_finish_reason, takes_self=True)


@attrs.frozen
class Reply:
    """Answer at once, whole; a stream gets the text in pieces of a word each.

    ``tool_calls`` are chat-completions tool calls; ``finish_reason`` is "stop", or "tool_calls" when there are some;
    ``usage=None`` is an upstream that sends none.  ``raw``, a whole chat completion, replaces all the others.
    """

    text: str = "ok"
    usage: Usage | None = attrs.field(default=USAGE, kw_only=True)
    tool_calls: Sequence[Mapping[str, Any]] = attrs.field(default=(), kw_only=True)
    finish_reason: str = attrs.field(default=_DEFAULT_FINISH_REASON, kw_only=True)
    raw: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Fail:
    """Raise *error*: an exception class, or an instance, which is raised as it is at each call.

    A class is raised with the deployment's name and, for a :class:`~asyncrouter.types.errors.ProviderError`, with
    ``retry_after_s`` (seconds) and ``status``, which defaults to the class's usual HTTP status.
    """

    error: type[Exception] | Exception
    retry_after_s: float | None = attrs.field(default=None, kw_only=True)
    status: int | None = attrs.field(default=None, kw_only=True)
    message: str = attrs.field(default="scripted failure", kw_only=True)

    def exception(self, deployment: str) -> Exception:
        """Return the exception to raise for a call to *deployment*."""
        if isinstance(self.error, Exception):
            return self.error
        if not issubclass(self.error, ProviderError):
            return self.error(self.message)
        error = self.error(self.message, deployment=deployment)
        error.retry_after_s = self.retry_after_s
        error.status = self.usual_status if self.status is None else self.status
        return error

    @property
    def usual_status(self) -> int | None:
        """The HTTP status that upstreams send with an error of this class; ``None`` where none belongs to it."""
        kind = self.error if isinstance(self.error, type) else type(self.error)
        return next((_STATUS[base] for base in kind.__mro__ if base in _STATUS), None)


@attrs.frozen
class Hang:
    """Never answer: wait until the caller gives up."""


@attrs.frozen
class Stream:
    """Stream *pieces* of text, with ``pause_s`` seconds between two of them; a plain call gets them joined.

    ``cut_after=n`` breaks the connection after n pieces (:class:`~asyncrouter.types.errors.StreamInterrupted`);
    ``stall_after=n`` goes silent after n pieces and never ends.  The rest as in :class:`Reply`.
    """

    pieces: Sequence[str] = attrs.field(default=("o", "k"))
    pause_s: float = attrs.field(default=0.0, kw_only=True)
    cut_after: int | None = attrs.field(default=None, kw_only=True)
    stall_after: int | None = attrs.field(default=None, kw_only=True)
    usage: Usage | None = attrs.field(default=USAGE, kw_only=True)
    tool_calls: Sequence[Mapping[str, Any]] = attrs.field(default=(), kw_only=True)
    finish_reason: str = attrs.field(default=_DEFAULT_FINISH_REASON, kw_only=True)

    @pieces.validator
    def _not_a_text(self, _attribute: object, value: Sequence[str]) -> None:
        if isinstance(value, str):
            raise TypeError('pieces: expected a list of texts; write Stream(["a", "b"]), or Reply("ab")')

    def __attrs_post_init__(self) -> None:
        if self.cut_after is not None and self.stall_after is not None:
            raise ValueError("Stream: give cut_after or stall_after, not both")
        for name in ("cut_after", "stall_after"):
            count = getattr(self, name)
            if count is not None and not 0 <= count <= len(self.pieces):
                raise ValueError(f"{name}: expected 0 to {len(self.pieces)}, the number of pieces, not {count!r}")


@attrs.frozen
class Slow:
    """Wait ``delay_s`` seconds, then do *then*."""

    delay_s: float
    then: Step = Reply()


Step = Reply | Fail | Hang | Slow | Stream
StepFunction = Callable[[Request, Deployment, int], Step]
StepSource = Step | Sequence[Step] | StepFunction
Script = StepSource | Mapping[str, StepSource]


def check_script(script: object) -> None:
    """Raise ``TypeError`` naming the place when *script* is no script."""
    if isinstance(script, Mapping):
        if not script:
            raise TypeError("script: the mapping is empty; give each deployment's name a script")
        for name, source in script.items():
            _check_source(source, f"script[{name!r}]")
    else:
        _check_source(script, "script")


def _check_source(source: object, path: str) -> None:
    if isinstance(source, Sequence) and not isinstance(source, str):
        if not source:
            raise TypeError(f"{path}: the sequence is empty; give it at least one step")
        for index, step in enumerate(source):
            checked_step(step, f"{path}[{index}] is")
    elif isinstance(source, type) or not callable(source):
        checked_step(source, f"{path} is")


def checked_step(step: object, where: str) -> Step:
    """Return *step*; raise ``TypeError`` beginning with *where* when it is none."""
    if not isinstance(step, Step):
        shown = step.__name__ if isinstance(step, type) else type(step).__name__
        raise TypeError(f"{where} {shown}; expected Reply(…), Fail({shown}), Hang(), Slow(…) or Stream([…])")
    return step
