"""The judge ``judge``: cheap checks, the worst of which decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from asyncrouter.hooks import options
from asyncrouter.hooks.markers import hookimpl
from asyncrouter.types.decisions import Verdict
from asyncrouter.types.request import Request
from asyncrouter.types.response import Response
from asyncrouter_judge.findings import Check, Finding
from asyncrouter_judge.formats import json_check, schema_faults
from asyncrouter_judge.samples import consistency, probability
from asyncrouter_judge.texts import empty, refusal, repeated, truncated

NAMES = ("empty", "refusal", "truncated", "json", "repeated", "consistency", "probability")
FAULTLESS = Verdict(accept=True, score=1.0)


def checks_by_name() -> dict[str, Check]:
    """Return every check by its name; makes the validator of JSON Schema, which takes long to import."""
    checks = (empty, refusal, truncated, json_check(schema_faults()), repeated, consistency, probability)
    return dict(zip(NAMES, checks, strict=True))


def _known(value: Any) -> tuple[str, ...]:
    return options.names(value, "checks", NAMES)


@attrs.frozen(kw_only=True, eq=False)
class ChecksJudge:
    """Cheap checks of the answer, asking nobody: empty, refused, cut, not the asked JSON, repeating itself, unsure.

    ``checks``: which of them, by name; all by default.  ``accept_at``: the score, 0 to 1, from which an answer is
    accepted; 0.5 by default.  The score is that of the worst check, 1 where no check finds anything.
    """

    checks: tuple[str, ...] = attrs.field(default=NAMES, converter=_known)
    accept_at: float = attrs.field(default=0.5, validator=options.share)
    _made: Mapping[str, Check] = attrs.field(init=False, repr=False, factory=checks_by_name)

    @hookimpl
    def asyncrouter_judge(self, request: Request, response: Response) -> Verdict:
        """Return the verdict of the worst finding."""
        return verdict_of(self.findings(request, response), self.accept_at)

    def findings(self, request: Request, response: Response) -> list[Finding]:
        """Return what the checks find of *response*, in their order."""
        found = (self._made[name](request, response) for name in self.checks)
        return [finding for finding in found if finding is not None]


def verdict_of(findings: Iterable[Finding], accept_at: float) -> Verdict:
    """Return the verdict of the worst of *findings*; its reason names each that would reject the answer."""
    findings = list(findings)
    if not findings:
        return FAULTLESS
    worst = min(finding.score for finding in findings)
    accept = worst >= accept_at
    told = [finding.reason for finding in findings if accept or finding.score < accept_at]
    return Verdict(accept=accept, score=worst, reason="; ".join(told))
