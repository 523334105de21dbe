"""The head: from what a prompt holds to the gain that a strong model's answer is expected to bring.

A kind of task has an offset, what its prompts gain on average, and weights of the wording and the traits, which tell
its prompts from one another; both are mixed by how much the prompt looks like each kind.  Where a kind falls into
subjects, what its prompts gain by theirs is added.  A forest over the traits adds
what makes a prompt of any kind gain more than others of its kind.
"""

from __future__ import annotations

from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter_semantic.forest import Forest
from asyncrouter_semantic.ngrams import known_places, ngrams
from asyncrouter_semantic.packing import Pack
from asyncrouter_semantic.subjects import SUBJECTS, Subjects
from asyncrouter_semantic.text import Text
from asyncrouter_semantic.traits import GROUP_NAMES, GROUP_OF, NAMES, traits

Floats = npt.NDArray[np.float32]
AnyFloats = TypeVar("AnyFloats", npt.NDArray[np.float32], npt.NDArray[np.float64])

WORDING, TASK = "wording", "kind of task"
PARTS = (WORDING, TASK, *GROUP_NAMES)
"""What contributions are told of."""
CLIP = 3.0
"""Standard deviations of a trait beyond which it counts no more in the linear view."""
GATE_FLOOR = 1e-3
"""What the gate says of a task at least: none is quite out of the question."""
GATE_POWER = 4
"""To which power likeness follows what the gate says.  Offsets of kinds differ by more than prompts within a kind do,
so that a prompt which is a little like another kind would be ranked by that little."""


@attrs.frozen(eq=False)
class Sight:
    """What a prompt holds: places of its known ``grams``, their weights (of length 1), and its ``traits``."""

    grams: npt.NDArray[np.intp]
    weights: Floats
    traits: Floats
    scaled: Floats


@attrs.frozen(eq=False)
class Judgement:
    """What is expected of a prompt.

    ``gain`` is that of the strong model over the weak one, and ``added`` what each of :data:`PARTS` added to it;
    ``likeness`` tells how much the prompt is like each task and sums to 1; ``ease`` how much higher than is usual for
    its task the scores are.  ``traits`` are the prompt's, scaled.
    """

    gain: float
    added: Floats
    likeness: Floats
    ease: float
    traits: Floats


@attrs.frozen(eq=False)
class Head:
    """Columns: the weights of each task first, then the gate's for each task, and those of the ease.

    ``table`` holds the weights of grams as whole numbers, ``scales`` what one is worth in each column.
    """

    grams: npt.NDArray[np.uint32]
    rarity: Floats
    table: npt.NDArray[np.int8]
    scales: Floats
    slopes: Floats
    offsets: Floats
    trait_means: Floats
    trait_scales: Floats
    forest: Forest
    forest_weight: float
    tasks: tuple[str, ...]
    subjects: Subjects | None

    @classmethod
    def of(cls, pack: Pack) -> Head:
        """Read the head; raise :class:`~asyncrouter.types.errors.ConfigError` when an array is missing or misshaped."""
        facts = pack.facts
        tasks = tuple(map(str, facts["tasks"]))
        grams = pack.array("grams", "<u4", None)
        width, columns = len(NAMES), 1 + 2 * len(tasks)
        forest, subjects = pack.part("forest"), pack.part(SUBJECTS)
        return cls(
            grams,
            pack.array("rarity", "<f4", len(grams)),
            pack.array("table", "|i1", len(grams), columns),
            pack.array("scales", "<f4", columns),
            pack.array("slopes", "<f4", width, columns),
            pack.array("offsets", "<f4", columns),
            pack.array("trait_means", "<f4", width),
            pack.array("trait_scales", "<f4", width),
            Forest.of(forest or Pack({}), width),
            pack.number("forest_weight"),
            tasks,
            None if subjects is None else Subjects.of(subjects, len(grams), len(tasks)),
        )

    def look(self, text: Text) -> Sight:
        """Return what *text* holds, as this head sees it."""
        counted = traits(text)
        scaled = np.minimum(np.maximum((counted - self.trait_means) * self.trait_scales, -CLIP), CLIP)
        places = self._places(ngrams(text))
        weights = self.rarity[places]
        length = float(np.sqrt(weights @ weights))
        return Sight(places, weights / length if length else weights, counted, scaled)

    def judge(self, sight: Sight) -> Judgement:
        """Return what is expected of a prompt that holds what *sight* tells."""
        worded = (sight.weights @ self.table[sight.grams]) * self.scales
        count = len(self.tasks)
        others = self.offsets[count:] + worded[count:] + sight.scaled @ self.slopes[:, count:]
        likeness = likeness_of(others[:count])
        total, asked, steps = self.forest.walk(sight.traits)
        added = np.empty(len(PARTS), dtype=np.float32)
        added[0] = float(worded[:count] @ likeness)
        added[1] = float(self.offsets[:count] @ likeness)
        if self.subjects is not None:
            added[1] += self.subjects.gain(sight.grams, likeness)
        added[2:] = np.bincount(GROUP_OF, sight.scaled * (self.slopes[:, :count] @ likeness), len(GROUP_NAMES))
        added[2:] += self.forest_weight * np.bincount(GROUP_OF[asked], steps, len(GROUP_NAMES))
        rest = self.forest_weight * (total - float(steps.sum()))
        return Judgement(float(added.sum()) + rest, added, likeness, float(others[count]), sight.scaled)

    def _places(self, hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.intp]:
        if not len(self.grams) or not len(hashes):
            return np.zeros(0, dtype=np.intp)
        hashes = np.sort(hashes)  # numpy.unique takes four times as long for so few
        hashes = hashes[np.concatenate([_TRUE, hashes[1:] != hashes[:-1]])]
        return known_places(hashes, self.grams)


def likeness_of(said: AnyFloats, power: int = GATE_POWER) -> AnyFloats:
    """Return how much prompts are like each task, shape (..., tasks), from what the gate says; each sums to 1."""
    raised = np.maximum(said, GATE_FLOOR) ** power
    alike: AnyFloats = raised / raised.sum(axis=-1, keepdims=True)
    return alike


_TRUE = np.ones(1, dtype=np.bool_)
