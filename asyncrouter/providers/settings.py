"""The settings of a provider, checked as a whole: every fault is told at once, with its place and its cure.

Nothing of a key is ever shown: it comes from the environment or from a callable, and is held as a
:class:`~asyncrouter.types.secrets.Secret`.
"""

from __future__ import annotations

import os
import re
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urlsplit

import attrs

from asyncrouter.providers.codec import encode
from asyncrouter.providers.presets import Preset
from asyncrouter.types.errors import ConfigError, ConfigFault, InvalidRequest
from asyncrouter.types.request import EMPTY
from asyncrouter.types.secrets import Secret
from asyncrouter.version import VERSION

N = TypeVar("N", int, float)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_KEY = re.compile(r"[\x21-\x7e]+")
_FORBIDDEN_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"})
_FRAMING_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type", "host", "te",
     "transfer-encoding", "upgrade"}
)  # fmt: skip
_RESERVED_PARAMS = ("model", "messages", "stream")


@attrs.frozen
class Key:
    """One key: ``place`` names its environment variable or the argument it was given as; ``called``: by a callable."""

    place: str
    secret: Secret
    called: bool = False


@attrs.frozen(kw_only=True)
class Settings:
    """A provider's settings, checked.  ``headers`` are sent with every request; one of ``keys`` is added to them."""

    name: str
    preset: Preset
    base_url: str
    keys: tuple[Key, ...] = ()
    headers: Mapping[str, str] = attrs.field(default=EMPTY, repr=False)
    params: Mapping[str, Any] = attrs.field(default=EMPTY, repr=False)
    proxy: str | None = None
    trust_env: bool = False
    max_response_bytes: int
    tls: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    api_version: str | None = None
    finish_grace_s: float

    def url_for(self, model: str) -> str:
        """Return the address of a call to *model*."""
        path = self.preset.path
        if self.api_version is None:
            # Whoever gives the whole prefix of the path means the same address.
            prefix = path.removesuffix("/chat/completions")
            return self.base_url.removesuffix(prefix) + path
        assert self.preset.versioned_path is not None  # noqa: S101 - checked with api_version; said for mypy
        path = self.preset.versioned_path.format(model=quote(model, safe=""))
        return f"{self.base_url}{path}?api-version={quote(self.api_version, safe='')}"


