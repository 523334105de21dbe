"""The key on its way into a header: never a local variable, never in a message."""

from __future__ import annotations

from collections import deque

from asyncrouter.providers.errors import told
from asyncrouter.providers.settings import Settings, is_key
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import AuthenticationFailed
from asyncrouter.types.secrets import Secret

REMEMBERED = 8
"""Keys: a callable may return another one each time, and an upstream may echo any that is still in use."""


class Credentials:
    """What is added to the headers: once a session for a key from the environment, once a call for a callable."""

    __slots__ = ("_called", "_header", "_key", "_used")

    def __init__(self, settings: Settings) -> None:
        self._key = settings.key
        self._called = settings.key_is_called
        self._header = settings.preset.key_header
        self._used: deque[Secret] = deque(maxlen=REMEMBERED)
        if settings.key is not None and not settings.key_is_called:
            self._used.append(settings.key)

    def of_session(self) -> dict[str, str]:
        """Return the header that every request has; empty when there is none or the key is asked for anew."""
        return {} if self._key is None or self._called else self._as_header(self._key)

    def of_call(self, deployment: Deployment) -> dict[str, str] | None:
        """Return the header of one call where the key is asked for anew, else ``None``.

        Raises :class:`~asyncrouter.types.errors.AuthenticationFailed` when the callable raises or returns no key.
        """
        if self._key is None or not self._called:
            return None
        try:
            key = Secret(self._key.reveal())
            problem = "" if is_key(key.reveal()) else "returned no key"
        except Exception as error:  # a stranger's callable may raise anything, and its message may hold the key
            problem = f"raised {type(error).__name__}"
        if problem:
            text = f"the callable given as api_key {problem}"
            raise AuthenticationFailed(told(deployment, text), deployment=deployment.name)
        self._used.append(key)
        return self._as_header(key)

    def revealed(self) -> tuple[str, ...]:
        """Return the keys that an upstream may echo."""
        return tuple(key.reveal() for key in self._used)

    def _as_header(self, key: Secret) -> dict[str, str]:
        if self._header == "authorization":
            return {"Authorization": f"Bearer {key.reveal()}"}
        return {self._header: key.reveal()}
