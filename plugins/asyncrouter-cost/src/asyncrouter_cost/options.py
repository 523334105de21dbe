"""The options of the selector ``cost``, checked one by one: each fault names the option and what was expected."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from asyncrouter.types.errors import ConfigError, ConfigFault

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
        *_number("usd_per_quality", usd_per_quality, above=0.0),
        *_number("difficulty", difficulty, least=0.0),
        *_number("output_tokens", output_tokens, least=1, whole=True),
        *_qualities(qualities),
        *_budgets(budgets),
        *_state(state, budgets),
    ]
    if on_exceeded not in ON_EXCEEDED:
        faults.append(_fault("on_exceeded", '"raise" or "downgrade"', on_exceeded))
    if faults:
        raise ConfigError(faults=faults)
    return Options(
        usd_per_quality=float(usd_per_quality),
        qualities=dict(qualities),
        difficulty=float(difficulty),
        output_tokens=output_tokens,
        budgets=tuple(Budget(**one) for one in budgets),
        on_exceeded=on_exceeded,
        state=None if state is None else Path(state),
    )


def _number(
    path: str,
    value: Any,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    whole: bool = False,
) -> Iterator[ConfigFault]:
    kinds = (int,) if whole else (int, float)
    is_number = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and least <= value <= most and value > above:
        return
    wanted = "a whole number" if whole else "a number"
    if above > -math.inf:
        wanted += f" above {above:g}"
    elif most < math.inf:
        wanted += f" from {least:g} to {most:g}"
    else:
        wanted += f" of {least:g} or more"
    yield _fault(path, wanted, value)


def _qualities(value: Any) -> Iterator[ConfigFault]:
    if not isinstance(value, Mapping):
        yield _fault("qualities", "a table of deployment names and qualities from 0 to 1", value)
        return
    for name, quality in value.items():
        yield from _number(f"qualities.{name}", quality, least=0.0, most=1.0)


def _budgets(value: Any) -> Iterator[ConfigFault]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        yield _fault("budgets", 'a list of tables like { usd = 5.0, per = "day" }', value)
        return
    for place, budget in enumerate(value):
        path = f"budgets[{place}]"
        if not isinstance(budget, Mapping):
            yield _fault(path, 'a table like { usd = 5.0, per = "day" }', budget)
            continue
        yield from _budget(path, budget)
        alike = next((other for other in range(place) if _same(value[other], budget)), None)
        if alike is not None:
            yield ConfigFault(path, f"has the same per, by and only as budgets[{alike}]", "keep the smaller of the two")


def _budget(path: str, budget: Mapping[str, Any]) -> Iterator[ConfigFault]:
    for key in budget:
        if key not in BUDGET_KEYS:
            yield ConfigFault(f"{path}.{key}", "unknown key", f"known: {', '.join(BUDGET_KEYS)}")
    yield from _number(f"{path}.usd", budget.get("usd"), above=0.0)
    if budget.get("per") not in PERIODS_S:
        yield _fault(f"{path}.per", f"one of {', '.join(PERIODS_S)}", budget.get("per"))
    by = budget.get("by", "")
    if by not in {"", "agent"} and not (isinstance(by, str) and by.startswith(BY_METADATA) and by != BY_METADATA):
        yield _fault(f"{path}.by", '"agent" or "metadata." and a key', by)
    only = budget.get("only")
    if only is not None and (not isinstance(only, str) or not by):
        yield ConfigFault(f"{path}.only", "names an agent or a value, and goes with by", 'add by = "agent"')


def _same(one: object, other: Mapping[str, Any]) -> bool:
    return isinstance(one, Mapping) and all(one.get(key) == other.get(key) for key in ("per", "by", "only"))


def _state(value: Any, budgets: Any) -> Iterator[ConfigFault]:
    if value is None:
        return
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        yield _fault("state", "the path of a file", value)
    elif not budgets:
        yield ConfigFault("state", "keeps budgets, and there are none", "add budgets, or leave it out")


def _fault(path: str, wanted: str, value: object) -> ConfigFault:
    return ConfigFault(path, f"expected {wanted}, not {value!r}")
