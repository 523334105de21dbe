"""A model of the semantic estimator: its own head, and the model that it was trained upon."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt

from asyncrouter import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter_semantic.head import Head
from asyncrouter_semantic.packing import CURE, Pack, unpacked
from asyncrouter_semantic.text import Text

Floats = npt.NDArray[np.float32]

DEFAULT, NO_PRIOR = "default", "none"
SHIPPED = Path(__file__).with_name("default.model")
NAME = "semantic"


@attrs.frozen(eq=False)
class Model:
    """``gain`` of a text: what a strong model's answer is expected to be better by than a weak one's, from -1 to 1."""

    pack: Pack = attrs.field(repr=False)
    head: Head = attrs.field(repr=False)
    prior: Model | None = attrs.field(repr=False)
    prior_weight: float
    centre: float
    spread: float
    learned_from: tuple[bytes, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def load(cls, place: str | Path) -> Model:
        """Read the model file at *place*, or the shipped one for "default".

        Raises :class:`ConfigError` naming the file and the cure.
        """
        path = SHIPPED if str(place) == DEFAULT else Path(place)
        file = ModelFile.read(path)
        if file.estimator != NAME:
            raise ConfigError(f"{path}: is a model of the estimator {file.estimator!r}, not of {NAME!r}")
        return attrs.evolve(cls.of(unpacked(file.content, str(path)), str(path)), learned_from=file.learned_from)

    @classmethod
    def of(cls, pack: Pack, origin: str) -> Model:
        """Make the model that *pack* holds; raise :class:`ConfigError` naming *origin* when something is missing."""
        prior = pack.part("prior")
        try:
            return cls(
                pack,
                Head.of(pack),
                None if prior is None else cls.of(prior, origin),
                float(pack.facts["prior_weight"]),
                float(pack.facts["centre"]),
                float(pack.facts["spread"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            problem = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
            raise ConfigError(f"{origin}: {problem}; {CURE}") from error

    def gain(self, text: Text) -> tuple[float, Floats, list[tuple[float, str]]]:
        """Return the expected gain, what each part of the head added, and the kinds of task it is like, most first."""
        gain, added, likeness = self.head.gain(self.head.look(text))
        kinds = sorted(zip(likeness.tolist(), self.head.tasks, strict=True), reverse=True)
        if self.prior is not None and self.prior_weight:
            before, theirs, _ = self.prior.gain(text)
            gain += self.prior_weight * before
            added = added + self.prior_weight * theirs
        return gain, added, kinds
