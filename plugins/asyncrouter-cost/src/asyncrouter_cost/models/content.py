r"""The content of a model file: a line of JSON with models, power, widths and shapes, then the arrays' numbers, packed.

::

    {"models": [...], "power": 1.0, "shapes": {...}, "widths": [...]}\n<zlib: float32, little-endian, as in ARRAYS>

Nothing that stands in it is run.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from asyncrouter.types.errors import ConfigError
from asyncrouter_cost.models.likeness import Floats, Likeness, PerModel
from asyncrouter_cost.models.traits import COUNT
from asyncrouter_cost.models.wording import BUCKETS, Wording

ARRAYS = ("means", "scales", "landmarks", "weights", "offsets", "rarity", "words")
MOST_BYTES = 1 << 28
"""Unpacked: what claims more is no model."""
CURE = "train it again: asyncrouter lab train FILE --trainer cost --out MODEL"


def written(model: PerModel) -> bytes:
    """Return *model* as bytes, the same for the same model."""
    likeness = model.likeness
    seen = (likeness.means, likeness.scales, likeness.landmarks)
    arrays = (*seen, model.weights, model.offsets, model.wording.rarity, model.words)
    shapes = {name: list(array.shape) for name, array in zip(ARRAYS, arrays, strict=True)}
    facts = {
        "models": list(model.models),
        "power": model.power,
        "shapes": shapes,
        "widths": list(likeness.widths),
    }
    numbers = b"".join(np.ascontiguousarray(array, dtype="<f4").tobytes() for array in arrays)
    return json.dumps(facts, sort_keys=True).encode() + b"\n" + zlib.compress(numbers, 9)


def read(content: bytes, origin: str) -> PerModel:
    """Return the model that *content* holds; raise :class:`ConfigError` naming *origin* when it is none."""
    try:
        return _read(content)
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise ConfigError(f"{origin}: is a damaged model, or of another version ({error}); {CURE}") from error


def _read(content: bytes) -> PerModel:
    line, _newline, packed = content.partition(b"\n")
    facts = json.loads(line)
    shapes = {name: tuple(int(side) for side in facts["shapes"][name]) for name in ARRAYS}
    size = 4 * sum(map(math.prod, shapes.values()))
    if not 0 < size <= MOST_BYTES:
        raise ValueError(f"it claims {size} bytes")
    numbers = np.frombuffer(zlib.decompressobj().decompress(packed, size), dtype="<f4")
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = np.split(numbers, ends[:-1])
    arrays = {name: part.reshape(shapes[name]) for name, part in zip(ARRAYS, parts, strict=True)}
    return _model(facts, arrays)


def _model(facts: Mapping[str, Any], arrays: Mapping[str, Floats]) -> PerModel:
    models, power = tuple(map(str, facts["models"])), float(facts["power"])
    landmarks, columns = len(arrays["landmarks"]), len(arrays["offsets"])
    if columns not in {len(models) + 1, len(models) + 2}:
        raise ValueError(f"offsets: {columns} of {len(models)} models")
    if not 0 <= power <= 1:
        raise ValueError(f"power: expected a number from 0 to 1, not {power}")
    wanted = {
        "means": (COUNT,),
        "scales": (COUNT,),
        "landmarks": (landmarks, COUNT),
        "weights": (landmarks, columns),
        "offsets": (columns,),
        "rarity": (BUCKETS,),
        "words": (BUCKETS,),
    }
    for name, shape in wanted.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: expected numbers of the shape {shape}")
    likeness = Likeness(arrays["means"], arrays["scales"], arrays["landmarks"], tuple(map(float, facts["widths"])))
    return PerModel(
        models=models,
        likeness=likeness,
        wording=Wording(arrays["rarity"]),
        weights=arrays["weights"],
        words=arrays["words"],
        offsets=arrays["offsets"],
        power=power,
    )
