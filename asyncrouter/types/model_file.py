r"""Files of trained models: a first line that names the estimator, which prompts it has learned from, and its content.

::

    asyncrouter-model 1 semantic 2\n<two digests of 6 bytes><content>

So a file says by itself which estimator reads it: ``lab score --estimator my.model`` needs no name beside it.  And
whoever measures it can tell which prompts it has seen: a figure on those says nothing of new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import attrs

from asyncrouter.types.errors import ConfigError

FORMAT = b"asyncrouter-model 1 "
LONGEST_NAME = 100
"""Bytes of an estimator's name."""
DIGEST_BYTES = 6
"""Of a prompt's identity: with a hundred thousand prompts learned from, one in three billion others looks like one."""


def _sorted(digests: Iterable[bytes]) -> tuple[bytes, ...]:
    return tuple(sorted(set(digests)))


@attrs.frozen
class ModelFile:
    """A trained model: the name of the ``estimator`` that reads it, and its ``content``, opaque to everybody else.

    ``learned_from`` are the digests of the prompts that it was trained on; ``lab train`` adds them.
    """

    estimator: str = attrs.field()
    content: bytes = attrs.field(repr=False)
    learned_from: tuple[bytes, ...] = attrs.field(default=(), repr=False, converter=_sorted)

    @estimator.validator
    def _is_a_name(self, _attribute: object, value: str) -> None:
        if not is_name(value):
            raise ValueError(f"estimator: {value!r} is no name for the first line of a model file")

    def __bytes__(self) -> bytes:
        """Return the file's bytes."""
        line = FORMAT + f"{self.estimator} {len(self.learned_from)}\n".encode()
        return line + b"".join(self.learned_from) + self.content

    @classmethod
    def read(cls, path: str | Path) -> ModelFile:
        """Return the model file at *path*; raise :class:`ConfigError` when it cannot be read or is none."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; give the path of a model that `lab train` wrote") from error
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, origin: str) -> ModelFile:
        """Return the model file that *content* is; raise :class:`ConfigError` naming *origin* when it is none."""
        line, newline, rest = content.partition(b"\n")
        name, _space, count = line.removeprefix(FORMAT).decode(errors="replace").partition(" ")
        if is_model_file(content) and newline and is_name(name) and re.fullmatch(r"[0-9]{1,9}", count):
            end = int(count) * DIGEST_BYTES
            if end <= len(rest):
                digests = (rest[at : at + DIGEST_BYTES] for at in range(0, end, DIGEST_BYTES))
                return cls(name, rest[end:], digests)
        raise ConfigError(f"{origin}: is no model file, or a part of one; `lab train` writes them")


def is_name(text: str) -> bool:
    """Whether *text* can name an estimator on the first line of a file."""
    return re.fullmatch(r"[\w.-]+", text) is not None and len(text.encode()) <= LONGEST_NAME


def is_model_file(beginning: bytes) -> bool:
    """Whether a file that begins so is a model file."""
    return beginning.startswith(FORMAT)
