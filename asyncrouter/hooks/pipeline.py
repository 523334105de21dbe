"""The compiler: a manager's hot hooks become a frozen pipeline of plain callables.

pluggy cannot run ``async def`` hooks (a coroutine is never ``None``, so ``firstresult`` stops at the first one), and a
call through it costs 2.0 µs against 0.2 to 0.4 µs compiled (three implementations).  So pluggy registers, validates
and orders; what it says about order and arguments is compiled here once.  A property test holds the compiled results
against pluggy's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import attrs

from asyncrouter.hooks.cancelled import STRANGERS_FAULTS, is_own_fault
from asyncrouter.hooks.manager import ARGUMENTS, HookManager, Implementation
from asyncrouter.hooks.specs import AttemptCall, Call
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import AsyncRouterError, PluginContractError
from asyncrouter.types.events import Event
from asyncrouter.types.ranking import Ranking
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response

Step = tuple[str, Callable[..., Any]]
"""A plugin's name, and its implementation taking all of the hook's arguments by position."""

OnFailure = Callable[[PluginContractError], None]


@attrs.frozen(kw_only=True)
class Pipeline:
    """One group's hooks, compiled.  ``None`` where nobody implements a hook that costs something when it is called.

    ``estimate``, ``select`` and ``judge`` return their answer, or an awaitable of it where a plugin awaits something.
    ``awaiting_estimators`` names the plugins whose estimate is ``async def``.
    """

    transform: Callable[..., Request] | None
    estimate: Callable[..., Any]
    awaiting_estimators: tuple[str, ...]
    filter: Callable[..., tuple[Deployment, ...]]
    select: Callable[..., Any]
    retry: Callable[..., Retry | GiveUp | None]
    fallback: Callable[..., Fallback | GiveUp | None]
    judge: Callable[..., Any] | None
    observe: Callable[[Event], None] | None
    around_request: Callable[[Call], Call] | None
    around_attempt: Callable[[AttemptCall], AttemptCall]
    around_request_stream: Callable[[AsyncIterator[Chunk], Request], AsyncIterator[Chunk]] | None
    around_attempt_stream: Callable[[AsyncIterator[Chunk], Request, Deployment], AsyncIterator[Chunk]] | None


def compile_pipeline(manager: HookManager, on_failure: OnFailure) -> Pipeline:
    """Compile the hooks of *manager*; *on_failure* is told of observers that raise."""

    def steps(hook: str) -> tuple[Step, ...]:
        name = f"asyncrouter_{hook}"
        return tuple((impl.plugin, positional(impl, ARGUMENTS[name])) for impl in manager.implementations(name))

    transform, judge, observe = steps("transform"), steps("judge"), steps("observe")
    around_request = steps("around_request")
    return Pipeline(
        transform=_transforms(transform) if transform else None,
        estimate=_first_async("estimate", steps("estimate"), (Estimate,)),
        awaiting_estimators=tuple(
            one.plugin
            for one in manager.implementations("asyncrouter_estimate")
            if inspect.iscoroutinefunction(one.function)
        ),
        filter=_filters(steps("filter")),
        select=_first_async("select", steps("select"), (Selection,), _SelectionCheck().expected),
        retry=_first("retry", steps("retry"), (Retry, GiveUp)),
        fallback=_first("fallback", steps("fallback"), (Fallback, GiveUp), _is_fallback),
        judge=_first_async("judge", judge, (Verdict,)) if judge else None,
        observe=_each(observe, on_failure) if observe else None,
        around_request=_onion("around_request", around_request) if around_request else None,
        around_attempt=_onion("around_attempt", steps("around_attempt")),
        around_request_stream=_stream_onion("around_request_stream", steps("around_request_stream")),
        around_attempt_stream=_stream_onion("around_attempt_stream", steps("around_attempt_stream")),
    )


def must_wait(answer: Any) -> bool:
    """Whether *answer* of a hook that may await is still to be awaited."""
    return hasattr(answer, "__await__")


def positional(implementation: Implementation, arguments: tuple[str, ...]) -> Callable[..., Any]:
    """Return the implementation as a function of all of the hook's *arguments*, by position."""
    function, wanted = implementation.function, implementation.arguments
    if wanted == arguments:
        return function
    adapt = _adapter(len(arguments), tuple(arguments.index(name) for name in wanted))
    return adapt(function)


