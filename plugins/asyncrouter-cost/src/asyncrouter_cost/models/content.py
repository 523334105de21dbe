r"""The content of a model file: a line of JSON with models, widths and shapes, then the arrays' numbers, packed.

::

    {"models": [...], "shapes": {...}, "widths": [...]}\n<zlib: float32, little-endian, in the order of ARRAYS>

Nothing that stands in it is run.
"""

from __future__ import annotations

import json
import math
import zlib

import numpy as np

from asyncrouter.types.errors import ConfigError
from asyncrouter_cost.models.likeness import Floats, Likeness, PerModel
from asyncrouter_cost.models.traits import COUNT

ARRAYS = ("means", "scales", "landmarks", "weights", "offsets")
MOST_BYTES = 1 << 28
"""Unpacked: what claims more is no model."""
CURE = "train it again: asyncrouter lab train FILE --trainer cost --out MODEL"


def written(model: PerModel) -> bytes:
    """Return *model* as bytes, the same for the same model."""
    likeness = model.likeness
    arrays = (likeness.means, likeness.scales, likeness.landmarks, model.weights, model.offsets)
    shapes = {name: list(array.shape) for name, array in zip(ARRAYS, arrays, strict=True)}
    facts = {"models": list(model.models), "shapes": shapes, "widths": list(likeness.widths)}
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
    return _model(tuple(map(str, facts["models"])), tuple(map(float, facts["widths"])), arrays)


def _model(models: tuple[str, ...], widths: tuple[float, ...], arrays: dict[str, Floats]) -> PerModel:
    landmarks, columns = len(arrays["landmarks"]), len(arrays["offsets"])
    if columns not in {len(models), len(models) + 1}:
        raise ValueError(f"offsets: {columns} of {len(models)} models")
    wanted = {
        "means": (COUNT,),
        "scales": (COUNT,),
        "landmarks": (landmarks, COUNT),
        "weights": (len(widths) * landmarks, columns),
        "offsets": (columns,),
    }
    for name, shape in wanted.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: expected numbers of the shape {shape}")
    likeness = Likeness(arrays["means"], arrays["scales"], arrays["landmarks"], widths)
    return PerModel(models, likeness, arrays["weights"], arrays["offsets"])
