"""What models cost: a JSON file of prices in US dollars per million tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncrouter.types.deployments import Price
from asyncrouter.types.errors import ConfigError

CHARACTERS_PER_TOKEN = 4
"""The convention of published outcomes: a token is four characters."""
INPUT_KEYS = ("input", "usd_per_1m_input")
OUTPUT_KEYS = ("output", "usd_per_1m_output")


def load_prices(path: Path) -> dict[str, Price]:
    """Return the price of each model that the JSON file at *path* names.

    A model's price is a number, of input and output alike, or an object with ``input`` and ``output``
    (``usd_per_1m_input`` and ``usd_per_1m_output`` are the same).  Raises :class:`ConfigError` naming the place.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give a JSON file of prices") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no JSON text") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: expected an object of models, not {type(table).__name__}")
    return {model: _price(value, f"{path}: {model}") for model, value in table.items()}


def _price(value: Any, place: str) -> Price:
    table = value if isinstance(value, Mapping) else {INPUT_KEYS[0]: value, OUTPUT_KEYS[0]: value}
    sides = [_of(table, keys) for keys in (INPUT_KEYS, OUTPUT_KEYS)]
    for side in sides:
        if isinstance(side, bool) or not isinstance(side, (int, float)) or not 0 <= side < float("inf"):
            raise ConfigError(f'{place}: expected a price per million tokens, or {{"input": …, "output": …}}')
    return Price(input=float(sides[0]), output=float(sides[1]))


def _of(table: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((table[key] for key in keys if key in table), None)


def prices_beside(path: Path) -> Path | None:
    """Return the file of prices that lies beside the outcomes at *path*, or ``None``.

    For ``zeroeval_18models.parquet`` that is ``zeroeval_prices.json``: its name up to a ``_`` or ``.``, then
    ``_prices.json``.
    """
    stems = [path.name[:end] for end, sign in enumerate(path.name) if sign in "_."]
    return next((one for stem in reversed(stems) if (one := path.with_name(f"{stem}_prices.json")).is_file()), None)
