"""The retry formula around any function."""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import random

import anyio
import pytest

from asyncrouter import (
    AuthenticationFailed,
    Disposition,
    InvalidRequest,
    ProviderError,
    RateLimited,
    ServerError,
    with_exponential_backoff,
)
from asyncrouter.testing import run_virtual

EXACT = {"jitter": False}


class Flaky:
    """Fails with each of *failures*, then answers; keeps when it was called and with what."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = []

    def __call__(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        if self.failures:
            raise self.failures.pop(0)
        return "done"


class Sync:
    """Runs a decorated plain function and tells how long it slept before each further call."""

    def __init__(self, monkeypatch):
        self.slept = []
        monkeypatch.setattr("time.sleep", self.slept.append)

    def run(self, decorate, flaky, *args, **kwargs):
        @decorate
        def function(*args, **kwargs):
            return flaky(*args, **kwargs)

        return function(*args, **kwargs)


class Async:
    """Runs a decorated async function in virtual time and tells the time between its calls."""

    def __init__(self):
        self.slept = []

    def run(self, decorate, flaky, *args, **kwargs):
        moments = []

        @decorate
        async def function(*args, **kwargs):
            moments.append(anyio.current_time())
            return flaky(*args, **kwargs)

        try:
            return run_virtual(functools.partial(function, *args, **kwargs))
        finally:
            self.slept = [later - before for before, later in itertools.pairwise(moments)]


@pytest.fixture(params=["sync", "async"])
def runner(request, monkeypatch):
    return Sync(monkeypatch) if request.param == "sync" else Async()


def seeded(seed):
    return random.Random(seed)  # noqa: S311 - repeatable, no secret


def limited(count, **fields):
    return [RateLimited("later", **fields) for _ in range(count)]


def test_an_answer_is_returned_at_once_with_the_arguments_given(runner):
    flaky = Flaky()
    assert runner.run(with_exponential_backoff, flaky, 1, two=2) == "done"
    assert flaky.calls == [((1,), {"two": 2})]
    assert runner.slept == []


def test_bare_it_waits_with_full_jitter_under_bounds_that_double(runner):
    flaky = Flaky(*limited(5))
    assert runner.run(with_exponential_backoff, flaky, "x") == "done"
    assert len(flaky.calls) == 6
    assert all(call == (("x",), {}) for call in flaky.calls)
    assert all(0 <= slept <= bound for slept, bound in zip(runner.slept, (1, 2, 4, 8, 16), strict=True))


def test_the_defaults_are_five_retries_from_one_second_doubling(runner):
    last = RateLimited("the sixth")
    flaky = Flaky(*limited(5), last)
    with pytest.raises(RateLimited) as caught:
        runner.run(with_exponential_backoff(jitter=False), flaky)
    assert caught.value is last
    assert runner.slept == pytest.approx([1, 2, 4, 8, 16])


def test_jitter_draws_each_wait_from_the_given_random(runner):
    flaky = Flaky(*limited(4))
    decorate = with_exponential_backoff(initial_delay=0.5, backoff_factor=3, random=seeded(7))
    assert runner.run(decorate, flaky) == "done"
    same = seeded(7)
    assert runner.slept == pytest.approx([same.uniform(0, bound) for bound in (0.5, 1.5, 4.5, 13.5)])


def test_no_wait_is_longer_than_the_cap(runner):
    flaky = Flaky(*limited(5))
    assert runner.run(with_exponential_backoff(cap=5, **EXACT), flaky) == "done"
    assert runner.slept == pytest.approx([1, 2, 4, 5, 5])


def test_the_first_delay_may_be_zero(runner):
    flaky = Flaky(*limited(3))
    assert runner.run(with_exponential_backoff(initial_delay=0), flaky) == "done"
    assert runner.slept == [0, 0, 0]


def test_retry_after_is_the_least_that_is_waited(runner):
    flaky = Flaky(*limited(1, retry_after_s=7.5), *limited(1, retry_after_s=0.5), *limited(1, retry_after_s=100))
    assert runner.run(with_exponential_backoff(**EXACT), flaky) == "done"
    assert runner.slept == pytest.approx([7.5, 2, 100])  # the cap bounds the formula, not what the upstream asks for


def test_retry_after_is_the_least_with_jitter_too(runner):
    flaky = Flaky(*limited(3, retry_after_s=3))
    assert runner.run(with_exponential_backoff(random=seeded(1)), flaky) == "done"
    same = seeded(1)
    assert runner.slept == pytest.approx([max(3, same.uniform(0, bound)) for bound in (1, 2, 4)])


def test_no_retries_is_one_call(runner):
    flaky = Flaky(*limited(1))
    with pytest.raises(RateLimited):
        runner.run(with_exponential_backoff(max_retries=0), flaky)
    assert len(flaky.calls) == 1
    assert runner.slept == []


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationFailed("no"),
        InvalidRequest("no"),
        RateLimited("not this time", disposition=Disposition.FALLBACK),
        ValueError("no"),
        ConnectionError("not a provider's"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}",
)
def test_by_default_only_provider_errors_that_permit_it_are_retried(runner, error):
    flaky = Flaky(error)
    with pytest.raises(type(error)) as caught:
        runner.run(with_exponential_backoff, flaky)
    assert caught.value is error
    assert len(flaky.calls) == 1


def test_by_default_the_disposition_of_the_error_itself_counts(runner):
    flaky = Flaky(AuthenticationFailed("the key is being changed", disposition=Disposition.RETRY), ServerError("oh"))
    assert runner.run(with_exponential_backoff(**EXACT), flaky) == "done"
    assert runner.slept == pytest.approx([1, 2])


@pytest.mark.parametrize("retry_on", [OSError, (OSError,), (KeyError, OSError)], ids=str)
def test_retry_on_takes_the_place_of_the_default(runner, retry_on):
    decorate = with_exponential_backoff(retry_on=retry_on, **EXACT)
    assert runner.run(decorate, Flaky(TimeoutError(), ConnectionError())) == "done"  # both are OSErrors
    assert runner.slept == pytest.approx([1, 2])
    flaky = Flaky(OSError(), RateLimited("not named"))
    with pytest.raises(RateLimited):
        runner.run(decorate, flaky)
    assert len(flaky.calls) == 2


def test_retry_on_nothing_retries_nothing(runner):
    flaky = Flaky(*limited(1))
    with pytest.raises(RateLimited):
        runner.run(with_exponential_backoff(retry_on=()), flaky)
    assert len(flaky.calls) == 1


def test_the_last_error_is_raised_as_it_is(runner):
    last = ServerError("the second", deployment="a", status=502)
    with pytest.raises(ServerError) as caught:
        runner.run(with_exponential_backoff(max_retries=1), Flaky(*limited(1), last))
    assert caught.value is last
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_every_call_has_all_its_retries(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    flaky = Flaky()
    call = with_exponential_backoff(max_retries=2, **EXACT)(flaky)
    for _ in range(3):
        flaky.failures = limited(2)
        assert call() == "done"
    assert slept == [1, 2] * 3


async def test_an_async_wait_lets_others_run():
    order = []

    @with_exponential_backoff(initial_delay=0, **EXACT)
    async def call(flaky, name):
        order.append(name)
        return flaky()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, Flaky(*limited(1)), "a")
        tasks.start_soon(call, Flaky(*limited(1)), "b")
    assert order == ["a", "b", "a", "b"]


@pytest.mark.parametrize("options", [None, {"max_retries": 1}], ids=["bare", "with options"])
def test_the_function_keeps_its_name_and_its_kind(options):
    def plain(x: int, *, y: str = "") -> bytes:
        """Say."""

    async def waiting(x: int) -> None:
        """Wait."""

    decorate = with_exponential_backoff if options is None else with_exponential_backoff(**options)
    for function in (plain, waiting):
        wrapped = decorate(function)
        assert (wrapped.__name__, wrapped.__doc__) == (function.__name__, function.__doc__)
        assert wrapped.__qualname__ == function.__qualname__
        assert wrapped.__wrapped__ is function
        assert inspect.signature(wrapped) == inspect.signature(function)
        assert inspect.iscoroutinefunction(wrapped) is inspect.iscoroutinefunction(function)


def test_it_may_wrap_a_method_and_a_partial(runner):
    class Client:
        def __init__(self, flaky):
            self.flaky = flaky

        @with_exponential_backoff(initial_delay=0)
        def ask(self, what):
            return self.flaky(what)

    flaky = Flaky(*limited(1))
    assert Client(flaky).ask("x") == "done"
    assert flaky.calls == [(("x",), {})] * 2

    async def ask(flaky):
        return flaky()

    assert run_virtual(with_exponential_backoff(functools.partial(ask, Flaky(*limited(2))))) == "done"


@pytest.mark.parametrize("moment", ["call", "wait"])
def test_a_cancellation_passes_and_nothing_is_called_again(moment):
    calls = []

    @with_exponential_backoff(retry_on=BaseException, initial_delay=30, cap=60, **EXACT)
    async def call():
        calls.append(moment)
        if moment == "wait":
            raise RateLimited("later")
        await anyio.sleep_forever()

    async def main():
        task = asyncio.create_task(call())
        await anyio.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return anyio.current_time()

    assert run_virtual(main) == 10
    assert calls == [moment]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_is_never_caught(error):
    flaky = Flaky(error())
    with pytest.raises(error):
        with_exponential_backoff(retry_on=BaseException)(flaky)()
    assert len(flaky.calls) == 1

    @with_exponential_backoff(retry_on=BaseException)
    async def call():
        flaky()

    flaky.failures = [error()]
    coroutine = call()
    with pytest.raises(error):
        coroutine.send(None)
    assert len(flaky.calls) == 2


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("max_retries", (-1, 1.5, True, "3")),
        ("initial_delay", (-0.1, float("nan"), float("inf"), "1", True)),
        ("backoff_factor", (0.5, -2, float("inf"), None)),
        ("cap", (-1, float("nan"), "x")),
        ("jitter", (1, None, "no")),
        ("retry_on", ([RateLimited], (RateLimited, "x"), "RateLimited", int, (3,), RateLimited("one"))),
    ],
)
def test_a_wrong_option_is_refused_at_decoration_by_its_name(option, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"^{option}: expected "):
            with_exponential_backoff(**{option: value})


def test_an_unknown_option_and_what_is_no_function_are_refused_at_decoration():
    with pytest.raises(TypeError, match="retries"):
        with_exponential_backoff(retries=3)
    with pytest.raises(TypeError, match="expected a function, not 3; give options by their names"):
        with_exponential_backoff(3)


def test_retry_on_may_name_the_base_of_all_provider_errors(runner):
    assert runner.run(with_exponential_backoff(retry_on=ProviderError, **EXACT), Flaky(InvalidRequest("x"))) == "done"


def test_the_cap_is_half_a_minute_by_default(monkeypatch):
    sync = Sync(monkeypatch)
    flaky = Flaky(*(ServerError("") for _ in range(7)))
    assert sync.run(with_exponential_backoff(max_retries=7, **EXACT), flaky) == "done"
    assert sync.slept == [1, 2, 4, 8, 16, 30, 30]
