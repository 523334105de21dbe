"""What a configuration says, as frozen attrs classes.

They are made by :func:`~asyncrouter.config.loading.load_config` from a file or a mapping, or written out in Python;
either way a wrong value raises :class:`~asyncrouter.types.errors.ConfigError` with the key's path.  Lists may be
given where tuples stand, strategies by name, table or object.  Times are in seconds.  Tables whose keys only a
provider, a factory or the wire knows (``options``, ``params``) are copied, searched for secrets and never shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs
from attrs.validators import optional

from asyncrouter.config import checks
from asyncrouter.config.checks import join
from asyncrouter.config.specs import StrategySpec, are_strategies, is_strategy, strategies, strategy, table
from asyncrouter.hooks import options
from asyncrouter.hooks.options import Check, described, fault, refuse, refuse_each, wrong
from asyncrouter.providers.base import Provider
from asyncrouter.types.decisions import TAKES, Parallel
from asyncrouter.types.deployments import (
    ALL_CAPABILITIES,
    AffinitySettings,
    BreakerSettings,
    Limits,
    OnInterrupt,
    Price,
    ShadowSettings,
    Timeouts,
)
from asyncrouter.types.errors import ConfigFault
from asyncrouter.types.request import EMPTY

__all__ = [
    "AgentSettings",
    "DeploymentSettings",
    "GroupSettings",
    "HedgeSettings",
    "ProviderSettings",
    "RouterConfig",
    "RouterSettings",
    "StrategySpec",
    "TwoModelSettings",
]

CONTENT_FILTER = "content_filter"
"""The one fallback that a group has to ask for, in ``fallback_on``."""

_PERCENTILE = re.compile(r"p(?!0+(\.0*)?$)\d{1,2}(\.\d+)?")


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _set(value: Any) -> Any:
    wanted = isinstance(value, (list, tuple, set)) and all(isinstance(item, str) for item in value)
    return frozenset(value) if wanted else _listed(value)


def _is_moment(_instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, str):
        if not _PERCENTILE.fullmatch(value):
            raise wrong(attribute.name, "a percentile or seconds", value, 'such as "p95"')
        return
    options.positive(None, attribute, value)


@attrs.frozen(kw_only=True)
class HedgeSettings:
    """A second attempt in parallel after a delay.

    ``at`` is the delay in seconds, or the percentile of the latencies seen ("p95"); ``max_extra_load`` bounds the
    hedges as a share of the requests.
    """

    at: str | float = attrs.field(default="p95", validator=_is_moment)
    max_extra_load: float = attrs.field(default=0.05, validator=options.share)


def _are_tiers(_instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, tuple) or not value:
        raise wrong(attribute.name, "a list of lists of names", value, 'such as [["mini"]]')
    refuse_each(value, attribute.name, checks.some_texts)
    checks.texts(None, attribute, tuple(name for tier in value for name in tier))


RULES: Mapping[type, Mapping[str, Check]] = {
    Price: {
        "input": options.not_negative,
        "output": options.not_negative,
        "cached_input": optional(options.not_negative),
        "reasoning": optional(options.not_negative),
    },
    Limits: {
        "rpm": optional(options.positive),
        "tpm": optional(options.positive),
        "concurrency": optional(options.whole(1)),
        "queue": options.whole(0),
        "adaptive": options.flag,
    },
    Timeouts: {
        **dict.fromkeys(("connect_s", "first_token_s", "idle_s", "attempt_s", "estimate_s"), options.positive),
        **dict.fromkeys(("queue_s", "min_chunks_per_s"), options.not_negative),
    },
    BreakerSettings: {
        "failures": options.whole(1),
        "ratio": options.ratio,
        "slow_s": optional(options.positive),
        "slow_ratio": options.ratio,
        "window_s": options.positive,
        "min_calls": options.whole(1),
        "open_s": options.positive,
        "open_cap_s": options.positive,
        "ramp_s": options.not_negative,
    },
    HedgeSettings: {"at": _is_moment, "max_extra_load": options.share},
    Parallel: {"k": options.whole(1), "take": options.one_of(*TAKES)},
    ShadowSettings: {
        "deployment": options.text,
        "share": options.ratio,
        "max_in_flight": options.whole(1),
        "usd_per_hour": optional(options.positive),
    },
    AffinitySettings: {
        "ease": options.whole(1),
        "ahead": options.not_negative,
        "ttl_s": options.positive,
        "min_tokens": options.whole(0),
        "sessions": options.whole(1),
        "tiers": optional(_are_tiers),
    },
}
"""What the values of the smaller tables must be; their classes on the floor below hold data only."""

TABLES: Mapping[str, type] = {
    "price": Price,
    "limits": Limits,
    "timeouts": Timeouts,
    "breaker": BreakerSettings,
    "hedge": HedgeSettings,
    "affinity": AffinitySettings,
    "shadow": ShadowSettings,
    "parallel": Parallel,
}
"""The keys whose value is one of the smaller tables."""

_price, _limits, _timeouts, _breaker, _hedge, _affinity, _shadow, _parallel = (
    checks.settings(kind, RULES[kind]) for kind in TABLES.values()
)


def _breaker_in_order(instance: Any, attribute: Any, value: Any) -> None:
    _breaker(instance, attribute, value)
    if value.open_cap_s < value.open_s:
        path = join(attribute.name, "open_cap_s")
        raise fault(path, f"{value.open_cap_s!r} is under open_s, {value.open_s!r}")


@attrs.frozen(kw_only=True)
class RouterSettings:
    """The router's own settings, and the defaults of its groups.

    ``default`` names the group (or deployment) that answers when a caller names none.  ``retry_budget`` is the share
    of retries and hedges per first attempt, ``retry_floor`` how many may run beyond it; ``seed`` makes the random
    choices repeatable.
    """

    default: str | None = attrs.field(default=None, validator=optional(options.text))
    deadline_s: float = attrs.field(default=60.0, validator=options.positive)
    max_attempts: int = attrs.field(default=6, validator=options.whole(1))
    params: Mapping[str, Any] = attrs.field(default=EMPTY, converter=table, validator=checks.open_table, repr=False)
    plugins: tuple[StrategySpec, ...] = attrs.field(default=(), converter=strategies, validator=are_strategies)
    seed: int | None = attrs.field(default=None, validator=optional(options.whole()))
    retry_budget: float = attrs.field(default=0.2, validator=options.share)
    retry_floor: int = attrs.field(default=3, validator=options.whole(0))


@attrs.frozen(kw_only=True)
class ProviderSettings:
    """A provider: its ``kind`` (by default its own name) with the options of that kind, or a ready ``instance``."""

    kind: str | None = attrs.field(default=None, validator=optional(options.text))
    options: Mapping[str, Any] = attrs.field(default=EMPTY, converter=table, validator=checks.open_table, repr=False)
    instance: object | None = attrs.field(default=None)

    @instance.validator
    def _is_provider(self, attribute: Any, value: object) -> None:
        if value is not None and not isinstance(value, Provider):
            shown = described(value, attribute.name)
            raise fault("", f"expected a table, or an object with complete, stream and aclose, not {shown}")


@attrs.frozen(kw_only=True)
class DeploymentSettings:
    """One model at one provider, with what is known of it; ``price`` is in US dollars per million tokens."""

    provider: str = attrs.field(validator=options.text, metadata={"cure": 'name one: provider = "openai"'})
    model: str = attrs.field(validator=options.text, metadata={"cure": 'name one: model = "gpt-4o-mini"'})
    price: Price | None = attrs.field(default=None, validator=optional(_price))
    limits: Limits = attrs.field(default=Limits(), validator=_limits)
    context_window: int | None = attrs.field(default=None, validator=optional(options.whole(1)))
    capabilities: frozenset[str] = attrs.field(
        default=ALL_CAPABILITIES,
        converter=_set,
        validator=checks.some_of(*sorted(ALL_CAPABILITIES)),
    )
    weight: float = attrs.field(default=1.0, validator=options.not_negative)
    params: Mapping[str, Any] = attrs.field(default=EMPTY, converter=table, validator=checks.open_table, repr=False)
    tags: frozenset[str] = attrs.field(default=frozenset(), converter=_set, validator=checks.texts)


@attrs.frozen(kw_only=True)
class GroupSettings:
    """Interchangeable deployments, cheapest or weakest first, and how calls of them are made.

    What is ``None`` stands for the default: for ``deadline_s`` and ``max_attempts`` the router's own.
    """

    deployments: tuple[str, ...] = attrs.field(
        converter=_listed, validator=checks.some_texts, metadata={"cure": 'name at least one: deployments = ["mini"]'}
    )
    select: StrategySpec | None = attrs.field(default=None, converter=strategy, validator=optional(is_strategy))
    estimate: StrategySpec | None = attrs.field(default=None, converter=strategy, validator=optional(is_strategy))
    retry: StrategySpec | None = attrs.field(default=None, converter=strategy, validator=optional(is_strategy))
    filters: tuple[StrategySpec, ...] | None = attrs.field(
        default=None, converter=strategies, validator=optional(are_strategies)
    )
    judge: StrategySpec | None = attrs.field(default=None, converter=strategy, validator=optional(is_strategy))
    fallback: StrategySpec | None = attrs.field(default=None, converter=strategy, validator=optional(is_strategy))
    fallbacks: tuple[str, ...] = attrs.field(default=(), converter=_listed, validator=checks.texts)
    fallback_on: tuple[str, ...] = attrs.field(default=(), converter=_listed, validator=checks.some_of(CONTENT_FILTER))
    patience_s: float = attrs.field(default=2.5, validator=options.not_negative)
    deadline_s: float | None = attrs.field(default=None, validator=optional(options.positive))
    max_attempts: int | None = attrs.field(default=None, validator=optional(options.whole(1)))
    breaker: BreakerSettings | None = attrs.field(default=None, validator=optional(_breaker_in_order))
    hedge: HedgeSettings | None = attrs.field(default=None, validator=optional(_hedge))
    parallel: Parallel | None = attrs.field(default=None, validator=optional(_parallel))
    affinity: AffinitySettings | None = attrs.field(default=None, validator=optional(_affinity))
    shadow: ShadowSettings | None = attrs.field(default=None, validator=optional(_shadow))
    timeouts: Timeouts = attrs.field(default=Timeouts(), validator=_timeouts)
    on_interrupt: OnInterrupt = attrs.field(default="raise", validator=options.one_of("raise", "continue", "restart"))
    params: Mapping[str, Any] = attrs.field(default=EMPTY, converter=table, validator=checks.open_table, repr=False)


@attrs.frozen(kw_only=True)
class TwoModelSettings:
    """The ``model`` table of the two-model form: a primary model, and a backup for what is too complex for it."""

    primary_model: str = attrs.field(validator=options.text, metadata={"cure": 'name one: primary_model = "gpt-4"'})
    backup_model: str | None = attrs.field(default=None, validator=optional(options.text))
    complexity_threshold: float = attrs.field(default=0.7, validator=options.share)
    max_retries: int = attrs.field(default=5, validator=options.whole(0))
    initial_delay: float = attrs.field(default=1.0, validator=options.not_negative)
    backoff_factor: float = attrs.field(default=2.0, validator=options.number(1))
    jitter: bool = attrs.field(default=True, validator=options.flag)


@attrs.frozen(kw_only=True)
class AgentSettings:
    """A named profile: a ``group``, or models of its own, with what it does otherwise.

    ``max_retries``, ``initial_delay``, ``backoff_factor`` and ``jitter`` are laid over the group's retry options.
    """

    group: str | None = attrs.field(default=None, validator=optional(options.text))
    model_name: str | None = attrs.field(default=None, validator=optional(options.text))
    backup_model: str | None = attrs.field(default=None, validator=optional(options.text))
    complexity_threshold: float | None = attrs.field(default=None, validator=optional(options.share))
    deadline_s: float | None = attrs.field(default=None, validator=optional(options.positive))
    max_attempts: int | None = attrs.field(default=None, validator=optional(options.whole(1)))
    params: Mapping[str, Any] = attrs.field(default=EMPTY, converter=table, validator=checks.open_table, repr=False)
    max_retries: int | None = attrs.field(default=None, validator=optional(options.whole(0)))
    initial_delay: float | None = attrs.field(default=None, validator=optional(options.not_negative))
    backoff_factor: float | None = attrs.field(default=None, validator=optional(options.number(1)))
    jitter: bool | None = attrs.field(default=None, validator=optional(options.flag))


def _entries(kind: type) -> Check:
    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise wrong(attribute.name, f"a mapping of {kind.__name__}", value)
        refuse(
            ConfigFault(join(attribute.name, checks.named(str(name))), f"expected a {kind.__name__} under its name")
            for name, entry in value.items()
            if not isinstance(entry, kind) or not isinstance(name, str) or not name.strip()
        )

    return check


def _outcomes(value: Any) -> Any:
    return StrategySpec(use="outcomes", options=value) if isinstance(value, Mapping) else strategy(value)


@attrs.frozen(kw_only=True)
class RouterConfig:
    """A whole configuration.  ``outcomes``: the options of the outcome log, or such a log itself.

    What the parts say of each other is checked when it is loaded, or when the catalogue is built of it.
    """

    router: RouterSettings = attrs.field(default=RouterSettings(), validator=checks.settings(RouterSettings, {}))
    providers: Mapping[str, ProviderSettings] = attrs.field(
        default=EMPTY, converter=table, validator=_entries(ProviderSettings)
    )
    deployments: Mapping[str, DeploymentSettings] = attrs.field(
        default=EMPTY, converter=table, validator=_entries(DeploymentSettings)
    )
    groups: Mapping[str, GroupSettings] = attrs.field(default=EMPTY, converter=table, validator=_entries(GroupSettings))
    agents: Mapping[str, AgentSettings] = attrs.field(default=EMPTY, converter=table, validator=_entries(AgentSettings))
    outcomes: StrategySpec | None = attrs.field(default=None, converter=_outcomes, validator=optional(is_strategy))
