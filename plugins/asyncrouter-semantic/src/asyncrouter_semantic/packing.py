r"""The content of a model file: named arrays and a few facts, read without running anything that stands in it.

::

    2 <bytes of what follows, unpacked>\n<zlib: one line of JSON, then the arrays' bytes one after another>

The line of JSON is ``{"facts": {...}, "arrays": [[name, dtype, shape], ...]}``.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter import ConfigError

Array = npt.NDArray[Any]

VERSION = 2
DTYPES = {"<u4": 4, "<f4": 4, "<f8": 8, "|i1": 1, "|u1": 1, "<i2": 2, "<i4": 4}
"""What an array may be of, with the bytes of one value: numbers only, so nothing can be run by reading them."""
MOST_BYTES = 1 << 28
"""Unpacked: a file that claims more is no model."""
CURE = "train it again with this version: `asyncrouter lab train`"


@attrs.frozen(eq=False)
class Pack:
    """Arrays by their names, and facts that JSON can hold."""

    arrays: Mapping[str, Array] = attrs.field(repr=False)
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    def array(self, name: str, dtype: str, *shape: int | None) -> Array:
        """Return the array *name*; raise :class:`ConfigError` unless it is of *dtype* and *shape* (``None``: any)."""
        found = self.arrays.get(name)
        if found is None:
            raise ConfigError(f"the array {name!r} is missing")
        fits = len(found.shape) == len(shape) and all(
            want in {None, have} for want, have in zip(shape, found.shape, strict=True)
        )
        if found.dtype.str != dtype or not fits:
            raise ConfigError(f"the array {name!r} is {found.dtype.str} of the shape {found.shape}")
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ConfigError(f"the array {name!r} holds what is no number")
        return found

    def number(self, name: str, least: float = -math.inf, most: float = math.inf) -> float:
        """Return the fact *name*; raise :class:`ConfigError` unless it is a finite number from *least* to *most*."""
        found = self.facts.get(name)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
            raise ConfigError(f"{name!r} is no number")
        if not least <= found <= most:
            raise ConfigError(f"{name!r} is {found}, not from {least} to {most}")
        return found

    def part(self, prefix: str) -> Pack | None:
        """Return the pack that was put in under *prefix*, ``None`` when there is none."""
        start = f"{prefix}/"
        arrays = {name.removeprefix(start): one for name, one in self.arrays.items() if name.startswith(start)}
        return Pack(arrays, self.facts.get(prefix, {})) if arrays else None

    def joined(self, prefix: str, part: Pack) -> Pack:
        """Return this pack with *part* put in under *prefix*."""
        named = {f"{prefix}/{name}": one for name, one in part.arrays.items()}
        return Pack({**self.arrays, **named}, {**self.facts, prefix: dict(part.facts)})


def packed(pack: Pack) -> bytes:
    """Return *pack* as bytes, the same for the same pack."""
    arrays = {name: np.ascontiguousarray(one) for name, one in sorted(pack.arrays.items())}
    listed = [[name, one.dtype.str, list(one.shape)] for name, one in arrays.items()]
    line = json.dumps({"facts": pack.facts, "arrays": listed}, sort_keys=True, separators=(",", ":"))
    body = b"".join([line.encode(), b"\n", *(one.tobytes() for one in arrays.values())])
    return f"{VERSION} {len(body)}\n".encode() + zlib.compress(body, 9)


def unpacked(content: bytes, origin: str) -> Pack:
    """Return the pack that *content* holds; raise :class:`ConfigError` naming *origin* when it is none."""
    first, newline, rest = content.partition(b"\n")
    found = re.fullmatch(rb"([0-9]{1,4}) ([0-9]{1,12})", first)
    if not newline or found is None:
        raise ConfigError(f"{origin}: is no model of the semantic estimator, or a damaged one; {CURE}")
    if int(found[1]) != VERSION:
        raise ConfigError(f"{origin}: is of version {int(found[1])}, this plugin reads version {VERSION}; {CURE}")
    try:
        return _read(_inflated(rest, int(found[2])))
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise ConfigError(f"{origin}: is a damaged model: {error}; {CURE}") from error


def _inflated(rest: bytes, size: int) -> bytes:
    if size > MOST_BYTES:
        raise ValueError(f"it claims {size} bytes")
    reader = zlib.decompressobj()
    body = reader.decompress(rest, size + 1)
    if len(body) != size or not reader.eof:
        raise ValueError("its length is not what its first line says")
    return body


def _read(body: bytes) -> Pack:
    line, _newline, rest = body.partition(b"\n")
    table = json.loads(line)
    arrays: dict[str, Array] = {}
    at = 0
    for name, dtype, shape in table["arrays"]:
        count = math.prod(int(one) for one in shape)
        end = at + count * DTYPES[dtype]
        if count < 0 or end > len(rest):
            raise ValueError(f"the array {name!r} is cut off")
        arrays[str(name)] = np.frombuffer(rest, dtype, count, at).reshape(shape)
        at = end
    if at != len(rest):
        raise ValueError("there is more in it than it lists")
    return Pack(arrays, dict(table["facts"]))
