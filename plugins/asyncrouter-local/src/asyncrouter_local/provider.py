"""The provider: starts the server when it is first needed, and speaks to it as to any OpenAI-compatible one."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from asyncrouter.providers.openai_compatible import OpenAICompatible
from asyncrouter.providers.presets import PRESETS
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ConnectionFailed, Disposition
from asyncrouter.types.request import Request
from asyncrouter.types.response import Chunk, Response
from asyncrouter_local.options import checked_options
from asyncrouter_local.server import ServerProcess, StartFailed


class LocalProvider:
    """A GGUF model on this machine, served by llama.cpp.

    ``model_path``: the file, by default the installed SmolLM2; ``threads``: by default one less than the processors;
    ``n_ctx``: the context window of each slot, in tokens; ``n_parallel``: calls at once, others wait in line;
    ``alias``: the model's name in answers, by default the file's; ``seed``: for repeatable answers; ``port``: by
    default any free one.

    The first call starts the server; one that has died is started again by the next call; one that was stopped
    with :meth:`stop` stays down, its port refusing connections, until :meth:`start`.  Raises
    :class:`~asyncrouter.types.errors.ConfigError` when the server's package or the model is missing.
    """

    def __init__(
        self,
        *,
        name: str,
        model_path: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        n_ctx: int = 2048,
        n_parallel: int = 2,
        alias: str | None = None,
        seed: int | None = None,
        port: int = 0,
    ) -> None:
        self.name = name
        self._options = checked_options(
            model_path=model_path,
            threads=threads,
            n_ctx=n_ctx,
            n_parallel=n_parallel,
            alias=alias,
            seed=seed,
            port=port,
        )
        self._guard = threading.Lock()  # event loops in several threads may share a provider; held for moments only
        self._process: ServerProcess | None = None
        self._stopped = False
        self._url = ""
        self._upstream: OpenAICompatible | None = None

    @property
    def base_url(self) -> str | None:
        """Where the server is, or last was; ``None`` before its first start."""
        return f"{self._url}/v1" if self._url else None

    @property
    def running(self) -> bool:
        """Whether the server runs and accepts."""
        process = self._process
        return process is not None and process.accepts and process.alive

    @property
    def pid(self) -> int | None:
        """The id of the server's process, ``None`` when there is none."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> str:
        """Start the server unless it runs, and return its base URL; on the port it had before, if that is free.

        Raises :class:`~asyncrouter.types.errors.ConnectionFailed` when it does not start.  Cancelling the wait leaves
        it starting, for the next call.
        """
        self._stopped = False
        await self._ensure_running()
        return f"{self._url}/v1"

    async def stop(self) -> None:
        """Stop the server: calls under way lose their connections, later ones are refused until :meth:`start`."""
        with self._guard:
            self._stopped = True
            process, self._process = self._process, None
        if process is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(process.kill)

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        """Return the whole answer; see :class:`~asyncrouter.providers.base.Provider`."""
        upstream = await self._reachable(deployment.name)
        return await upstream.complete(request, deployment, timeouts)

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        """Yield the answer's chunks; see :class:`~asyncrouter.providers.base.Provider`."""
        upstream = await self._reachable(deployment.name)
        async with aclosing(upstream.stream(request, deployment, timeouts)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        """Stop the server and close the connections to it."""
        await self.stop()
        if self._upstream is not None:
            await self._upstream.aclose()

    async def _reachable(self, deployment: str) -> OpenAICompatible:
        if not self.running and not (self._stopped and self._upstream):
            await self._ensure_running(deployment)
        assert self._upstream is not None  # noqa: S101 (a server that runs or ran has an address)
        return self._upstream

    async def _ensure_running(self, deployment: str | None = None) -> None:
        dead = None
        with self._guard:
            process = self._process
            if self._stopped:
                raise self._failure("it is stopped", deployment)
            if process is None or not process.alive:
                dead, process = process, ServerProcess(self._options, urlsplit(self._url).port or 0)
                self._process = process
        if dead is not None:
            dead.kill()
        try:
            url = await process.ready()
        except StartFailed as error:
            self._forget(process)
            why = "it was stopped while it started" if self._stopped else str(error)
            raise self._failure(why, deployment) from error
        await self._point_at(url)

    async def _point_at(self, url: str) -> None:
        with self._guard:
            if url == self._url:
                return
            before = self._upstream
            self._upstream = OpenAICompatible(name=self.name, base_url=f"{url}/v1", preset=PRESETS["llamacpp"])
            self._url = url
        if before is not None:
            await before.aclose()

    def _forget(self, process: ServerProcess) -> None:
        with self._guard:
            if self._process is process:
                self._process = None
        process.kill()

    def _failure(self, why: str, deployment: str | None) -> ConnectionFailed:
        return ConnectionFailed(
            f"the local server of {self.name!r} does not run: {why}",
            deployment=deployment,
            disposition=Disposition.FALLBACK,
        )
