"""Arrays as JSON: their shape, and their numbers in base64, exact to the last bit."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed(array: NDArray[np.floating]) -> dict[str, Any]:
    """Return *array* as what JSON can hold."""
    data = np.ascontiguousarray(array, dtype="<f8").tobytes()
    return {"shape": list(array.shape), "data": base64.b64encode(data).decode()}


def unpacked(value: Mapping[str, Any]) -> NDArray[np.floating]:
    """Return the array of :func:`packed`; raise ``ValueError`` or ``KeyError`` when *value* is none, or not finite."""
    shape = [int(size) for size in value["shape"]]
    array = np.frombuffer(base64.b64decode(value["data"], validate=True), dtype="<f8")
    if len(array) != math.prod(shape) or not np.isfinite(array).all():
        raise ValueError("an array of the state is damaged")
    return array.reshape(shape).astype(np.float64)


def numbers(value: Iterable[Any]) -> list[float]:
    """Return *value* as numbers; raise ``ValueError`` or ``TypeError`` when one is none, or not finite."""
    found = [float(one) for one in value]
    if not all(map(math.isfinite, found)):
        raise ValueError("a number of the state is damaged")
    return found