class Checker:
    """Collects the faults of one provider's settings."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        self._faults: list[ConfigFault] = []

    def fault(self, path: str, message: str, cure: str) -> None:
        """Note one fault."""
        self._faults.append(ConfigFault(path, message, cure))

    def raise_faults(self) -> None:
        """Raise :class:`~asyncrouter.types.errors.ConfigError` with every fault noted, if there is any."""
        if self._faults:
            raise ConfigError(faults=self._faults)

    def url(self, path: str, value: object, cure: str) -> str:
        """Return the http(s) address *value* without a slash at its end."""
        problem = _problem_of_url(value)
        if problem:
            self.fault(path, problem, cure)
            return ""
        return str(value).rstrip("/")

    def base_url(self, value: object) -> str:
        """Return the base URL: *value*, or the preset's."""
        preset = self._preset
        cure = f'write something like "{preset.base_url or "https://NAME.openai.azure.com"}"'
        if value is None:
            if preset.base_url is None:
                self.fault("base_url", "is missing", cure)
            return preset.base_url or ""
        url = self.url("base_url", value, cure)
        if url.endswith("/chat/completions"):
            self.fault("base_url", "ends in /chat/completions, which is added to it", "leave that part out")
        return url

    def keys(self, api_key: object, api_key_env: object, base_url: str) -> tuple[Key, ...]:
        """Return the keys: what the callables return, or the values of the environment variables.

        The preset's own variable is read only where the preset's own origin is called (or where it has none): a key
        must not go to a server that it was not made for.
        """
        if api_key is not None:
            return tuple(self._called_keys(api_key, api_key_env))
        preset = self._preset
        if api_key_env is None:
            if preset.key_env is None or (preset.base_url and _origin(base_url) != _origin(preset.base_url)):
                return ()
            return tuple(self._keys_from("api_key_env", preset.key_env, required=preset.key_required))
        variables = list(_each("api_key_env", api_key_env))
        counted = Counter(variable for _, variable in variables if isinstance(variable, str))
        for variable, count in counted.items():
            if count > 1:
                self.fault("api_key_env", f"names {variable} {count} times", "name each key once")
        if not variables:
            self.fault("api_key_env", "names no variable", 'write api_key_env = "MY_KEY", or leave it out')
        return tuple(key for path, variable in variables for key in self._keys_from(path, variable, required=True))

    def _called_keys(self, api_key: object, api_key_env: object) -> Iterator[Key]:
        named = api_key_env if isinstance(api_key_env, str) else None
        variable = named or self._preset.key_env or "MY_KEY"
        cure = f'put it into an environment variable and write api_key_env = "{variable}"'
        if api_key_env is not None:
            self.fault("api_key", "stands beside api_key_env", "give one of the two")
        given = list(_each("api_key", api_key))
        if not given:
            self.fault("api_key", "holds no callable", "give one, or leave it out")
        for path, get in given:
            if callable(get):
                yield Key(path, Secret(get), called=True)
            else:
                self.fault(path, "a key is not written into a configuration", cure)

    def _keys_from(self, path: str, variable: object, *, required: bool) -> Iterator[Key]:
        """Yield the key of one environment variable, if there is one."""
        if not isinstance(variable, str) or not variable:
            self.fault(path, "expected the name of an environment variable", 'write api_key_env = "MY_KEY"')
            return
        value = os.environ.get(variable, "").strip()
        if is_key(value):
            yield Key(variable, Secret(value))
        elif value:
            self.fault(path, f"{variable} holds characters that no key has", f"export {variable} again")
        elif required:
            cure = f"export {variable}=… or set api_key_env"
            self.fault(path, f"the environment variable {variable} is not set", cure)

    def headers(self, value: object, organization: object, project: object) -> dict[str, str]:
        """Return the headers of every request, without the key."""
        found = {"Content-Type": "application/json", "User-Agent": f"asyncrouter/{VERSION}"}
        given: list[tuple[str, object, object]] = []
        if isinstance(value, Mapping):
            given += [(f"headers.{name}", name, text) for name, text in value.items()]
        elif value is not None:
            self.fault("headers", f"expected a table, not {type(value).__name__}", 'write { "X-Name" = "value" }')
        if organization is not None:
            given.append(("organization", "OpenAI-Organization", organization))
        if project is not None:
            given.append(("project", "OpenAI-Project", project))
        for path, name, text in given:
            if self._header_is_right(path, name, text):
                found[str(name)] = str(text)
        return found

    def _header_is_right(self, path: str, name: object, text: object) -> bool:
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            self.fault("headers", "holds a name that no header may have", "use letters, digits and hyphens")
        elif name.lower() in _SECRET_HEADERS:
            self.fault(path, "a key is not written into a configuration", "use api_key_env")
        elif name.lower() in _FRAMING_HEADERS:
            self.fault(path, "is set by the connection itself", "leave it out")
        elif not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            self.fault(path, "is no text of one line", "remove line breaks and control characters")
        else:
            return True
        return False

    def params(self, value: object) -> Mapping[str, Any]:
        """Return the parameters laid under those of every request."""
        if value is None:
            return EMPTY
        if not isinstance(value, Mapping):
            self.fault("params", f"expected a table, not {type(value).__name__}", "write { temperature = 0 }")
            return EMPTY
        for name in _RESERVED_PARAMS:
            if name in value:
                self.fault(f"params.{name}", "is set by the call", "leave it out")
        try:
            encode(value)
        except InvalidRequest as error:
            self.fault("params", str(error), "use text, numbers, lists and tables")
        return dict(value)

    def positive(self, path: str, value: N, example: str) -> N:
        """Return *value*, a positive number."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            self.fault(path, "expected a positive number", f"write something like {example}")
        return value

    def flag(self, path: str, value: Any) -> bool:
        """Return *value*, true or false."""
        if not isinstance(value, bool):
            self.fault(path, f"expected true or false, not {type(value).__name__}", f"write {path} = true")
        return value is True

    def tls(self, ca_file: object) -> ssl.SSLContext | None:
        """Return a context that trusts *ca_file* and nothing else; ``None`` stands for the system's authorities."""
        if ca_file is None:
            return None
        cure = "name a file with certificates in PEM form"
        if not isinstance(ca_file, (str, os.PathLike)):
            self.fault("ca_file", f"expected a path, not {type(ca_file).__name__}", cure)
            return None
        try:
            return ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            self.fault("ca_file", f"{os.fspath(ca_file)}: {error.strerror or type(error).__name__}", cure)
            return None

    def api_version(self, value: object) -> str | None:
        """Return the API version, where the preset knows such a thing."""
        if value is None:
            return None
        if self._preset.versioned_path is None:
            self.fault("api_version", f"{self._preset.name} has none", 'leave it out, or use kind = "azure"')
            return None
        if not isinstance(value, str) or not value:
            self.fault("api_version", "expected text", 'write api_version = "2024-10-21"')
            return None
        return value


def is_key(value: object) -> bool:
    """Tell whether *value* can be sent as a key: visible ASCII characters only."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def _each(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield *value*, or each item of the list that it is, with its place."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        yield path, value


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _problem_of_url(value: object) -> str:
    """Return what is wrong with an address, "" when nothing is."""
    if not isinstance(value, str):
        return f"expected an address, not {type(value).__name__}"
    if _FORBIDDEN_IN_URL.search(value):
        return "holds a space, a backslash or a control character"
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        return "is no address"
    return _problem_of_parts(parts, value)


def _problem_of_parts(parts: SplitResult, value: str) -> str:
    if parts.scheme not in {"http", "https"}:
        return "does not begin with http:// or https://"
    if "@" in parts.netloc:
        return "holds a user name or a password"
    if not parts.hostname:
        return "names no host"
    return "holds a query or a fragment" if "?" in value or "#" in value else ""
