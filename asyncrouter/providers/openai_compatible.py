"""The provider for every server that speaks OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from asyncrouter.providers.answers import NoAnswer, checked_completion
from asyncrouter.providers.chunks import ChunkReader
from asyncrouter.providers.codec import NotJson, decode, encode
from asyncrouter.providers.credentials import Credentials
from asyncrouter.providers.errors import bare, error_from, request_id_of, told
from asyncrouter.providers.headers import HeaderNames
from asyncrouter.providers.presets import PRESETS, Preset
from asyncrouter.providers.settings import Checker, Settings
from asyncrouter.types.allowances import Allowances
from asyncrouter.types.deployments import Deployment, Timeouts
from asyncrouter.types.errors import ContentFiltered, MalformedResponse, ProviderError
from asyncrouter.types.request import EMPTY, Request
from asyncrouter.types.response import NO_USAGE, Chunk, Response, new_response, usage_of

if TYPE_CHECKING:
    from asyncrouter.providers.exchange import Exchange
    from asyncrouter.providers.transport import Transport

MAX_RESPONSE_BYTES = 32 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
ERROR_BODY_S = 2.0
"""How long the body of an error is waited for; its status is known already."""
_WITH_ANSWER = frozenset({200, 201, 203})
_FIRST_REFUSAL = 300


class OpenAICompatible:
    """A :class:`~asyncrouter.providers.base.Provider` for one server.

    Arguments, all by keyword, of which a preset fills in what is left out:

    ``name``: the provider's name in messages.  ``base_url``: the part of the address before ``/chat/completions``.
    ``api_key_env``: the environment variable of the key; ``api_key``: a callable that returns the key, asked before
    each call (a rotating token); either may be a list, whose first key serves until an upstream refuses it (see
    :mod:`asyncrouter.providers.keys`).  ``headers``: sent with each request; ``params``: laid under the parameters of
    each request; ``organization``, ``project``: OpenAI's headers of that name; ``api_version``: Azure's dated API.
    ``proxy``: an http(s) address; ``trust_env``: take the proxy from HTTPS_PROXY and the like (``.netrc`` is never
    read).  ``ca_file``: certificates in PEM form to trust in place of the system's; verification has no switch.
    ``max_response_bytes``: the largest answer after decompression (a stream: 16 times that).  ``finish_grace_s``: how
    long a stream waits for the usage after its last finish reason.

    Raises :class:`~asyncrouter.types.errors.ConfigError` with every fault at once.  Nothing is opened before the first
    call; each event loop gets connections of its own.
    """

    calls_routers = False

    def __init__(
        self,
        *,
        name: str,
        base_url: str | None = None,
        api_key_env: str | Sequence[str] | None = None,
        api_key: Callable[[], str] | Sequence[Callable[[], str]] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        ca_file: str | os.PathLike[str] | None = None,
        organization: str | None = None,
        project: str | None = None,
        api_version: str | None = None,
        finish_grace_s: float = 1.0,
        preset: Preset = PRESETS["openai"],
    ) -> None:
        check = Checker(preset)
        url = check.base_url(base_url)
        proxy_cure = 'write something like "http://proxy.example:3128"; for one with a password set trust_env'
        self._settings = Settings(
            name=name,
            preset=preset,
            base_url=url,
            keys=check.keys(api_key, api_key_env, url),
            headers=check.headers(headers, organization, project),
            params=check.params(params),
            proxy=None if proxy is None else check.url("proxy", proxy, proxy_cure),
            trust_env=check.flag("trust_env", trust_env),
            max_response_bytes=check.positive("max_response_bytes", max_response_bytes, "33554432"),
            tls=check.tls(ca_file),
            api_version=check.api_version(api_version),
            finish_grace_s=check.positive("finish_grace_s", finish_grace_s, "1.0"),
        )
        check.raise_faults()
        self._credentials = Credentials(self._settings)
        self._transport: Transport | None = None
        self._header_names = HeaderNames()
        with_usage = {"stream_options": {"include_usage": True}} if preset.stream_options else {}
        self._stream_fields: Mapping[str, Any] = {"stream": True, **with_usage}

    def __repr__(self) -> str:
        return f"OpenAICompatible(name={self._settings.name!r}, base_url={self._settings.base_url!r})"

    async def complete(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> Response:
        """Send *request* to *deployment* and return the whole answer, its unknown fields included.

        An answer that is empty, broken or no chat completion is a
        :class:`~asyncrouter.types.errors.MalformedResponse`; one that a content policy stopped is
        :class:`~asyncrouter.types.errors.ContentFiltered`.
        """
        try:
            sent = self._encoded(request, deployment, stream=False)
            exchange = await (self._transport or self._opened()).post(sent, request, deployment, timeouts.connect_s)
            try:
                if exchange.status not in _WITH_ANSWER:
                    raise await self._error(exchange, deployment)
                body = await self._completion(exchange, deployment)
            finally:
                exchange.close()
        except ProviderError as error:
            raise bare(error) from None
        kept, allowances = self._told(exchange)
        return new_response(
            raw=body,
            deployment=deployment.name,
            model=deployment.model,
            usage=usage_of(body) or NO_USAGE,
            headers=kept,
            allowances=allowances,
        )

    async def stream(self, request: Request, deployment: Deployment, timeouts: Timeouts) -> AsyncGenerator[Chunk, None]:
        """Send *request* and yield the answer's chunks as they come.

        Usage is always asked for.  The chunk that holds it, with ``choices == []``, is yielded as it is: it belongs to
        the engine, which drops it unless the caller's own ``stream_options`` asked for ``include_usage``.  A whole
        completion sent in place of a stream is yielded as one chunk and the usage.
        """
        async with contextlib.aclosing(self.reads(request, deployment, timeouts)) as reads:
            async for chunks in reads:
                for chunk in chunks:
                    yield chunk

    async def reads(
        self, request: Request, deployment: Deployment, timeouts: Timeouts
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """Yield what :meth:`stream` yields, all chunks of a network read at once."""
        try:
            sent = self._encoded(request, deployment, stream=True)
            exchange = await (self._transport or self._opened()).post(sent, request, deployment, timeouts.connect_s)
            try:
                if exchange.status not in _WITH_ANSWER:
                    raise await self._error(exchange, deployment)
                reader = self._reader(exchange, request, deployment)
                _, allowances = self._told(exchange)
                while (chunks := await reader.read()) is not None:
                    if chunks and allowances is not None:
                        chunks = [attrs.evolve(chunks[0], allowances=allowances), *chunks[1:]]
                        allowances = None
                    if chunks:
                        yield chunks
            finally:
                exchange.close()
        except ProviderError as error:
            raise bare(error) from None

    async def aclose(self) -> None:
        """Close the connections of every event loop, as far as it still runs or is closed."""
        if self._transport is not None:
            await self._transport.aclose()

    def _opened(self) -> Transport:
        from asyncrouter.providers.transport import Transport  # 130 ms, and wanted by whoever really calls

        self._transport = Transport(self._settings, self._credentials)
        return self._transport

    def _told(self, exchange: Exchange) -> tuple[Mapping[str, str], Allowances | None]:
        """Return what is kept of the headers, and what is left of the limits: of a key of several it is not told."""
        kept, allowances = self._header_names.told(exchange.headers, time.time())
        return kept, None if len(self._settings.keys) > 1 else allowances

    def _reader(self, exchange: Exchange, request: Request, deployment: Deployment) -> ChunkReader:
        wanted = request.params.get("n")
        return ChunkReader(
            exchange,
            refuse=lambda refusal: self._refused(refusal, exchange, deployment),
            malformed=lambda text: self._malformed(text, exchange, deployment),
            choices=wanted if isinstance(wanted, int) else 1,
            grace_s=self._settings.finish_grace_s,
            max_bytes=self._settings.max_response_bytes,
        )

    def _encoded(self, request: Request, deployment: Deployment, *, stream: bool) -> bytes:
        """Return the request's body: the caller's parameters as they are, but for what the call itself decides."""
        preset = self._settings.preset
        if not (request.params or self._settings.params):
            fields = self._stream_fields if stream else EMPTY
            return encode({"model": deployment.model, "messages": request.messages, **fields})
        body: dict[str, Any] = {"model": "", "messages": (), **self._settings.params, **request.params}
        for rename in preset.renames:
            if rename.old in body and (rename.models is None or rename.models.match(deployment.model)):
                body.setdefault(rename.new, body.pop(rename.old))
        body["model"] = deployment.model
        body["messages"] = request.messages
        options = body.pop("stream_options", None)
        body.pop("stream", None)
        if stream:
            body |= self._stream_fields
            if preset.stream_options and isinstance(options, Mapping):
                body["stream_options"] = {**options, "include_usage": True}
        return encode(body)

    async def _completion(self, exchange: Exchange, deployment: Deployment) -> Mapping[str, Any]:
        limit = self._settings.max_response_bytes
        body = await exchange.read()
        if not exchange.at_end:
            body = await _with_rest(body, exchange, limit)
        if len(body) > limit:
            raise self._malformed(f"the answer is longer than {limit} bytes", exchange, deployment)
        try:
            return checked_completion(decode(body))
        except NotJson:
            kind = exchange.headers.get("content-type", "unknown")
            raise self._malformed(f"the answer is no JSON (content type: {kind})", exchange, deployment) from None
        except NoAnswer as refusal:
            raise self._refused(refusal, exchange, deployment) from None

    async def _error(self, exchange: Exchange, deployment: Deployment) -> ProviderError:
        if exchange.status < _FIRST_REFUSAL:
            return self._malformed("the status promises no answer", exchange, deployment)
        body = bytearray()
        with contextlib.suppress(TimeoutError, ProviderError):
            async with asyncio.timeout(ERROR_BODY_S):
                while len(body) < MAX_ERROR_BYTES and (data := await exchange.read()):
                    body += data
        return self._error_of(exchange, bytes(body[:MAX_ERROR_BYTES]), deployment)

    def _error_of(self, exchange: Exchange, body: object, deployment: Deployment) -> ProviderError:
        error = error_from(
            exchange.status,
            exchange.headers,
            body,
            deployment=deployment,
            hidden=exchange.hidden(),
            wall_now=time.time(),
        )
        return self._credentials.noted(error, exchange.key, deployment)

    def _refused(self, refusal: NoAnswer, exchange: Exchange, deployment: Deployment) -> ProviderError:
        """Return the error for a body that holds no answer."""
        if refusal.error is not None:
            return self._error_of(exchange, refusal.error, deployment)
        if not refusal.filtered:
            return self._malformed(str(refusal), exchange, deployment)
        return ContentFiltered(
            told(deployment, str(refusal)),
            deployment=deployment.name,
            status=exchange.status,
            request_id=request_id_of(exchange.headers, exchange.hidden()),
        )

    def _malformed(self, text: str, exchange: Exchange, deployment: Deployment) -> MalformedResponse:
        hidden = exchange.hidden()
        return MalformedResponse(
            told(deployment, f"{exchange.status} {text}", hidden),
            deployment=deployment.name,
            status=exchange.status,
            request_id=request_id_of(exchange.headers, hidden),
        )


async def _with_rest(begun: bytes, exchange: Exchange, limit: int) -> bytes:
    """Return the body that has *begun*, or a beginning of it that is longer than *limit* bytes."""
    pieces = [begun]
    size = len(pieces[0])
    while size <= limit and not exchange.at_end:
        pieces.append(await exchange.read())
        size += len(pieces[-1])
    return b"".join(pieces)
