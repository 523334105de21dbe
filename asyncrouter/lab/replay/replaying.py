"""``lab replay`` as a function: a log, a configuration, and what the one says of the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np

from asyncrouter.config.schema import RouterConfig
from asyncrouter.lab.evaluation.bootstrap import Resampling
from asyncrouter.lab.evaluation.measuring import Measured
from asyncrouter.lab.outcomes.files import Progress, ignored
from asyncrouter.lab.outcomes.logs import known_before, reward_of
from asyncrouter.lab.replay.decisions import decisions
from asyncrouter.lab.replay.values import Weighed, estimate, learn, weigh
from asyncrouter.telemetry.outcomes import LoggedCall, lost_rows, read_calls
from asyncrouter.types.errors import ConfigError

LEAST_EFFECTIVE, LEAST_EFFECTIVE_SHARE = 100, 0.05
"""Below so many effective calls, or such a part of them, the overlap is poor."""
MOST_UNSUPPORTED = 0.02
"""Share of calls of which only the model can speak, from which on that is told."""


@attrs.frozen(kw_only=True)
class Replayed:
    """What a policy would have given on ``calls`` logged calls.

    ``quality`` and ``cost`` (USD a call) hold the estimates by name, ``None`` where nothing is known of them;
    ``chosen`` and ``logged`` count the deployments asked first.  ``warnings`` say what the estimates cannot bear.
    """

    calls: int
    quality_calls: int
    weighed: Weighed
    quality: Mapping[str, Measured] | None
    cost: Mapping[str, Measured] | None
    chosen: Mapping[str, int]
    logged: Mapping[str, int]
    warnings: tuple[str, ...]


def read_decided(path: Path, group: str | None, since: float | None) -> list[LoggedCall]:
    """Return the calls in the log at *path* that a policy has decided and that have ended by themselves.

    Raises :class:`ConfigError` when it is another file, or holds none.
    """
    calls = [
        call
        for call in read_calls(path, since=since, group=group, shadows=False)
        if call.chosen is not None and call.propensity is not None and call.outcome != "cancelled"
    ]
    if not calls:
        raise ConfigError(f"{path}: holds no decided call{f' of the group {group!r}' if group else ''}")
    return calls


def replay(
    path: Path,
    config: RouterConfig,
    *,
    group: str | None = None,
    since: float | None = None,
    clip: float,
    resampling: Resampling,
    progress: Progress = ignored,
) -> Replayed:
    """Return what *config* would have given on the calls of the log at *path*.

    *clip* bounds the weights.  Raises :class:`ConfigError` where the log cannot be replayed with it.
    """
    calls = read_decided(path, group, since)
    target = decisions(config, calls, resampling.seed, progress)
    decided = [(call, name) for call, name in zip(calls, target, strict=True) if name is not None]
    calls, names = [call for call, _name in decided], [name for _call, name in decided]
    _check_known(calls, names)
    weighed = _weigh(calls, names, clip)
    quality_calls = sum(reward_of(call) is not None for call in calls)
    return Replayed(
        calls=len(calls),
        quality_calls=quality_calls,
        weighed=weighed,
        quality=_estimates(calls, names, reward_of, clip, resampling),
        cost=_estimates(calls, names, _spent, clip, resampling),
        chosen=Counter(names),
        logged=Counter(_choice(call) for call in calls),
        warnings=(*_warnings(calls, weighed, quality_calls, clip), *_left_out(path, len(target) - len(calls))),
    )


def _choice(call: LoggedCall) -> str:
    return call.chosen or ""


def _spent(call: LoggedCall) -> float | None:
    return call.spent_usd


def _weigh(calls: Sequence[LoggedCall], target: Sequence[str], clip: float) -> Weighed:
    return weigh(list(map(_choice, calls)), np.array([call.propensity for call in calls], dtype=float), target, clip)


def _check_known(calls: Sequence[LoggedCall], target: Sequence[str]) -> None:
    if not calls:
        raise ConfigError("the configuration has nobody for any of the logged calls")
    unknown = sorted(set(target) - {call.chosen for call in calls})
    if unknown:
        raise ConfigError(
            f"the configuration asks {', '.join(unknown)}, whom the log never asked first: it tells nothing of them; "
            "let a shadow or some exploration ask them for a while"
        )


def _estimates(
    calls: Sequence[LoggedCall],
    target: Sequence[str],
    result_of: Callable[[LoggedCall], float | None],
    clip: float,
    resampling: Resampling,
) -> Mapping[str, Measured] | None:
    """Return the estimates over those of *calls* whose result is known."""
    known = [(call, name, result) for call, name in zip(calls, target, strict=True)
             if (result := result_of(call)) is not None]  # fmt: skip
    if not known:
        return None
    kept, names = [call for call, _name, _result in known], [name for _call, name, _result in known]
    results = np.array([result for _call, _name, result in known], dtype=float)
    model = learn(known_before(kept), results, list(map(_choice, kept)), names, resampling.seed)
    groups = [call.session or call.id for call in kept]
    return estimate(results, _weigh(kept, names, clip).weights, model, groups, resampling)


def _warnings(calls: Sequence[LoggedCall], weighed: Weighed, quality_calls: int, clip: float) -> list[str]:
    told = []
    if weighed.effective < max(LEAST_EFFECTIVE, LEAST_EFFECTIVE_SHARE * len(calls)):
        told.append(
            f"poor overlap: {len(calls):,} calls say as much as {weighed.effective:.0f}; the policy differs from the "
            "log's more than these calls can bear"
        )
    if weighed.unsupported > MOST_UNSUPPORTED:
        told.append(
            f"in {weighed.unsupported:.0%} of the calls the log's choice was certain and another one: ips and snips "
            "leave them out, direct and dr guess; explore a little (a selector that tells its propensity) first"
        )
    if weighed.clipped:
        told.append(f"{weighed.clipped:,} weights were clipped at {clip:g}: ips and snips are biased by that")
    if quality_calls < len(calls):
        told.append(
            f"of {len(calls) - quality_calls:,} calls nobody has said how well they went; if those differ from the "
            "others, so does the truth"
        )
    if any(call.messages is None for call in calls):
        told.append("the log holds no prompts: the estimates are those that were logged, not made anew")
    return told


def _left_out(path: Path, nobody: int) -> list[str]:
    told = [f"for {nobody:,} calls the configuration has nobody; they are left out"] if nobody else []
    lost = lost_rows(path)
    return [*told, f"{lost:,} rows of the log were lost when it was written"] if lost else told
