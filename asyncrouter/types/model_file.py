r"""Files of trained models: a first line that names the estimator, then whatever that estimator has written.

::

    asyncrouter-model 1 semantic\n<content>

So a file says by itself which estimator reads it: ``lab score --estimator my.model`` needs no name beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from asyncrouter.types.errors import ConfigError

FORMAT = b"asyncrouter-model 1 "
LONGEST_NAME = 100
"""Bytes of an estimator's name."""


@attrs.frozen
class ModelFile:
    """A trained model: the name of the ``estimator`` that reads it, and its ``content``, opaque to everybody else."""

    estimator: str = attrs.field()
    content: bytes = attrs.field(repr=False)

    @estimator.validator
    def _is_a_name(self, _attribute: object, value: str) -> None:
        if not is_name(value):
            raise ValueError(f"estimator: {value!r} is no name for the first line of a model file")

    def __bytes__(self) -> bytes:
        """Return the file's bytes."""
        return FORMAT + self.estimator.encode() + b"\n" + self.content

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
        if is_model_file(content):
            name, newline, rest = content[len(FORMAT) :].partition(b"\n")
            if newline and is_name(name.decode(errors="replace")):
                return cls(name.decode(), rest)
        raise ConfigError(f"{origin}: is no model file; `lab train` writes them")


def is_name(text: str) -> bool:
    """Whether *text* can name an estimator on the first line of a file."""
    return re.fullmatch(r"[\w.-]+", text) is not None and len(text.encode()) <= LONGEST_NAME


def is_model_file(beginning: bytes) -> bool:
    """Whether a file that begins so is a model file."""
    return beginning.startswith(FORMAT)
