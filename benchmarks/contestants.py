"""Who takes part: asyncrouter, aiohttp by hand, and the others where they are installed, each set up as its guide says.

All of those that route have two deployments to choose from, and send the same messages to the same server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import attrs
from canned import ANSWER
from measuring import MESSAGES, PROMPT, Call

from asyncrouter import Router
from asyncrouter.engine.decide import decide
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response, Usage
from asyncrouter.types.trace import TraceBuilder

Words = AsyncIterator[str]


@attrs.frozen
class Client:
    """How one contestant is called.  ``call`` returns the answer's text, ``stream`` yields its pieces."""

    call: Callable[[], Awaitable[str]]
    stream: Callable[[], Words] | None = None


Opening = Callable[[str], contextlib.AbstractAsyncContextManager[Client]]


class InstantProvider:
    """Answers at once: what is left is the router."""

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        return Response(raw=ANSWER, deployment=deployment.name, model=deployment.model, usage=Usage(110, 60))

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        yield Chunk({"choices": [{"index": 0, "delta": {"content": "word"}, "finish_reason": "stop"}]})

    async def aclose(self) -> None:
        """Nothing is open."""


def configuration(provider: object) -> dict[str, Any]:
    """Return two deployments chosen by complexity, prices and breakers on."""
    deployments = {
        name: {"provider": "p", "model": name, "price": {"input": 0.15, "output": 0.6}, "context_window": 128_000}
        for name in ("small", "large")
    }
    group = {"deployments": ["small", "large"], "select": {"use": "complexity", "threshold": 0.7}}
    return {"providers": {"p": provider}, "deployments": deployments, "groups": {"chat": group}}


def over_http(url: str) -> dict[str, Any]:
    """Return the same, with the server at *url* behind it."""
    return configuration({"kind": "openai", "base_url": f"{url}/v1", "api_key_env": "BENCHMARK_KEY"})


def decision_of(router: Router) -> Call:
    """Return the decision of a call alone: estimate, filter and select."""

    async def decision() -> None:
        request, route, _ = router.enter(MESSAGES, agent=None, model=None, complexity=None, params={})
        decide(request, route, router.fleet, TraceBuilder("", None, "chat", 0.0))

    return decision


@contextlib.asynccontextmanager
async def asyncrouter(url: str) -> AsyncGenerator[Client]:
    """Heuristic estimate, complexity selection, retry, budget, breaker, trace and metrics: all that a router does."""
    async with Router.from_config(over_http(url)) as router:

        async def call() -> str:
            return (await router.generate(MESSAGES)).text

        async def stream() -> Words:
            async with router.stream(MESSAGES) as chunks:
                async for chunk in chunks:
                    yield chunk.text

        yield Client(call, stream)


@contextlib.asynccontextmanager
async def aiohttp_as_written(url: str) -> AsyncGenerator[Client]:
    """``session.post(url, json=…)`` and ``response.json()``; a stream line by line, with ``json.loads``."""
    address = f"{url}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def call() -> str:
            body = {"model": "small", "messages": MESSAGES}
            headers = {"Authorization": "Bearer key"}
            async with session.post(address, json=body, headers=headers) as response:
                response.raise_for_status()
                text: str = (await response.json())["choices"][0]["message"]["content"]
                return text

        async def stream() -> Words:
            body = {"model": "small", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
            headers = {"Authorization": "Bearer key"}
            async with session.post(address, json=body, headers=headers) as response:
                response.raise_for_status()
                async for line in response.content:
                    if line.startswith(b"data: ") and line != b"data: [DONE]\n":
                        choices = json.loads(line[6:])["choices"]
                        if choices:
                            yield choices[0]["delta"].get("content") or ""

        yield Client(call, stream)


@contextlib.asynccontextmanager
async def aiohttp_tuned(url: str) -> AsyncGenerator[Client]:
    """Address and headers made once, the body by orjson, raw bytes read, no cookies and no redirects."""
    import orjson
    import yarl

    address = yarl.URL(f"{url}/v1/chat/completions")
    headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
    bounds = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
    connector, cookies = aiohttp.TCPConnector(limit=0), aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=cookies) as session:

        async def call() -> str:
            body = orjson.dumps({"model": "small", "messages": MESSAGES})
            async with session.post(
                address, data=body, headers=headers, timeout=bounds, allow_redirects=False
            ) as response:
                response.raise_for_status()
                text: str = orjson.loads(await response.read())["choices"][0]["message"]["content"]
                return text

        yield Client(call)