@functools.cache
def _adapter(count: int, wanted: tuple[int, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what makes a function of *count* arguments out of one that takes only those at the *wanted* places.

    Written as source, once for each pattern: a lambda over ``*args`` costs 0.45 µs a call more, four times a request.
    """
    given = ", ".join(f"a{index}" for index in range(count))
    picked = ", ".join(f"a{index}" for index in wanted)
    source = f"lambda function: lambda {given}: function({picked})"
    adapter: Callable[[Callable[..., Any]], Callable[..., Any]] = eval(source)  # noqa: S307 - numbers only
    return adapter


def _broken(plugin: str, hook: str, error: BaseException) -> NoReturn:
    """Raise *error* as it is when it is one of ours or cancels the call, else naming plugin and hook."""
    if isinstance(error, AsyncRouterError) or not is_own_fault(error):
        raise error
    raise PluginContractError(
        f"plugin {plugin!r}, asyncrouter_{hook}: raised {type(error).__name__}",
        plugin=plugin,
        hook=f"asyncrouter_{hook}",
    ) from error


def _junk(plugin: str, hook: str, result: object, wanted: str) -> PluginContractError:
    return PluginContractError(
        f"plugin {plugin!r}, asyncrouter_{hook}: returned {type(result).__name__}, expected {wanted}",
        plugin=plugin,
        hook=f"asyncrouter_{hook}",
    )


def _names(types: tuple[type, ...]) -> str:
    return " or ".join([*(one.__name__ for one in types), "None"])


Check = Callable[[Any, tuple[Any, ...]], str]
"""Says, of a result and the arguments that led to it, what was expected instead; "" when it is right."""


def _first(
    hook: str, steps: tuple[Step, ...], types: tuple[type, ...], check: Check | None = None
) -> Callable[..., Any]:
    """Compile a hook whose first answer that is not ``None`` wins."""
    checked = _checker(hook, types, check)

    def call(*arguments: Any) -> Any:
        for plugin, function in steps:
            try:
                result = function(*arguments)
            except STRANGERS_FAULTS as error:
                _broken(plugin, hook, error)
            if result is not None:
                return checked(plugin, result, arguments)
        return None

    return call


def _first_async(
    hook: str, steps: tuple[Step, ...], types: tuple[type, ...], check: Check | None = None
) -> Callable[..., Any]:
    """Compile an async hook whose first answer that is not ``None`` wins.

    Plain functions answer at once, as most do; an awaitable of the answer is returned from the first on that awaits.
    """
    if not steps:
        return lambda *_arguments: None
    (plugin, function), others = steps[0], _first_async(hook, steps[1:], types, check)
    checked, usual = _checker(hook, types, check), types[0]

    def call(*arguments: Any) -> Any:
        try:
            result = function(*arguments)
        except STRANGERS_FAULTS as error:
            _broken(plugin, hook, error)
        if type(result) is usual and (check is None or not check(result, arguments)):  # nearly all
            return result
        if result is None:
            return others(*arguments)
        return awaited(result, arguments) if must_wait(result) else checked(plugin, result, arguments)

    async def awaited(result: Any, arguments: tuple[Any, ...]) -> Any:
        try:
            result = await result
        except STRANGERS_FAULTS as error:
            _broken(plugin, hook, error)
        if result is not None:
            return checked(plugin, result, arguments)
        result = others(*arguments)
        return await result if must_wait(result) else result

    return call


def _checker(hook: str, types: tuple[type, ...], check: Check | None) -> Callable[[str, Any, tuple[Any, ...]], Any]:
    """Return what raises a contract error for a result that *hook* may not have, and else returns it."""

    def checked(plugin: str, result: Any, arguments: tuple[Any, ...]) -> Any:
        if not isinstance(result, types):
            raise _junk(plugin, hook, result, _names(types))
        if check is not None and (expected := check(result, arguments)):
            raise _junk(plugin, hook, result, expected)
        return result

    return checked


_NOT_GIVEN = "a Selection of the candidates that it was given"


class _SelectionCheck:
    """Whether a selection holds candidates only; the last ones that did are known again without looking at each."""

    def __init__(self) -> None:
        self._given: tuple[Deployment, ...] = ()
        self._ids: frozenset[int] = frozenset()
        self._right: tuple[Deployment, ...] = ()

    def expected(self, result: Selection, arguments: tuple[Any, ...]) -> str:
        """Return what was expected; "" where *result* is that."""
        given, selected = arguments[2], result.order
        if given is not self._given:
            self._given, self._ids, self._right = given, frozenset(map(id, given)), given
        if selected is self._right or selected is given:
            return ""
        if isinstance(selected, Ranking) and selected.candidates is given:
            return ""
        selected = result.deployments
        if not self._ids.issuperset(map(id, selected)):
            return _NOT_GIVEN
        self._right = selected
        return ""


def _is_fallback(result: Fallback | GiveUp, arguments: tuple[Any, ...]) -> str:
    deployment = result.deployment if isinstance(result, Fallback) else None
    is_known = deployment is None or any(one is deployment for one in arguments[3])
    return "" if is_known else "a Fallback to one of the remaining deployments that it was given"


def _transforms(steps: tuple[Step, ...]) -> Callable[[Request], Request]:
    """Compile the hook that replaces the request, each step getting what the one before returned."""

    def call(request: Request) -> Request:
        for plugin, function in steps:
            try:
                result = function(request)
            except STRANGERS_FAULTS as error:
                _broken(plugin, "transform", error)
            if result is not None:
                if not isinstance(result, Request):
                    raise _junk(plugin, "transform", result, "Request or None")
                request = result
        return request

    return call


def _filters(steps: tuple[Step, ...]) -> Callable[[Request, tuple[Deployment, ...], Any], tuple[Deployment, ...]]:
    """Compile the hook that leaves out candidates, each step getting what the one before has left."""
    right: dict[str, tuple[object, object]] = {}  # of each plugin, what it last left of what: that is known again

    def call(request: Request, candidates: tuple[Deployment, ...], state: Any) -> tuple[Deployment, ...]:
        for plugin, function in steps:
            try:
                result = function(request, candidates, state)
            except STRANGERS_FAULTS as error:
                _broken(plugin, "filter", error)
            if result is not None:
                before, left = right.get(plugin, (None, None))
                if before is not candidates or left is not result:
                    if expected := _is_part(result, candidates):
                        raise _junk(plugin, "filter", result, expected)
                    right[plugin] = (candidates, result)
                candidates = result
        return candidates

    return call


def _is_part(result: object, before: tuple[Deployment, ...]) -> str:
    if not isinstance(result, tuple):
        return "tuple or None"
    kept = {id(one) for one in result}
    is_part = len(kept) == len(result) and kept <= {id(one) for one in before}
    return "" if is_part else "some of the candidates that it was given, each once"


def _each(steps: tuple[Step, ...], on_failure: OnFailure) -> Callable[[Event], None]:
    """Compile the observers: all of them, each isolated."""

    def call(event: Event) -> None:
        for plugin, function in steps:
            try:
                function(event)
            except STRANGERS_FAULTS as error:  # an observer must not harm the call it observes
                failure = PluginContractError(
                    f"plugin {plugin!r}, asyncrouter_observe: raised {type(error).__name__}",
                    plugin=plugin,
                    hook="asyncrouter_observe",
                )
                failure.__cause__ = error
                on_failure(failure)

    return call


def _onion(hook: str, steps: tuple[Step, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile the layers around a call: the step that pluggy calls first becomes the outermost."""

    def compose(call: Callable[..., Any]) -> Callable[..., Any]:
        for plugin, function in reversed(steps):
            call = _layer(hook, plugin, function, call)
        return call

    return compose


def _layer(hook: str, plugin: str, function: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    async def layer(*arguments: Any) -> Response:
        try:
            response = await function(inner, *arguments)
        except STRANGERS_FAULTS as error:
            _broken(plugin, hook, error)
        if not isinstance(response, Response):
            raise _junk(plugin, hook, response, "Response")
        return response

    return layer


def _stream_onion(hook: str, steps: tuple[Step, ...]) -> Callable[..., AsyncIterator[Chunk]] | None:
    """Compile the layers around the chunks of a stream; ``None`` when there are none."""
    if not steps:
        return None

    def wrap(chunks: AsyncIterator[Chunk], *arguments: Any) -> AsyncIterator[Chunk]:
        for plugin, function in reversed(steps):
            chunks = _stream_layer(hook, plugin, function(chunks, *arguments), chunks)
        return chunks

    return wrap


async def _stream_layer(hook: str, plugin: str, chunks: Any, inner: Any) -> AsyncIterator[Chunk]:
    """Yield *chunks*, the plugin's own iterator over *inner*; close both at the end, whatever the plugin forgets."""
    try:
        try:
            async for chunk in chunks:
                if not isinstance(chunk, Chunk):
                    raise _junk(plugin, hook, chunk, "Chunk")
                yield chunk
        finally:
            await chunks.aclose()
    except STRANGERS_FAULTS as error:
        _broken(plugin, hook, error)
    finally:
        close = getattr(inner, "aclose", None)
        if close is not None:
            await close()
