"""The contract of ``asyncrouter_judge``."""

from __future__ import annotations

from asyncrouter.testing.contracts.base import Answer, Arguments, AsyncHookContract
from asyncrouter.testing.contracts.corpus import odd_responses, request, trace


class JudgeContract(AsyncHookContract):
    """What every judge must keep.  Give ``make``; set ``stateless = False`` for one that learns."""

    hook = "judge"

    def test_accept_is_a_decision(self) -> None:
        """``accept`` is ``True`` or ``False``, not something that merely counts as one."""
        for answer in self._verdicts():
            assert isinstance(answer.result.accept, bool), (
                f"{answer.situation}: accept is {answer.result.accept!r}; return Verdict(accept=True or False, …)"
            )

    def test_scores_are_in_range(self) -> None:
        """``score`` is ``None`` or a number in [0, 1]: rejected answers are ordered by it."""
        for answer in self._verdicts():
            score = answer.result.score
            assert score is None or (isinstance(score, (int, float)) and 0.0 <= score <= 1.0), (
                f"{answer.situation}: score is {score!r}; scale it to [0, 1]"
            )

    def test_rejections_have_a_reason(self) -> None:
        """A rejection costs another call and says why."""
        for answer in self._verdicts():
            assert answer.result.accept or answer.result.reason, (
                f"{answer.situation}: rejected without a reason; give Verdict(accept=False, reason=…)"
            )

    def _verdicts(self) -> list[Answer]:
        return [answer for answer in self._answers(self.make(), self._situations()) if answer.result is not None]

    def _situations(self) -> list[tuple[str, Arguments]]:
        return [(name, (request(), response, trace())) for name, response in odd_responses()]
