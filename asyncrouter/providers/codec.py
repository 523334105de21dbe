"""JSON to and from the wire: orjson where it is installed, the standard library otherwise, with the same results.

What we send is checked: no NaN, no infinity, no half characters, nothing that JSON does not know; the error names the
place and never the value, which may be a prompt.  What we receive is never trusted: depth, numbers and text that would
harm later are refused or mended.
"""

from __future__ import annotations

import enum
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from asyncrouter.types.errors import InvalidRequest

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment, unused-ignore]

MAX_DEPTH = 200
"""Levels of nesting that are sent; orjson itself stops at 254."""
ORJSON_BUFFER = 8192
"""Bytes that orjson writes into, and keeps with a shorter result (``benchmarks/memory.py``)."""
_WORD = re.compile(r"[A-Za-z_][\w.-]{0,39}", re.ASCII)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


class NotJson(ValueError):
    """What was received is no JSON.  The message tells no content."""


def encode(body: Mapping[str, Any]) -> bytes:
    """Return *body* as UTF-8 JSON.

    Mappings and sequences of any class, enumerations by their value and UUIDs are understood.
    Raises :class:`~asyncrouter.types.errors.InvalidRequest` naming the place of what JSON cannot hold.
    """
    try:
        return _dumps(body)
    except InvalidRequest:
        raise
    except (TypeError, ValueError, RecursionError):
        pass  # the encoder's own error tells neither the place nor always the type
    return _dumps_by_library(_plain(body, "", 0))


def decode(data: bytes) -> Any:
    """Return the value that the UTF-8 JSON *data* holds, or raise :class:`NotJson`.

    Half characters become U+FFFD; NaN, infinities and nesting beyond the interpreter's recursion limit are refused.
    """
    try:
        return _loads(data)
    except (ValueError, RecursionError):
        value = _decode_with_care(data)
    if value is _FAILED:
        raise NotJson("is no JSON")
    return value


_FAILED = object()


def _decode_with_care(data: bytes) -> Any:
    try:
        return _mended(json.loads(data.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite))
    except (ValueError, RecursionError):
        return _FAILED


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(text)
    return value


def _mended(value: Any) -> Any:
    """Return *value* without half characters, which no encoder would take again."""
    if isinstance(value, str):
        return _HALF_CHARACTER.sub(_REPLACEMENT, value)
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


def _default(value: object) -> Any:
    """Return what JSON knows in place of *value*: the encoders call this for what they do not know themselves."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        return list(value)
    raise TypeError(type(value).__name__)


def _plain(value: Any, place: str, depth: int) -> Any:
    """Return *value* in dicts, lists and scalars; raise :class:`InvalidRequest` at what JSON cannot hold."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return _scalar(value, place)
    if depth >= MAX_DEPTH:
        raise InvalidRequest(f"{place}: is nested deeper than {MAX_DEPTH} levels, or holds itself")
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(item, _inside(place, key), depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    try:
        known = _default(value)
    except TypeError:
        known = _FAILED
    if known is _FAILED:
        raise InvalidRequest(f"{place}: a {type(value).__name__} cannot be sent as JSON; pass text, numbers or lists")
    return _plain(known, place, depth + 1)


def _scalar(value: Any, place: str) -> Any:
    if isinstance(value, int):
        _digits(value, place)
    if isinstance(value, str) and _HALF_CHARACTER.search(value):
        raise InvalidRequest(f"{place}: holds a lone surrogate (half a character); repair the text before sending")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"{place}: is {value}; JSON has no such number")
    return value


def _digits(value: int, place: str) -> str:
    """Return *value* in digits; Python writes no more than 4,300 of them, unless it is told to."""
    try:
        return str(value)
    except ValueError:
        raise InvalidRequest(f"{place}: is a whole number that is too long to be written") from None


def _key(key: object, place: str) -> str:
    if isinstance(key, str):
        return str(_scalar(key, f"a key of {place}" if place else "a parameter's name"))
    if isinstance(key, int) and not isinstance(key, bool):  # logit_bias has token numbers for keys
        return _digits(key, f"a key of {place}")
    raise InvalidRequest(f"{place}: has a {type(key).__name__} for a key; JSON keys are text")


def _inside(place: str, key: object) -> str:
    """Return the place of *key* in *place*; a key that is no plain word may be anything and is not shown."""
    word = str(key) if isinstance(key, int) or (isinstance(key, str) and _WORD.fullmatch(key)) else "…"
    return f"{place}.{word}" if place else word


def _dumps_by_library(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default).encode()


def _loads_by_library(data: bytes) -> Any:
    value = json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)
    return _mended(value) if b"\\u" in data else value


def _dumps_by_orjson(body: Any) -> bytes:
    data: bytes = orjson.dumps(
        body, default=_default, option=orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    )
    if b"null" in data:  # orjson writes NaN and infinity as null without a word
        _plain(body, "", 0)
    if len(data) < ORJSON_BUFFER:  # it holds the whole buffer: half of what a request in flight would hold
        return bytes(memoryview(data))
    return data


_dumps: Callable[[Any], bytes] = _dumps_by_orjson if orjson else _dumps_by_library
_loads: Callable[[bytes], Any] = orjson.loads if orjson else _loads_by_library
