"""What type checkers make of the public surface.  Checked by ``make lint``, never run."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, assert_type

from asyncrouter import (
    AgentRouter,
    AllAttemptsFailed,
    Attempt,
    Chunk,
    ConfigError,
    Decision,
    Deployment,
    Disposition,
    Estimate,
    Fallback,
    GiveUp,
    Metrics,
    ModelGroup,
    ModelManager,
    ModelManagerProvider,
    NoDeploymentAvailable,
    ProviderError,
    RateLimited,
    Request,
    Response,
    Retry,
    Router,
    RouterConfig,
    RouteTrace,
    Selection,
    SyncRouter,
    UnknownModelGroup,
    Usage,
    Verdict,
    hookimpl,
    with_exponential_backoff,
)
from asyncrouter.backoff import Backoff
from asyncrouter.hooks.registry import Registry
from asyncrouter.providers.base import Provider
from asyncrouter.routed_stream import RoutedStream
from asyncrouter.sync import SyncAgentRouter, SyncStream
from asyncrouter.testing import FakeProvider, Reply, SelectorContract
from asyncrouter.types.deployments import FleetView, Timeouts
from asyncrouter.types.errors import ConfigFault
from asyncrouter.types.events import Event
from asyncrouter.types.metrics import AgentMetrics, BreakerState, DeploymentMetrics
from asyncrouter.types.trace import AttemptKind, Outcome, TraceView

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]

# ------------------------------------------------------------------ the async door


async def sources(config: RouterConfig) -> None:
    assert_type(Router.from_config(), Router)
    assert_type(Router.from_config("router.toml"), Router)
    assert_type(Router.from_config({"groups": {}}), Router)
    assert_type(Router.from_config(config, plugins=[object()], seed=1), Router)
    Router.from_config(42)  # type: ignore[arg-type]


async def async_door() -> None:
    async with Router.from_config(None) as router:
        assert_type(router, Router)
        assert_type(await router.generate("hi"), Response)
        assert_type(
            await router.generate(
                MESSAGES,
                model="chat",
                complexity=0.8,
                deadline_s=30.0,
                session="conv-42",
                metadata={"tenant": "a"},
                temperature=0,
                tools=[],
                response_format={"type": "json_object"},
            ),
            Response,
        )
        assert_type(await router.explain("hi"), Decision)
        assert_type(router.metrics(), Metrics)
        assert_type(router.register(object()), str)
        router.unregister("plugin")
        agent = router.for_agent("recon")
        assert_type(agent, AgentRouter)
        assert_type(await agent.generate("hi"), Response)
        await router.feedback(await agent.generate("hi"), 0.5)
        await router.generate(42)  # type: ignore[arg-type]
        await router.generate("hi", complexity="high")  # type: ignore[arg-type]
        await router.generate(prompt="hi")  # by name too


async def streams(router: Router) -> None:
    async with router.stream(MESSAGES, temperature=0) as stream:
        assert_type(stream, RoutedStream)
        async for chunk in stream:
            assert_type(chunk, Chunk)
            assert_type(chunk.text, str)
            assert_type(chunk.kind, Literal["delta", "restart"])
    assert_type(stream.response, Response)
    async with router.for_agent("recon").stream("hi") as other:
        assert_type(other, RoutedStream)


def what_comes_back(reply: Response, decision: Decision) -> None:
    assert_type(reply.text, str)
    assert_type(reply.message, Mapping[str, Any])
    assert_type(reply.tool_calls, Sequence[Mapping[str, Any]])
    assert_type(reply.finish_reason, str | None)
    assert_type(reply.model, str)
    assert_type(reply.deployment, str)
    assert_type(reply.usage, Usage)
    assert_type(reply.usage.input_tokens, int)
    assert_type(reply.cost_usd, float | None)
    assert_type(reply.raw, Mapping[str, Any])
    assert_type(reply.trace, RouteTrace)
    assert_type(reply.trace.attempts, tuple[Attempt, ...])
    assert_type(reply.trace.attempts[0].outcome, Outcome)
    assert_type(reply.trace.attempts[0].kind, AttemptKind)
    assert_type(reply.trace.attempts[0].error, ProviderError | None)
    assert_type(reply.trace.attempts[0].duration_s, float)
    assert_type(reply.trace.estimate, Estimate | None)
    assert_type(reply.trace.selection, Selection | None)
    assert_type(decision.estimate.complexity, float)
    assert_type(decision.selection, Selection | None)
    assert_type(decision.ranking[0].expected_cost_usd, float | None)
    reply.model = "other"  # type: ignore[misc]


def numbers(metrics: Metrics) -> None:
    assert_type(metrics.deployments, Mapping[str, DeploymentMetrics])
    assert_type(metrics.agents["recon"], AgentMetrics)
    assert_type(metrics.deployments["mini"].breaker, BreakerState)
    assert_type(metrics.deployments["mini"].latency_s.p95, float | None)


# ------------------------------------------------------------------ the sync doors


def sync_door() -> None:
    with SyncRouter.from_config(None) as router:
        assert_type(router, SyncRouter)
        assert_type(router.generate("hi", model="chat", temperature=0), Response)
        assert_type(router.explain("hi"), Decision)
        assert_type(router.feedback(router.generate("hi"), 1.0), None)
        assert_type(router.metrics(), Metrics)
        assert_type(router.register(object(), "name"), str)
        assert_type(router.for_agent("recon"), SyncAgentRouter)
        assert_type(router.for_agent("recon").generate("hi"), Response)
        with router.stream(MESSAGES) as stream:
            assert_type(stream, SyncStream)
            for chunk in stream:
                assert_type(chunk, Chunk)
        assert_type(stream.response, Response)
        router.generate(42)  # type: ignore[arg-type]
        router.generate("hi", complexity="high")  # type: ignore[arg-type]


async def facade(router: Router) -> None:
    manager = ModelManager(primary_model="gpt-4", backup_model="gpt-3.5-turbo", complexity_threshold=0.7)
    assert_type(manager.generate("hi", model=None, complexity=0.9, temperature=0), Response)
    assert_type(await manager.generate_async("hi"), Response)
    assert_type(manager.estimate_complexity(MESSAGES), float)
    assert_type(manager.get_metrics(), dict[str, Any])
    assert_type(manager.backup_model, str | None)
    ModelManager(router=router)
    ModelManager(config="router.toml")
    assert_type(ModelManagerProvider.create_manager("gpt-4"), ModelManager)
    assert_type(ModelManagerProvider.create_for_agent("recon", {"agents": {}}), ModelManager)
    with ModelManager() as opened:
        assert_type(opened, ModelManager)


# ------------------------------------------------------------------ the decorator


@with_exponential_backoff
def plain(number: int, *, name: str = "") -> str:
    return name * number


@with_exponential_backoff(max_retries=5, initial_delay=1.0, backoff_factor=2.0, jitter=True, retry_on=(RateLimited,))
async def waiting(number: int) -> list[int]:
    return [number]


@with_exponential_backoff(retry_on=OSError)
def with_one_class() -> bytes:
    return b""


class Client:
    @with_exponential_backoff
    async def fetch(self, path: str) -> bytes:
        return path.encode()


async def decorated(client: Client, dice: random.Random) -> None:
    assert_type(plain(1, name="a"), str)
    assert_type(await waiting(1), list[int])
    assert_type(with_one_class(), bytes)
    assert_type(await client.fetch("/"), bytes)
    assert_type(Backoff(random=dice).delay_s(OSError(), 1), float | None)
    plain("1")  # type: ignore[arg-type]
    await waiting()  # type: ignore[call-arg]


@with_exponential_backoff(max_retries="five")  # type: ignore[call-overload, untyped-decorator]
def wrong_option() -> None: ...


# ------------------------------------------------------------------ plugins


class Everything:
    """Every hook, with the arguments of its choice."""

    @hookimpl
    def asyncrouter_register(self, registry: Registry) -> None:
        registry.selector("word", Everything)

    @hookimpl
    async def asyncrouter_startup(self, router: Router) -> None:
        router.metrics()

    @hookimpl(trylast=True)
    async def asyncrouter_estimate(self, request: Request, group: ModelGroup) -> Estimate | None:
        return Estimate(complexity=0.5) if group.name and request.messages else None

    @hookimpl(tryfirst=True)
    def asyncrouter_select(self, candidates: tuple[Deployment, ...], state: FleetView) -> Selection:
        ready = tuple(one for one in candidates if state[one.name].ready_at <= state.now())
        return Selection(deployments=ready or candidates, reason="ready ones")

    @hookimpl
    def asyncrouter_retry(self, attempt: Attempt, random: random.Random) -> Retry | GiveUp:
        return GiveUp() if attempt.error is None else Retry(random.random(), "again")

    @hookimpl
    def asyncrouter_fallback(self, trace: TraceView, remaining: tuple[Deployment, ...]) -> Fallback | None:
        return Fallback(deployment=remaining[0]) if remaining and trace.waits else None

    @hookimpl
    async def asyncrouter_judge(self, response: Response) -> Verdict:
        return Verdict(accept=bool(response.text))

    @hookimpl
    def asyncrouter_observe(self, event: Event) -> None:
        event.__class__.__name__.lower()

    @hookimpl
    async def asyncrouter_around_attempt(
        self, call: Callable[[Request, Deployment], Awaitable[Response]], request: Request, deployment: Deployment
    ) -> Response:
        return await call(request, deployment)

    @hookimpl
    async def asyncrouter_around_request_stream(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
        async for chunk in chunks:
            yield chunk


async def a_marked_hook_keeps_its_type(request: Request, group: ModelGroup, response: Response) -> None:
    plugin = Everything()
    assert_type(await plugin.asyncrouter_estimate(request, group), Estimate | None)
    assert_type(await plugin.asyncrouter_judge(response), Verdict)
    plugin.asyncrouter_select((), None)  # type: ignore[arg-type]


class Echo:
    """A provider of one's own."""

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        return Response(raw={"timeouts": timeouts.attempt_s}, deployment=deployment.name, model=str(request.model))

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        yield Chunk({"model": deployment.model, "timeouts": timeouts.idle_s, "request": request.id})

    async def aclose(self) -> None: ...


ECHO: Provider = Echo()
FAKE: Provider = FakeProvider([Reply("a"), Reply("b")])
NOT_A_PROVIDER: Provider = object()  # type: ignore[assignment]


class TestMine(SelectorContract):
    def make(self) -> object:
        return Everything()


# ------------------------------------------------------------------ errors


async def failures(router: Router) -> None:
    try:
        await router.generate("hi")
    except UnknownModelGroup as error:
        assert_type(error.trace, RouteTrace | None)
    except NoDeploymentAvailable as error:
        assert_type(error.retry_after_s, float | None)
    except AllAttemptsFailed as error:
        assert_type(error.errors, tuple[ProviderError, ...])
    except ProviderError as error:
        assert_type(error.deployment, str | None)
        assert_type(error.status, int | None)
        assert_type(error.disposition, Disposition)
    except ConfigError as error:
        assert_type(error.faults, tuple[ConfigFault, ...])
