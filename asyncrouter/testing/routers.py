"""A router in memory, in one call."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Any

from asyncrouter.router import Router
from asyncrouter.testing.fake import FakeProvider
from asyncrouter.testing.script import Reply, Script
from asyncrouter.types.clock import Clock
from asyncrouter.types.request import EMPTY

GROUP = "chat"
Deployments = int | Iterable[str] | Mapping[str, Mapping[str, Any]]


def fake_router(
    script: Script | FakeProvider = Reply(),  # noqa: B008 - it is frozen
    *,
    deployments: Deployments = 2,
    select: Any = "priority",
    clock: Clock | None = None,
    seed: int = 0,
    plugins: Iterable[object] = (),
    **group: Any,
) -> Router:
    """Return a router with one group, "chat", over a :class:`FakeProvider`; enter it with ``async with``.

    *script*: what the upstream does, or a provider of your own, to look at its ``calls`` afterwards.  *deployments*:
    how many (named "a", "b", …), their names, or their tables by name (``{"a": {"price": {...}}}``).  *group*: further
    settings of the group, as in a configuration (``retry=``, ``fallbacks=``, ``breaker=``, …).  Time is the running
    loop's unless *clock* is given; random choices depend on *seed* alone.
    """
    provider = script if isinstance(script, FakeProvider) else FakeProvider(script, clock=clock)
    if isinstance(deployments, int):
        deployments = string.ascii_lowercase[:deployments]
    tables = deployments if isinstance(deployments, Mapping) else dict.fromkeys(deployments, EMPTY)
    config = {
        "router": {"default": GROUP},
        "providers": {"fake": provider},
        "deployments": {
            name: {"provider": "fake", "model": f"model-{name}", **table} for name, table in tables.items()
        },
        "groups": {GROUP: {"deployments": list(tables), "select": select, **group}},
    }
    return Router.from_config(config, plugins=plugins, clock=clock, seed=seed)
