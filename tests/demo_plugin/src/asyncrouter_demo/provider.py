"""A provider for a wire API of its own: lines of JSON over TCP.

The client sends one line, ``{"key", "model", "messages", "params"}``.  The server sends lines of ``{"text"}`` and
``{"tool_calls"}``, then ``{"end": finish_reason, "usage"}``; or ``{"error": code, "message", "retry_after_s"}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from asyncrouter.providers.loopback import LOOPBACK_ONLY, forbidden_host
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import (
    AsyncRouterError,
    AttemptTimedOut,
    AuthenticationFailed,
    ConfigError,
    ConfigFault,
    ConnectionFailed,
    Disposition,
    InvalidRequest,
    MalformedResponse,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerError,
    StreamInterrupted,
)
from asyncrouter.types.request import Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response, usage_of
from asyncrouter.types.secrets import Secret, redact

ERRORS: dict[str, type[ProviderError]] = {
    "bad_request": InvalidRequest,
    "busy": Overloaded,
    "slow_down": RateLimited,
    "unknown_key": AuthenticationFailed,
    "unknown_model": ModelNotFound,
}
MAX_LINE = 1_000_000


class DemoProvider:
    """A server that speaks lines of JSON at ``host`` and ``port``; ``api_key_env`` names the key's variable."""

    def __init__(self, *, name: str, port: int, host: str = "127.0.0.1", api_key_env: str | None = None) -> None:
        if api_key_env is not None and api_key_env not in os.environ:
            raise ConfigError(
                faults=[ConfigFault("api_key_env", f"{api_key_env} is not set", f"export {api_key_env}=…")]
            )
        self.name = name
        self._address = (host, port)
        self._key = Secret(os.environ[api_key_env] if api_key_env else "")

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        raw: dict[str, Any] = {"model": deployment.model, "choices": [{"index": 0, "message": message}]}
        async with aclosing(self._lines(request, deployment, timeouts)) as lines:
            async for line in lines:
                message["content"] += line.get("text", "")
                if "tool_calls" in line:
                    message["tool_calls"] = line["tool_calls"]
                if "end" in line:
                    raw["choices"][0]["finish_reason"] = line["end"]
                    raw["usage"] = line.get("usage")
        return Response(raw=raw, deployment=deployment.name, model=deployment.model, usage=usage_of(raw) or NO_USAGE)

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        async with aclosing(self._lines(request, deployment, timeouts)) as lines:
            async for line in lines:
                delta = {"content": line["text"]} if "text" in line else {}
                if "tool_calls" in line:
                    delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(line["tool_calls"])]
                choice = {"index": 0, "delta": delta, "finish_reason": line.get("end")}
                yield Chunk({"model": deployment.model, "choices": [choice], "usage": line.get("usage")})

    async def aclose(self) -> None:
        """Nothing is kept open between calls."""

    async def _lines(
        self, request: Request, deployment: Deployment, timeouts: Timeouts
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Send *request* and yield the server's lines; leaving the generator closes the connection."""
        async with await self._connect(deployment, timeouts) as connection:
            body = {
                "key": self._key.reveal(),
                "model": deployment.model,
                "messages": request.messages,
                "params": request.params,
            }
            await connection.send(json.dumps(body).encode() + b"\n")
            lines = BufferedByteReceiveStream(connection)
            while True:
                line = await self._line(lines, deployment)
                yield line
                if "end" in line:
                    return

    async def _connect(self, deployment: Deployment, timeouts: Timeouts) -> SocketStream:
        host, port = self._address
        if forbidden_host(f"tcp://{host}:{port}"):
            problem = f"real calls are forbidden; unset {LOOPBACK_ONLY} to call {host}"
            raise ConnectionFailed(problem, deployment=deployment.name, disposition=Disposition.FALLBACK)
        try:
            with anyio.fail_after(timeouts.connect_s):
                return await anyio.connect_tcp(host, port)
        except TimeoutError:
            raise AttemptTimedOut(f"no connection in {timeouts.connect_s} s", deployment=deployment.name) from None
        except OSError as error:
            raise ConnectionFailed(f"{host}:{port}: {error.strerror or error}", deployment=deployment.name) from error

    async def _line(self, lines: BufferedByteReceiveStream, deployment: Deployment) -> dict[str, Any]:
        try:
            line = json.loads(await lines.receive_until(b"\n", MAX_LINE))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError) as error:
            raise StreamInterrupted("the server left before the end", deployment=deployment.name) from error
        except (ValueError, anyio.DelimiterNotFound) as error:
            raise MalformedResponse("not a line of JSON", deployment=deployment.name) from error
        if not isinstance(line, dict):
            raise MalformedResponse("not a JSON object", deployment=deployment.name)
        if "error" in line:
            raise self._error(line, deployment)
        return line

    def _error(self, line: dict[str, Any], deployment: Deployment) -> AsyncRouterError:
        kind = ERRORS.get(line["error"], ServerError)
        message = redact(str(line.get("message", line["error"])), self._key.reveal())
        return kind(message, deployment=deployment.name, retry_after_s=line.get("retry_after_s"))
