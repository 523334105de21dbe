"""The contract of ``asyncrouter_estimate``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from asyncrouter.hooks.pipeline import must_wait
from asyncrouter.testing.contracts.base import Answer, Arguments, AsyncHookContract
from asyncrouter.testing.contracts.checks import counted_lines
from asyncrouter.testing.contracts.corpus import group, odd_requests, request
from asyncrouter.types.request import Request

SMALL, FACTOR = 400, 4
"""Characters of the small prompt, and how many times longer the large one is."""
MESSAGES = 50
ALLOWED_GROWTH = 1.5 * FACTOR
"""Linear work grows by FACTOR, n log n by a little more, quadratic work by FACTOR squared."""
SLACK_LINES = 500
"""Lines that work without regard to the prompt may take."""


class EstimatorContract(AsyncHookContract):
    """What every estimator must keep.  Give ``make``; set ``stateless = False`` for one that learns."""

    hook = "estimate"

    def test_answers_a_plain_question(self) -> None:
        """It estimates an ordinary prompt; an estimator that declines everything is a mistake."""
        (answer,) = self._answers(self.make(), self._situations()[:1])
        assert answer.result is not None, "it declined a plain question; return Estimate(complexity=…)"

    def test_complexity_is_in_range(self) -> None:
        """Complexity is a number in [0, 1], for every prompt."""
        for answer in self._estimates():
            complexity = answer.result.complexity
            is_number = isinstance(complexity, (int, float)) and not isinstance(complexity, bool)
            assert is_number, f"{answer.situation}: complexity is a {type(complexity).__name__}; return a float"
            assert 0.0 <= complexity <= 1.0, f"{answer.situation}: complexity {complexity!r}; clamp it to [0, 1]"

    def test_forecasts_whole_tokens(self) -> None:
        """``input_tokens``, and ``output_tokens`` where it is given, are whole numbers of 0 or more."""
        for answer in self._estimates():
            for field in ("input_tokens", "output_tokens"):
                count = getattr(answer.result, field)
                if count is None and field == "output_tokens":
                    continue
                assert isinstance(count, int), f"{answer.situation}: {field} is {count!r}; return an int"
                assert count >= 0, f"{answer.situation}: {field} is {count!r}; count from 0"

    def test_gives_a_reason(self) -> None:
        """Every estimate says why: people read it in traces and in ``explain``."""
        for answer in self._estimates():
            assert answer.result.reason, f"{answer.situation}: the reason is empty; name what decided, in a few words"

    def test_work_grows_linearly(self) -> None:
        """A prompt four times as long takes about four times the work, counted in lines of Python run.

        What C code does inside one call (a regular expression that backtracks, say) is not seen by this count.
        """
        for situation, small, large in _growing_requests():
            few, many = (self._lines(one) for one in (small, large))
            assert many <= ALLOWED_GROWTH * few + SLACK_LINES, (
                f"{situation}: {FACTOR} times the prompt took {many / few:.1f} times the work, {many} lines of Python; "
                "go through the prompt once"
            )

    def _estimates(self) -> list[Answer]:
        return [answer for answer in self._answers(self.make(), self._situations()) if answer.result is not None]

    def _lines(self, one: Request) -> int:
        function = self._function(self.make())

        async def ask() -> int:
            with counted_lines() as count:
                answer = function(one, group())
                if must_wait(answer):
                    await answer
            return count.lines

        with ThreadPoolExecutor(1) as pool:  # a trace function belongs to its thread: coverage keeps the one of this
            return pool.submit(self.run, ask).result()

    def _situations(self) -> list[tuple[str, Arguments]]:
        return [(name, (one, group())) for name, one in odd_requests()]


def _growing_requests() -> list[tuple[str, Request, Request]]:
    texts = {"words": "lorem ", "letters": "a", "brackets": "(", "digits": "7", "lines": "x\n", "questions": "why? "}
    pairs = [
        (name, request(text * (SMALL // len(text))), request(text * (FACTOR * SMALL // len(text))))
        for name, text in texts.items()
    ]
    message = {"role": "user", "content": "lorem"}
    pairs.append(
        ("messages", Request(messages=[message] * MESSAGES), Request(messages=[message] * (MESSAGES * FACTOR)))
    )
    return pairs
