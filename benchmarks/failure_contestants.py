"""The contestants of ``failures.py``: how each router is set up and called, in a process of its own.

All get the same deployments, groups, order of preference, timeouts, and a caller who waits equally long.  What a
configuration says beyond that stands in ``CONTESTANTS`` and in the report.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any

import attrs
from failure_scenarios import ANSWER, BY_NAME, Scenario

ATTEMPT_S = 2.0
"""How long one attempt may take."""
SILENCE_S = 1.0
"""How long a stream may be silent, before its first token and between two."""
DEADLINE_S = 8.0
"""How long the caller waits."""
GRACE_S = 0.5
"""How much later a call that ignores the deadline is cut off."""
PROMPT = [{"role": "user", "content": "Count to eight."}]
GROUPS = ("chat", "spare", "last-resort")

Options = Mapping[str, Any]
Call = Callable[[], Awaitable[tuple[str, float | None]]]
"""Makes one request: the text of its answer, and of a stream the moment of the first word."""
Opening = Callable[[Scenario, Mapping[str, str], Options], AbstractAsyncContextManager[Call]]


@attrs.frozen
class Outcome:
    """How one request ended.  ``error``: "" if the whole answer came; ``first_s``: time to a stream's first word."""

    seconds: float
    first_s: float | None
    error: str


@asynccontextmanager
async def asyncrouter(scenario: Scenario, urls: Mapping[str, str], options: Options) -> AsyncGenerator[Call]:
    """Open a fresh :class:`asyncrouter.Router`; *options* are keys of its groups."""
    from asyncrouter import Router

    timeouts = {"attempt_s": ATTEMPT_S, "first_token_s": SILENCE_S, "idle_s": SILENCE_S}
    groups: dict[str, dict[str, Any]] = {
        name: {"deployments": list(members), "timeouts": timeouts, **options}
        for name, members in zip(GROUPS, scenario.groups, strict=False)
    }
    for name, spare in pairwise(groups):
        groups[name]["fallbacks"] = [spare]
    config = {
        "providers": {
            key: {"kind": "openai", "base_url": f"{url}/v1", "api_key_env": "BENCHMARK_KEY"}
            for key, url in urls.items()
        },
        "deployments": {key: {"provider": key, "model": "scripted"} for key in urls},
        "groups": groups,
        "router": {"default": "chat", "deadline_s": DEADLINE_S},
    }
    async with Router.from_config(config) as router:

        async def plain() -> tuple[str, float | None]:
            return (await router.generate(PROMPT)).text or "", None

        async def streamed() -> tuple[str, float | None]:
            text, first = "", None
            async with router.stream(PROMPT) as stream:
                async for chunk in stream:
                    text += chunk.text
                    first = first or (time.perf_counter() if chunk.text else None)
            return text, first

        yield streamed if scenario.stream else plain


@asynccontextmanager
async def litellm(scenario: Scenario, urls: Mapping[str, str], options: Options) -> AsyncGenerator[Call]:
    """Open a fresh ``litellm.Router``; *options* are its arguments, ``model_info`` that of each deployment."""
    import litellm as library

    library.suppress_debug_info = True
    arguments = dict(options)
    model_info = arguments.pop("model_info", {})
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": "openai/scripted",
                "api_base": f"{urls[key]}/v1",
                "api_key": "key",
                "order": order,
            },
            "model_info": {"id": key, **model_info},
        }
        for name, members in zip(GROUPS, scenario.groups, strict=False)
        for order, key in enumerate(members, start=1)
    ]
    router = library.Router(
        model_list=models,
        timeout=ATTEMPT_S,
        stream_timeout=SILENCE_S,
        fallbacks=[{name: [spare]} for name, spare in pairwise(GROUPS[: len(scenario.groups)])],
        **arguments,
    )

    async def plain() -> tuple[str, float | None]:
        answer = await router.acompletion(model=GROUPS[0], messages=PROMPT)
        return answer.choices[0].message.content or "", None

    async def streamed() -> tuple[str, float | None]:
        text, first = "", None
        async for chunk in await router.acompletion(model=GROUPS[0], messages=PROMPT, stream=True):
            piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
            text += piece
            first = first or (time.perf_counter() if piece else None)
        return text, first

    yield streamed if scenario.stream else plain


@attrs.frozen
class Contestant:
    """A router, and its configuration beside what all have in common."""

    router: str
    opening: Opening
    options: Options = attrs.field(factory=dict)
    why: str = "as it ships"

    @property
    def is_installed(self) -> bool:
        """Whether it can be imported."""
        return importlib.util.find_spec(self.router) is not None


CONTESTANTS = {
    "asyncrouter": Contestant("asyncrouter", asyncrouter),
    "LiteLLM": Contestant("litellm", litellm),
    "asyncrouter, tuned": Contestant(
        "asyncrouter",
        asyncrouter,
        {
            "on_interrupt": "continue",
            "retry": {"use": "exponential", "initial_delay_s": 0.05},
            "breaker": {"slow_s": 0.3, "min_calls": 10},
        },
        why="broken streams go on where they broke off; a shorter backoff; a deployment that takes 0.3 s is too slow",
    ),
    "LiteLLM, tuned": Contestant(
        "litellm",
        litellm,
        {
            "num_retries": 1,
            "enable_weighted_failover": True,
            "enable_mid_stream_fallback_continuation": True,
            "model_info": {
                "supports_assistant_prefill": True,
                "allowed_fails_policy": {
                    "ServiceUnavailableErrorAllowedFails": 4,
                    "TimeoutErrorAllowedFails": 4,
                    "InternalServerErrorAllowedFails": 20,
                    "RateLimitErrorAllowedFails": 0,
                    "AuthenticationErrorAllowedFails": 0,
                },
            },
        },
        why="broken streams go on where they broke off; the rest of a group is tried before its fallback; one retry, "
        "so that fallbacks come in time; a group's only deployment is set aside too, at the fifth 503 or timeout",
    ),
}
"""Those in the same state of tuning are compared."""

# ------------------------------------------------------------------ in a contestant's own process


def prepare() -> None:
    """Make this process a contestant's: it connects to the loopback only, and asks nobody for anything."""
    os.environ.update(BENCHMARK_KEY="key", LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="CRITICAL")
    sys.addaudithook(_refuse_the_network)


def _refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in {"127.0.0.1", "::1"}:
        raise PermissionError(f"this benchmark talks to the loopback only, not to {arguments[1][0]}")


def play(name: str, scenario: str, urls: Mapping[str, str]) -> list[Outcome]:
    """Make the requests of the scenario with a fresh router; return how they ended."""
    contestant = CONTESTANTS[name]
    return asyncio.run(_requests(BY_NAME[scenario], contestant.opening(BY_NAME[scenario], urls, contestant.options)))


async def _requests(scenario: Scenario, opening: AbstractAsyncContextManager[Call]) -> list[Outcome]:
    async with opening as call:
        tasks = []
        for _ in range(scenario.requests):
            tasks.append(asyncio.create_task(_outcome(call)))
            await asyncio.sleep(scenario.every_s)
        return await asyncio.gather(*tasks)


async def _outcome(call: Call) -> Outcome:
    """Make one request.  Whatever a router raises is an outcome, and so is an answer that is not whole."""
    began = time.perf_counter()
    first = None
    try:
        async with asyncio.timeout(DEADLINE_S + GRACE_S):
            text, first = await call()
        error = "" if text == ANSWER else f"not the whole answer: {text!r}"
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}".splitlines()[0][:160]
    return Outcome(time.perf_counter() - began, None if first is None else first - began, error)
