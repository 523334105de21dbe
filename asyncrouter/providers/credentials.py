"""The keys on their way into a header: never a local variable, never in a message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from asyncrouter.providers.errors import E, told
from asyncrouter.providers.hiding import Hidden
from asyncrouter.providers.keys import KeyRing, refusal_of
from asyncrouter.providers.settings import Settings, is_key
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.errors import AuthenticationFailed, Disposition, QuotaExhausted
from asyncrouter.types.request import EMPTY, Request
from asyncrouter.types.secrets import Secret

REMEMBERED = 8
"""Keys a callable: it may return another one each time, and an upstream may echo any that is still in use."""


class Credentials:
    """What is added to the headers: once an address for a single key from the environment, once a call otherwise."""

    __slots__ = ("_header", "_keys", "_ring", "_same_for_all", "_used")

    def __init__(self, settings: Settings) -> None:
        self._keys = settings.keys
        self._header = settings.preset.key_header
        self._same_for_all = len(self._keys) == 1 and not self._keys[0].called
        self._ring = KeyRing(len(self._keys))
        self._used: deque[Secret] = deque(maxlen=REMEMBERED * max(1, len(self._keys)))
        self._used.extend(key.secret for key in self._keys if not key.called)

    @property
    def header(self) -> str:
        """The name of the header that a key is sent in, in lower case; "" when there are no keys."""
        return self._header.lower() if self._keys else ""

    def of_all(self) -> dict[str, str]:
        """Return the header that every request has; empty when there is none, or one a call."""
        return self._as_header(self._keys[0].secret) if self._same_for_all else {}

    def of_call(self, deployment: Deployment) -> tuple[int, Mapping[str, str]]:
        """Return the number of the key to send to *deployment* now, and its header; none where all calls have the same.

        Raises :class:`~asyncrouter.types.errors.AuthenticationFailed` when its callable raises or returns no key.
        """
        if self._same_for_all or not self._keys:
            return 0, EMPTY
        number = self._ring.choose(deployment.model, _now()) if self._ring.size > 1 else 0
        key = self._keys[number]
        if not key.called:
            return number, self._as_header(key.secret)
        try:
            secret = Secret(key.secret.reveal())
            problem = "" if is_key(secret.reveal()) else "returned no key"
        except Exception as error:  # a stranger's callable may raise anything, and its message may hold the key
            problem = f"raised {type(error).__name__}"
        if problem:
            text = f"the callable given as {key.place} {problem}"
            failed = AuthenticationFailed(told(deployment, text), deployment=deployment.name)
            raise failed if self._ring.size == 1 else self.noted(failed, number, deployment)
        self._used.append(secret)
        return number, self._as_header(secret)

    def noted(self, error: E, number: int, deployment: Deployment) -> E:
        """Return *error*, the upstream's answer to the key of that *number*, with what it means for the other keys.

        A refused key is set aside.  Where others are ready, the error names it, says how many there are and permits to
        ask again; where none is, it names them all, and after how long the first may be tried again.
        """
        refusal = refusal_of(error, deployment.model)
        if refusal is None:
            return error
        ring, now = self._ring, _now()
        ring.set_aside(number, refusal, now)
        if ring.size > 1:
            error.allowances = None  # they are those of the one key
        error.other_keys = ring.ready(deployment.model, now)
        if error.other_keys:
            error.disposition = Disposition.RETRY
            error.retry_after_s = None  # this key's patience: the deployment need not wait
            error.args = (f"{error}; it was the key of {self._keys[number].place}",)
            return error
        told_to_wait = error.retry_after_s is not None or isinstance(error, QuotaExhausted)
        if told_to_wait and (ring.size > 1 or error.retry_after_s is None):
            error.retry_after_s = ring.first_ready_at(deployment.model) - now
        if isinstance(error, (AuthenticationFailed, QuotaExhausted)):
            error.args = (f"{error}; {self._lament(deployment)}",)
        return error

    def hidden(self, request: Request) -> Hidden:
        """Return what an upstream may echo of *request* and of the keys."""
        return Hidden(tuple(secret.reveal() for secret in self._used), request.messages)

    def _lament(self, deployment: Deployment) -> str:
        if not self._keys:
            return "no key was sent: set api_key_env"
        places = ", ".join(key.place for key in self._keys)
        return f"every key of provider {deployment.provider!r} was refused: {places}"

    def _as_header(self, key: Secret) -> dict[str, str]:
        if self._header == "authorization":
            return {"Authorization": f"Bearer {key.reveal()}"}
        return {self._header: key.reveal()}


def _now() -> float:
    return asyncio.get_running_loop().time()
