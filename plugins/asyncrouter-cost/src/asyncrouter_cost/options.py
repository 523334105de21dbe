"""The options of the selector ``cost``, checked one by one: each fault names the option and what was expected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from asyncrouter.hooks import options
from asyncrouter.types.errors import ConfigFault

PERIODS_S: Mapping[str, float] = {"hour": 3600.0, "day": 86_400.0, "month": 30 * 86_400.0}
"""The periods of budgets in seconds; a month has thirty days."""
OnExceeded = Literal["raise", "downgrade"]
ON_EXCEEDED = ("raise", "downgrade")
BY_METADATA = "metadata."
BUDGET_KEYS = ("usd", "per", "by", "only")


@attrs.frozen(kw_only=True)
class Budget:
    """At most ``usd`` US dollars within any ``per`` ("hour", "day" or "month").

    ``by``: "" for one account of all calls, "agent" for one an agent, "metadata.KEY" for one a value of the caller's
    metadata.  ``only``: the one agent or value that has a budget; all others have none.
    """

    usd: float
    per: str
    by: str = ""
    only: str | None = None

    @property
    def name(self) -> str:
        """What tells it from other budgets of the same period, whatever the limit."""
        return json.dumps([self.by, self.only])

    @property
    def period_s(self) -> float:
        """The period in seconds."""
        return PERIODS_S[self.per]


@attrs.frozen(kw_only=True)
class Options:
    """What the selector goes by; see :func:`asyncrouter_cost.cost`."""

    usd_per_quality: float
    qualities: Mapping[str, float]
    difficulty: float
    output_tokens: int
    budgets: tuple[Budget, ...]
    on_exceeded: OnExceeded
    state: Path | None


def checked_options(
    *,
    usd_per_quality: Any,
    qualities: Any,
    difficulty: Any,
    output_tokens: Any,
    budgets: Any,
    on_exceeded: Any,
    state: Any,
) -> Options:
    """Return the options; raise :class:`ConfigError` with every fault found."""
    faults = [
        *options.faults_in(usd_per_quality, "usd_per_quality", options.positive),
        *options.faults_in(difficulty, "difficulty", options.not_negative),
        *options.faults_in(output_tokens, "output_tokens", options.whole(1)),
        *_qualities(qualities),
        *_budgets(budgets),
        *options.faults_in(on_exceeded, "on_exceeded", options.one_of(*ON_EXCEEDED)),
        *_state(state, budgets),
    ]
    options.refuse(faults)
    return Options(
        usd_per_quality=float(usd_per_quality),
        qualities=dict(qualities),
        difficulty=float(difficulty),
        output_tokens=output_tokens,
        budgets=tuple(Budget(**one) for one in budgets),
        on_exceeded=on_exceeded,
        state=None if state is None else Path(state),
    )


def _qualities(value: Any) -> Iterator[ConfigFault]:
    if not isinstance(value, Mapping):
        yield options.unexpected("qualities", "a table of deployment names and qualities from 0 to 1", value)
        return
    for name, quality in value.items():
        yield from options.faults_in(quality, f"qualities.{name}", options.share)


def _budgets(value: Any) -> Iterator[ConfigFault]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        yield options.unexpected("budgets", 'a list of tables like { usd = 5.0, per = "day" }', value)
        return
    for place, budget in enumerate(value):
        path = f"budgets[{place}]"
        if not isinstance(budget, Mapping):
            yield options.unexpected(path, 'a table like { usd = 5.0, per = "day" }', budget)
            continue
        yield from _budget(path, budget)
        alike = next((other for other in range(place) if _same(value[other], budget)), None)
        if alike is not None:
            yield ConfigFault(path, f"has the same per, by and only as budgets[{alike}]", "keep the smaller of the two")


def _budget(path: str, budget: Mapping[str, Any]) -> Iterator[ConfigFault]:
    for key in budget:
        if key not in BUDGET_KEYS:
            yield ConfigFault(f"{path}.{key}", "unknown key", f"known: {', '.join(BUDGET_KEYS)}")
    yield from options.faults_in(budget.get("usd"), f"{path}.usd", options.positive)
    yield from options.faults_in(budget.get("per"), f"{path}.per", options.one_of(*PERIODS_S))
    by = budget.get("by", "")
    if by not in {"", "agent"} and not (isinstance(by, str) and by.startswith(BY_METADATA) and by != BY_METADATA):
        yield options.unexpected(f"{path}.by", '"agent" or "metadata." and a key', by)
    only = budget.get("only")
    if only is not None and (not isinstance(only, str) or not by):
        yield ConfigFault(f"{path}.only", "names an agent or a value, and goes with by", 'add by = "agent"')


def _same(one: object, other: Mapping[str, Any]) -> bool:
    return isinstance(one, Mapping) and all(one.get(key) == other.get(key) for key in ("per", "by", "only"))


def _state(value: Any, budgets: Any) -> Iterator[ConfigFault]:
    if value is None:
        return
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        yield options.unexpected("state", "the path of a file", value)
    elif not budgets:
        yield ConfigFault("state", "keeps budgets, and there are none", "add budgets, or leave it out")
