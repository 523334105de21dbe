"""Several answers to choose from: all rivals are asked at once, and the best or the one that most agree on is taken.

It ends as soon as no answer that is still to come can change the choice; what runs then is cancelled and awaited.
Answers that the judge rejects are chosen only where none is accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Protocol, TypeVar

import anyio

from asyncrouter.engine.hedging import Answer, Rivals
from asyncrouter.engine.step import Step
from asyncrouter.types.errors import ProviderError

PERFECT = 1.0
"""The score that none can exceed."""


class Said(Answer, Protocol):
    """An answer that can be compared: ``form`` is the same for all that say the same."""

    @property
    def form(self) -> str:
        """What it says, in its normal form."""
        ...


S = TypeVar("S", bound=Said)


async def collect(contend: Callable[[Step], Awaitable[S | None]], rivals: Rivals) -> S | None:
    """Return the chosen answer of the attempts of *rivals*; ``None`` when none could begin.

    Raises the last provider's error when all have failed, and at once anything that is no provider's error.
    """
    running = _Collection(contend, rivals)
    async with anyio.create_task_group() as tasks:
        for place, step in enumerate(rivals.steps):
            tasks.start_soon(running.run, place, step, tasks.cancel_scope)
    if running.failure is not None:
        raise running.failure
    if running.answers:
        return chosen(running.answers, rivals.take)
    if running.error is not None:
        raise running.error
    return None


def chosen(answers: Mapping[int, S], take: str) -> S:
    """Return the best of *answers*, by their places in the selection, or one of those that most of them agree with.

    Accepted ones come before all others, then the greater number ("majority"), the score, and the earlier place.
    """
    return answers[min(answers, key=lambda place: _rank(place, answers, take))]


def is_settled(answers: Mapping[int, S], waiting: int, take: str) -> bool:
    """Whether *waiting* further answers cannot change the choice among *answers*."""
    accepted = [answer for answer in answers.values() if answer.accepted]
    if not accepted:
        return False
    if take != "majority":
        return any(answer.score >= PERFECT for answer in accepted)
    first, *others = Counter(answer.form for answer in accepted).most_common(2)
    second = others[0][1] if others else 0
    return first[1] > second + waiting


def agreeing(answers: Mapping[int, S], answer: S) -> int:
    """Return how many of *answers* say what *answer* says, and are accepted or not as it is."""
    return sum(one.form == answer.form and one.accepted is answer.accepted for one in answers.values())


def _rank(place: int, answers: Mapping[int, S], take: str) -> tuple[bool, int, float, int]:
    answer = answers[place]
    votes = agreeing(answers, answer) if take == "majority" else 0
    return not answer.accepted, -votes, -answer.score, place


class _Collection(Generic[S]):
    def __init__(self, contend: Callable[[Step], Awaitable[S | None]], rivals: Rivals) -> None:
        self.answers: dict[int, S] = {}
        self.error: ProviderError | None = None
        self.failure: Exception | None = None
        self._contend = contend
        self._take = rivals.take
        self._waiting = len(rivals.steps)

    async def run(self, place: int, step: Step, scope: anyio.CancelScope) -> None:
        """Make one step; when its answer settles the choice, cancel the others."""
        try:
            answer = await self._contend(step)
        except ProviderError as error:
            answer, self.error = None, error
        except Exception as error:  # a plugin's failure, say: it ends the call, as it does without rivals
            self.failure = error
            scope.cancel()
            return
        if answer is not None:
            self.answers[place] = answer
        self._waiting -= 1
        if self._waiting and is_settled(self.answers, self._waiting, self._take):
            scope.cancel()
