"""What aiohttp raises, as the errors of this package; imported with the transport alone.

aiohttp's errors hold the request's headers, and the key with them: :func:`~asyncrouter.providers.errors.bare` takes
them off.
"""

from __future__ import annotations

import aiohttp
from aiohttp.http import HttpProcessingError

from asyncrouter.providers.errors import told, with_cure
from asyncrouter.providers.hiding import Hidden
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import (
    AttemptTimedOut,
    AuthenticationFailed,
    ConnectionFailed,
    Disposition,
    MalformedResponse,
    ProviderError,
)

_PROXY_AUTHENTICATION_REQUIRED = 407
RAISED = (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError, ValueError)
"""What aiohttp lets out: its own errors, the system's, "Connector is closed", and what it makes of strange input."""


def failure_of_sending(error: Exception, deployment: Deployment, hidden: Hidden, connect_s: float) -> ProviderError:
    """Return our error for what aiohttp raised before the head of an answer had come."""
    failure = _failure_before_head(error, deployment, hidden, connect_s)
    failure.sent = not isinstance(error, _WITHOUT_CONNECTION)
    return failure


def _failure_before_head(error: Exception, deployment: Deployment, hidden: Hidden, connect_s: float) -> ProviderError:
    name = deployment.name
    if isinstance(error, TimeoutError) and error.errno is None:  # the bound of connecting: there is none after it
        return AttemptTimedOut(told(deployment, f"no connection within connect_s = {connect_s:g} s"), deployment=name)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        kind = AuthenticationFailed if error.status == _PROXY_AUTHENTICATION_REQUIRED else ConnectionFailed
        return kind(told(deployment, f"the proxy answered {error.status} {error.message}", hidden), deployment=name)
    if isinstance(error, (aiohttp.ClientResponseError, HttpProcessingError)):
        text = f"the answer is no HTTP that can be read: {error.message}"
        return MalformedResponse(told(deployment, text, hidden), deployment=name)
    return _connection_failure(error, deployment, hidden)


_WITHOUT_CONNECTION = (aiohttp.ClientConnectorError, TimeoutError)
"""What tells that no connection came about; a connection that is lost to a timeout is a ``ClientOSError``."""
_HOPELESS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str], ...] = (
    (
        aiohttp.ClientConnectorCertificateError,
        "the TLS certificate was refused",
        "check base_url, or name the authority to trust as ca_file",
    ),
    (
        (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch),
        "the TLS handshake failed",
        "check the scheme and port of base_url",
    ),
    (aiohttp.ClientConnectorDNSError, "the host's name was not found", "check base_url"),
)
"""What the same deployment would only repeat, the first that fits, and what in the configuration may be at fault."""


def _connection_failure(error: Exception, deployment: Deployment, hidden: Hidden) -> ConnectionFailed:
    lost = False
    disposition = Disposition.FALLBACK
    what, cure = next(((text, cure) for kind, text, cure in _HOPELESS if isinstance(error, kind)), ("", ""))
    if not what:
        disposition = Disposition.RETRY
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            what = "no connection to the proxy"
        elif isinstance(error, aiohttp.ClientConnectorError):
            what = "no connection"
        elif isinstance(error, aiohttp.ServerDisconnectedError):
            what = "the connection was closed before the answer"
            lost = isinstance(error.message, str)  # otherwise it holds the part of the head that had come
        elif isinstance(error, OSError):
            what, lost = "the connection was lost before the answer", True
        elif isinstance(error, aiohttp.ClientConnectionError):
            what = "the connection failed"
        else:
            what, disposition = "the call failed", Disposition.FALLBACK
    failed = ConnectionFailed(
        told(deployment, f"{what}: {_reason_of(error)}", hidden),
        deployment=deployment.name,
        disposition=disposition,
        lost_before_answer=lost,
    )
    return with_cure(failed, cure) if cure else failed


def _reason_of(error: Exception) -> str:
    """Return why, in the system's words; aiohttp's own texts hold addresses and whole heads."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
    return getattr(error, "strerror", None) or type(error).__name__


def failure_of_body(error: Exception, deployment: Deployment, hidden: Hidden) -> ProviderError:
    """Return our error for what aiohttp raised while the body was read."""
    if isinstance(error, (aiohttp.ClientPayloadError, HttpProcessingError)):
        cause = error.__cause__ or error
        text = f"the answer broke off or is damaged: {getattr(cause, 'message', cause)}"
        return MalformedResponse(told(deployment, text, hidden), deployment=deployment.name)
    text = f"the connection was lost within the answer: {type(error).__name__}"
    return ConnectionFailed(told(deployment, text, hidden), deployment=deployment.name)