@contextlib.asynccontextmanager
async def openai_sdk(url: str) -> AsyncGenerator[Client]:
    """``AsyncOpenAI``: one model, no routing."""
    import openai

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="key") as client:

        async def call() -> str:
            answer = await client.chat.completions.create(model="small", messages=MESSAGES)
            return answer.choices[0].message.content or ""

        async def stream() -> Words:
            chunks = await client.chat.completions.create(
                model="small", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
            )
            async for chunk in chunks:
                if chunk.choices:
                    yield chunk.choices[0].delta.content or ""

        yield Client(call, stream)


@contextlib.asynccontextmanager
async def litellm_router(url: str) -> AsyncGenerator[Client]:
    """``litellm.Router`` with its defaults over two deployments of one group."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its prices are not fetched: nothing leaves this machine
    import litellm

    litellm.suppress_debug_info = True
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)
    models = [
        {"model_name": "chat", "litellm_params": {"model": f"openai/{name}", "api_base": f"{url}/v1", "api_key": "key"}}
        for name in ("small", "large")
    ]
    router = litellm.Router(model_list=models)

    async def call() -> str:
        return (await router.acompletion(model="chat", messages=MESSAGES)).choices[0].message.content or ""

    async def stream() -> Words:
        async for chunk in await router.acompletion(model="chat", messages=MESSAGES, stream=True):
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""

    yield Client(call, stream)


@contextlib.asynccontextmanager
async def pydantic_ai_fallback(url: str) -> AsyncGenerator[Client]:
    """``FallbackModel`` of two OpenAI models, asked through ``pydantic_ai.direct``."""
    from pydantic_ai.direct import model_request, model_request_stream
    from pydantic_ai.messages import ModelRequest
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=f"{url}/v1", api_key="key")
    model = FallbackModel(OpenAIChatModel("small", provider=provider), OpenAIChatModel("large", provider=provider))

    async def call() -> str:
        answer = await model_request(model, [ModelRequest.user_text_prompt(PROMPT)])
        return "".join(getattr(part, "content", "") for part in answer.parts)

    async def stream() -> Words:
        async with model_request_stream(model, [ModelRequest.user_text_prompt(PROMPT)]) as events:
            async for event in events:
                if event.event_kind == "part_start":
                    yield event.part.content
                elif event.event_kind == "part_delta":
                    yield event.delta.content_delta

    yield Client(call, stream)


@contextlib.asynccontextmanager
async def langchain_fallbacks(url: str) -> AsyncGenerator[Client]:
    """``ChatOpenAI(…).with_fallbacks([…])``."""
    from langchain_openai import ChatOpenAI

    small, large = (
        ChatOpenAI(model=name, base_url=f"{url}/v1", api_key="key", stream_usage=True) for name in ("small", "large")
    )
    model = small.with_fallbacks([large])

    async def call() -> str:
        return str((await model.ainvoke(MESSAGES)).content)

    async def stream() -> Words:
        async for chunk in model.astream(MESSAGES):
            yield str(chunk.content)

    yield Client(call, stream)


BARE = "aiohttp as written"
OPENINGS: dict[str, Opening] = {
    BARE: aiohttp_as_written,
    "aiohttp tuned": aiohttp_tuned,
    "asyncrouter": asyncrouter,
    "openai SDK": openai_sdk,
    "LiteLLM Router": litellm_router,
    "pydantic-ai FallbackModel": pydantic_ai_fallback,
    "LangChain fallbacks": langchain_fallbacks,
}
NEEDS = {
    "aiohttp tuned": "orjson",
    "openai SDK": "openai",
    "LiteLLM Router": "litellm",
    "pydantic-ai FallbackModel": "pydantic_ai",
    "LangChain fallbacks": "langchain_openai",
}
LIBRARIES = (
    "asyncrouter",
    "aiohttp",
    "anyio",
    "orjson",
    "uvloop",
    "openai",
    "litellm",
    "pydantic-ai-slim",
    "langchain-openai",
)


def present(names: list[str] | None = None) -> tuple[dict[str, Opening], list[str]]:
    """Return who can take part, of *names* where given, and a note on who cannot.

    Raises ``SystemExit`` for a name that is not known.
    """
    unknown = set(names or ()) - OPENINGS.keys()
    if unknown:
        raise SystemExit(f"unknown contestant: {', '.join(sorted(unknown))}; known: {', '.join(OPENINGS)}")
    wanted = names or list(OPENINGS)
    missing = [name for name in wanted if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None]
    notes = [f"Not installed, so left out (`make rivals` installs them): {', '.join(missing)}"] if missing else []
    return {name: OPENINGS[name] for name in OPENINGS if name in wanted and name not in missing}, notes
