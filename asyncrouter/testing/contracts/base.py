"""What every hook's contract has in common."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, TypeVar

import attrs

from asyncrouter.hooks.manager import HookManager
from asyncrouter.hooks.pipeline import Pipeline, compile_pipeline, must_wait
from asyncrouter.testing.clock import run_virtual
from asyncrouter.testing.contracts.checks import clocks_moved_on, snapshot
from asyncrouter.testing.contracts.corpus import SENTINEL
from asyncrouter.types.errors import AsyncRouterError, PluginContractError

PATIENCE_S = 60.0
"""Seconds that a cancelled hook gets to clean up."""

T = TypeVar("T")
Arguments = tuple[Any, ...]


@attrs.frozen
class Answer:
    """What a plugin answered in one situation."""

    situation: str
    arguments: Arguments
    result: Any


class HookContract:
    """The clauses that hold for every decision hook.  Inherit from one of its subclasses.

    Give ``make``.  ``stateless = False`` says that the plugin learns or takes turns, so that asking it the same again
    may give another answer.
    """

    hook: ClassVar[str]
    stateless: ClassVar[bool] = True
    _situations: Callable[[], list[tuple[str, Arguments]]]
    """Named arguments for the hook, fresh ones at every call; each contract has its own."""

    def make(self) -> object:
        """Return a fresh plugin, as the registered factory makes it.  To be written by the author."""
        raise NotImplementedError(f"{type(self).__name__}.make: return a fresh instance of your plugin")

    def run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Run an async function, in virtual time; return ``anyio.run(...)`` when the plugin needs real sockets."""
        return run_virtual(function, *arguments)

    # ------------------------------------------------------------------ clauses

    def test_registers(self) -> None:
        """The plugin manager accepts it, and it implements the hook of its kind."""
        manager = HookManager()
        try:
            manager.register(self.make())
        except PluginContractError as error:
            raise AssertionError(f"the plugin manager refuses it: {error}") from error
        assert manager.implementations(f"asyncrouter_{self.hook}"), (
            f"it does not implement asyncrouter_{self.hook}; write that hook, or choose another kind"
        )

    def test_survives_odd_situations(self) -> None:
        """It raises nothing, and returns the hook's type or None, whatever the caller or the upstream sent."""
        self._answers(self.make(), self._situations())

    def test_mutates_nothing(self) -> None:
        """It leaves its arguments as they were: they belong to the caller and to other plugins."""
        plugin = self.make()
        for situation, arguments in self._situations():
            before = snapshot(arguments)
            self._answers(plugin, [(situation, arguments)])
            assert snapshot(arguments) == before, (
                f"{situation}: it changed its arguments; build new objects (attrs.evolve, dict(...), list(...))"
            )

    def test_leaves_the_global_random_numbers_alone(self) -> None:
        """It takes random numbers from the hook's arguments only, so that a seed makes a run repeatable."""
        before = random.getstate()
        self._answers(self.make(), self._situations())
        assert random.getstate() == before, (
            "it drew from the module random; take numbers from the hook's own argument (state.random, or random)"
        )

    def test_same_input_same_answer(self) -> None:
        """Two fresh instances answer the same to the same input, an hour apart: no clock, no chance of its own."""
        first = self._answers(self.make(), self._situations())
        with clocks_moved_on():
            second = self._answers(self.make(), self._situations())
        _assert_same(first, second, "use no clock, no own random numbers, no id() and no hash() of a text")

    def test_repeats_itself(self) -> None:
        """Asked the same again, one instance answers the same; ``stateless = False`` lifts this clause."""
        if self.stateless:
            plugin = self.make()
            first = self._answers(plugin, self._situations())
            again = self._answers(plugin, self._situations())
            _assert_same(first, again, "keep no state between calls, or set stateless = False in the test class")

    def test_reasons_hold_no_prompt(self) -> None:
        """Its reason quotes neither prompt nor answer: reasons go into traces and logs."""
        for answer in self._answers(self.make(), self._situations()):
            for field in ("reason", "source"):
                shown = str(getattr(answer.result, field, ""))
                assert SENTINEL not in shown, f"{answer.situation}: {field} quotes the text; name features and numbers"

    # ------------------------------------------------------------------ tools of the clauses

    def _function(self, plugin: object) -> Callable[..., Any]:
        """Return the plugin's hook as the router would call it."""
        return getattr(_pipeline(plugin), self.hook) or (lambda *_: None)

    def _answers(self, plugin: object, situations: Iterable[tuple[str, Arguments]]) -> list[Answer]:
        """Ask *plugin* in every situation, in one run; fail naming the situation when it raises."""
        function = self._function(plugin)
        return self.run(_ask, [(function, situation, arguments) for situation, arguments in situations])

    def _fresh_answers(self, situations: Iterable[tuple[str, Arguments]]) -> list[Answer]:
        """Ask a fresh plugin in each situation."""
        questions = [(self._function(self.make()), situation, arguments) for situation, arguments in situations]
        return self.run(_ask, questions)


class AsyncHookContract(HookContract):
    """The clauses of the hooks that may wait: estimate, select and judge."""

    def test_cancellation_passes(self) -> None:
        """Cancelled while it waits, it ends at once with CancelledError: the caller has left."""
        for turns, wait_s in ((0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0), (5, 0.0), (0, 0.01), (0, 1.0)):
            arguments = self._situations()[0][1]
            self.run(_cancel, self._function(self.make()), arguments, turns, wait_s)


async def _ask(questions: list[tuple[Callable[..., Any], str, Arguments]]) -> list[Answer]:
    answers = []
    for function, situation, arguments in questions:
        try:
            result = function(*arguments)
            if must_wait(result):
                result = await result
        except AsyncRouterError as error:
            because = f" ({error.__cause__})" if error.__cause__ else ""
            raise AssertionError(f"{situation}: {error}{because}; return None to decline") from error
        answers.append(Answer(situation, arguments, result))
    return answers


async def _cancel(function: Callable[..., Any], arguments: Arguments, turns: int, wait_s: float) -> None:
    async def call() -> None:
        answer = function(*arguments)
        if must_wait(answer):
            await answer

    task = asyncio.ensure_future(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    if wait_s:
        await asyncio.wait({task}, timeout=wait_s)
    if task.done():
        task.exception()
        return
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE_S)
    assert task.done(), f"cancelled, it still ran {PATIENCE_S:.0f} s later; let CancelledError pass"
    assert task.cancelled(), (
        "cancelled, it ended otherwise; never catch BaseException or CancelledError without raising it again"
    )


def _pipeline(plugin: object) -> Pipeline:
    manager = HookManager()
    try:
        manager.register(plugin)
    except PluginContractError as error:
        raise AssertionError(f"the plugin manager refuses it: {error}") from error

    return compile_pipeline(
        manager, on_failure=lambda _error: None
    )  # only observers are told of it; none is asked here


def _assert_same(first: list[Answer], second: list[Answer], cure: str) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.result == other.result, f"{one.situation}: {one.result!r}, then {other.result!r}; {cure}"
