"""``with_exponential_backoff``: the router's retry formula around any function."""

from __future__ import annotations

import functools
import inspect
import random as random_numbers
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

import anyio

from asyncrouter.strategies.retries.exponential import ExponentialRetry
from asyncrouter.types.errors import Disposition, ProviderError

P = ParamSpec("P")
R = TypeVar("R")
OPTIONS = {"initial_delay_s": "initial_delay", "factor": "backoff_factor", "cap_s": "cap"}
"""The formula's options whose names differ here."""


class Backoff:
    """When to call again and how long to wait before; delays are in seconds.  See :func:`with_exponential_backoff`."""

    def __init__(
        self,
        *,
        max_retries: int = 5,
        initial_delay: float = 1.0,
        backoff_factor: float = 2.0,
        cap: float = 30.0,
        jitter: bool = True,
        retry_on: tuple[type[BaseException], ...] | type[BaseException] | None = None,
        random: random_numbers.Random | None = None,
    ) -> None:
        try:
            self._formula = ExponentialRetry(
                max_retries=max_retries, initial_delay_s=initial_delay, factor=backoff_factor, cap_s=cap, jitter=jitter
            )
        except ValueError as error:
            option, _, problem = str(error).partition(":")
            raise ValueError(f"{OPTIONS.get(option, option)}:{problem}") from None
        kinds = retry_on if isinstance(retry_on, tuple) else (ProviderError if retry_on is None else retry_on,)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise ValueError(f"retry_on: expected an exception class or a tuple of them, not {retry_on!r}")
        self._retry_on = retry_on
        self._random = random or random_numbers.Random()  # noqa: S311 - jitter is no secret

    def delay_s(self, error: BaseException, retry: int) -> float | None:
        """Return the wait before the *retry*-th call again (from 1), ``None`` when *error* must be raised."""
        if retry > self._formula.max_retries or not self._permits(error):
            return None
        bound = self._formula.bound_s(retry)
        delay = self._random.uniform(0, bound) if self._formula.jitter else bound
        return max(delay, getattr(error, "retry_after_s", None) or 0.0)

    def _permits(self, error: BaseException) -> bool:
        if self._retry_on is not None:
            return isinstance(error, self._retry_on)
        return isinstance(error, ProviderError) and error.disposition is Disposition.RETRY


@overload
def with_exponential_backoff(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def with_exponential_backoff(
    *,
    max_retries: int = ...,
    initial_delay: float = ...,
    backoff_factor: float = ...,
    cap: float = ...,
    jitter: bool = ...,
    retry_on: tuple[type[BaseException], ...] | type[BaseException] | None = ...,
    random: random_numbers.Random = ...,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def with_exponential_backoff(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Call a sync or async function again after failures, waiting longer each time.

    Bare, or with ``max_retries=5, initial_delay=1.0, backoff_factor=2.0, cap=30.0, jitter=True, retry_on=(...)``.
    Delays are in seconds, with full jitter, never shorter than the error's ``retry_after_s``; ``retry_on`` is by
    default every provider error that permits a retry.  The last error is raised as it is.  Raises ``ValueError`` at
    decoration when an option is out of its range.
    """
    backoff = Backoff(**options)
    if function is not None and not callable(function):
        raise TypeError(f"with_exponential_backoff: expected a function, not {function!r}; give options by their names")
    return _wrapped(function, backoff) if function is not None else functools.partial(_wrapped, backoff=backoff)


def _wrapped(function: Callable[..., Any], backoff: Backoff) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        retry = 0
        while True:
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                retry += 1
                delay = backoff.delay_s(error, retry)
                if delay is None:
                    raise
            await anyio.sleep(delay)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        retry = 0
        while True:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                retry += 1
                delay = backoff.delay_s(error, retry)
                if delay is None:
                    raise
            time.sleep(delay)

    return call_async if inspect.iscoroutinefunction(function) else call
