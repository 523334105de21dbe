"""A model of the semantic estimator: its own head, and the model that it was trained upon."""

from __future__ import annotations

from pathlib import Path

import attrs

from asyncrouter import ConfigError
from asyncrouter.types.model_file import ModelFile
from asyncrouter_semantic.head import Head, Judgement
from asyncrouter_semantic.packing import CURE, Pack, unpacked
from asyncrouter_semantic.panel import Panel
from asyncrouter_semantic.text import Text
from asyncrouter_semantic.vectors import TOP, Top

DEFAULT, NO_PRIOR = "default", "none"
SHIPPED = Path(__file__).with_name("default.model")
NAME = "semantic"
LEAST_SPREAD = 1e-6


@attrs.frozen(eq=False)
class Model:
    """What a head expects, blended with what the prior model does; ``centre`` and ``spread`` are those of its gains.

    ``top`` is what was learned from vectors, where that was done; it then tells the gain.
    """

    pack: Pack = attrs.field(repr=False)
    head: Head = attrs.field(repr=False)
    panel: Panel = attrs.field(repr=False)
    prior: Model | None = attrs.field(repr=False)
    prior_weight: float
    centre: float
    spread: float
    learned_from: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    top: Top | None = attrs.field(default=None, repr=False)

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
        prior, top = pack.part("prior"), pack.part(TOP)
        try:
            head = Head.of(pack)
            return cls(
                pack,
                head,
                Panel.of(pack.part("panel") or Pack({}), len(head.tasks)),
                None if prior is None else cls.of(prior, origin),
                pack.number("prior_weight", 0.0),
                pack.number("centre"),
                pack.number("spread", LEAST_SPREAD),
                top=None if top is None else Top.of(top, len(head.tasks)),
            )
        except (KeyError, TypeError, ValueError) as error:
            problem = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
            raise ConfigError(f"{origin}: {problem}; {CURE}") from error

    def judge(self, text: Text) -> Judgement:
        """Return what is expected of *text*; the gain is blended with what the prior model expects."""
        judged = self.head.judge(self.head.look(text))
        if self.prior is None or not self.prior_weight:
            return judged
        before = self.prior.judge(text)
        return attrs.evolve(
            judged,
            gain=judged.gain + self.prior_weight * before.gain,
            added=judged.added + self.prior_weight * before.added,
        )
